"""Reads a pytest XML report. Prints its counts, or the tests that may run a second time.

  report.py counts REPORT    → "tests failed skipped"
  report.py again REPORT     → a node id per line: tests that failed, unless one of them saw the product break a promise

A machine that is too busy for a deadline fails a test of real servers now and then; such a test runs once more, alone, and the
log says so. A broken promise (harness/promises.py) is never put down to the machine: then nothing runs again.
"""
import sys
import xml.etree.ElementTree as tree

MOST = 3  # more failures than this are no coincidence


def main(what, path):
    suite = tree.parse(path).getroot().find("testsuite")
    if what == "counts":
        print(suite.get("tests"), int(suite.get("failures")) + int(suite.get("errors")), suite.get("skipped"))
        return
    broken = {}
    for case in suite.iter("testcase"):
        reasons = case.findall("failure") + case.findall("error")
        if reasons:
            module = case.get("file").removesuffix(".py").replace("/", ".")
            group = case.get("classname").removeprefix(module).strip(".").replace(".", "::")  # the class, of a test that is in one
            name = "::".join(filter(None, [f"tests/{case.get('file')}", group, case.get("name")]))  # told from pytest.ini on
            broken[name] = "".join(reason.get("message", "") + (reason.text or "") for reason in reasons)
    if len(broken) > MOST or any("BrokenPromise" in text for text in broken.values()):
        return
    print("\n".join(broken))


if __name__ == "__main__":
    main(*sys.argv[1:])
