"""g++ 12 destroys two kinds of temporaries inside a co_await expression twice: capturing lambdas and aggregates made
with braces. It compiles, and frees memory that is not the program's own. See src/net/task.h.

Looks at every statement with a co_await below src/ and tests/ and refuses `Type{…}` and `[capture]` in it. Empty
braces of a class with a constructor are harmless, but cannot be told apart here: write `Type()`.
"""
import pathlib
import re
import sys

COMMENT = re.compile(r"//[^\n]*|\"(?:\\.|[^\"\\\n])*\"")
STATEMENT = re.compile(r"co_await\b([^;{}]*(?:\{[^;{}]*\}[^;{}]*)*)[;{]")
TYPE_WITH_BRACES = re.compile(r"\b(?:\w+::)*[A-Z]\w*(?:<[^;{}]*>)?\s*\{")
LAMBDA = re.compile(r"(?<![\w\])>])\[(?:=|&|this|\w)[^\]]*\]\s*(?:\(|\{|mutable)")


def problems(root):
    files = 0
    for top in ("src", "tests/unit"):
        for path in sorted((root / top).rglob("*.cpp")) + sorted((root / top).rglob("*.h")):
            files += 1
            text = COMMENT.sub(lambda m: " " * len(m[0]), path.read_text())
            for match in STATEMENT.finditer(text):
                for trap, what in ((TYPE_WITH_BRACES, "an aggregate with braces"), (LAMBDA, "a capturing lambda")):
                    found = trap.search(match[0])
                    if found:
                        line = text.count("\n", 0, match.start() + found.start()) + 1
                        yield f"{path.relative_to(root)}:{line}: {what} inside co_await: name it first"
    if files == 0:
        yield "no source file found: is the path right?"


if __name__ == "__main__":
    found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(found) or "no trap found")
    sys.exit(1 if found else 0)
