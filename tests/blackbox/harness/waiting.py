"""Waiting with a deadline. Tests never sleep for a time that they hope is long enough."""
import time


class TimedOut(AssertionError):
    pass


def wait_until(what, seconds, condition, every=0.05):
    """Calls condition() until it returns something true, and returns that.

    An exception counts as "not yet" and is shown if the deadline passes. At least one call is made after the deadline's
    last sleep, so a slow machine does not fail a condition that holds.
    """
    deadline = time.monotonic() + seconds
    last = None
    while True:
        late = time.monotonic() >= deadline
        try:
            last = condition()
            if last:
                return last
        except Exception as error:  # the thing that is waited for may be down
            last = error
        if late:
            raise TimedOut(f"{what}: not within {seconds} s; last seen: {last!r}")
        time.sleep(every)


def stays(what, seconds, condition, every=0.05):
    """Asserts that condition() holds all the time for so many seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), f"{what}: ended after {seconds - (deadline - time.monotonic()):.2f} s of {seconds} s"
        time.sleep(every)
