"""The one-way rule: a folder includes only the folders that its row of the architecture names.

Reads every #include "folder/…" below src/ and sim/. Pure folders may also not include Asio, sockets,
files, threads or clocks of the system.
"""
import pathlib
import re
import sys

PURE = "base model wire conf ha pool".split()
MAY = {
    "base": "",
    "model": "base",
    "wire": "model base",
    "conf": "model base",
    "ha": "model base",
    "pool": "wire model base",
    "guardian": "base",
    "net": "base",
    "dcs": "net wire model base",
    "pg": "net wire model base",
    "agent": "ha guardian dcs pg conf net wire model base",
    "pooler": "pool dcs conf net wire model base",
    "local": "pg dcs conf net wire model base",
    "cli": "local dcs conf net wire model base",
    "sim": "ha pool wire model base",
}
IMPURE = re.compile(r"#include <(boost/asio|boost/beast|sys/|unistd|fcntl|netinet|arpa|poll|thread|mutex|filesystem|fstream|iostream|ctime|spdlog|libpq)")


def problems(root):
    files = 0
    for top in ("src", "sim"):
        for path in sorted((root / top).rglob("*")):
            if path.suffix not in (".h", ".cpp") or path.parent == root / "src":
                continue
            files += 1
            folder = "sim" if top == "sim" else path.relative_to(root / "src").parts[0]
            allowed = set(MAY[folder].split()) | {folder}
            for number, line in enumerate(path.read_text().splitlines(), 1):
                found = re.match(r'\s*#include "([a-z_]+)/', line)
                if found and found[1] not in allowed:
                    yield f'{path.relative_to(root)}:{number}: {folder}/ must not include {found[1]}/'
                if folder in PURE and IMPURE.match(line):
                    yield f'{path.relative_to(root)}:{number}: {folder}/ is pure: {line.strip()}'
    if files == 0:
        yield "no source file found: is the path right?"


if __name__ == "__main__":
    found = list(problems(pathlib.Path(sys.argv[1])))
    print("\n".join(found) or "every include is allowed")
    sys.exit(1 if found else 0)
