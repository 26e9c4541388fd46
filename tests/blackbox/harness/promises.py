"""What pgdba promises whatever happens, as opposed to how soon something happens."""


class BrokenPromise(AssertionError):
    """An acknowledged write is gone, a refused one is there, two primaries acknowledged, or the nodes differ. No slow machine is
    an excuse for it: a test that ends with this never runs a second time (tests/report.py looks for the name)."""


def promise(holds, text):
    if not holds:
        raise BrokenPromise(text)
