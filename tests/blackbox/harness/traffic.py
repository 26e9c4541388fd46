"""Writers through a pooler, as applications are: they connect once and wait as long as the pooler makes them. Used by the
failover tests and by `make bench`."""
import contextlib
import time

from .journal import Journal
from .probe import PrimaryProbe
from .waiting import wait_until

RECOVERY = 60


class Traffic(Journal):
    def __init__(self, endpoints, writers=32, pause=0.02, **options):
        super().__init__(endpoints, writers=writers, pause=pause, most_slack=1, **{"patience": 40, "write_patience": 60, **options})

    def errors(self):
        return [write for write in self.snapshot() if write.outcome != "ok"]

    def longest_wait(self, since=0.0):
        """Of those that were acknowledged after `since`."""
        return max((write.answered - write.sent for write in self.acknowledged() if write.answered >= since), default=0.0)

    def wait_steady(self, seconds=60):
        wait_until("every writer has written", seconds, lambda: self.count("ok") >= 4 * self.writers)

    def settle(self, seconds=RECOVERY):
        now = time.monotonic()
        wait_until("writes flow through the pooler", seconds, lambda: self.acknowledged_since(now))

    def report(self, what, since=None):
        print(f"\n{what}: {self.count('ok')} acknowledged, {len(self.errors())} errors, {self.refusals} refused logins, "
              f"longest wait {self.longest_wait():.2f} s, gap {self.longest_gap(since):.2f} s")
        for kind in sorted({(error.outcome, error.text) for error in self.errors()}):
            print("  ", *kind)


@contextlib.contextmanager
def traffic(cluster, what, probe=True, **options):
    """32 writers through the pooler, and the probe beside it unless the nodes' own promises are somebody else's; at the end the
    promises. `cluster` has endpoints, pooled(), wait_healthy(), wait_same_everywhere() and describe()."""
    journal = None
    try:
        with contextlib.ExitStack() as stack:
            watched = stack.enter_context(PrimaryProbe(cluster.endpoints)) if probe else None
            journal = stack.enter_context(Traffic(cluster.pooled(), **options))
            journal.wait_steady()
            began = time.monotonic()
            yield journal
            journal.settle()
            journal.stop()
            journal.report(what, began)
            cluster.wait_healthy(90)
        journal.endpoints = cluster.endpoints  # the nodes themselves say what is there
        journal.verify().check(at_least=4 * journal.writers)
        if watched:
            watched.check()
        cluster.wait_same_everywhere()
    except BaseException:
        print(cluster.describe())
        raise
    finally:
        if journal:
            journal.stop()
