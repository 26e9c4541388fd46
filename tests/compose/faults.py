"""What befalls a deployment, by docker alone, so that it is the same for every stack of these files: inject(stack, leader) and
heal(stack, leader). Used by the tests and by bench/compose.py."""
import dataclasses
import threading
import time
from typing import Callable

from harness.journal import Journal
from harness.waiting import wait_until
from stack import ETCDS, NODES, docker, http


def others(leader):
    return [name for name in NODES if name != leader]


def nothing(_stack, _leader):
    pass


def kill_postmaster(stack, leader):
    """Only PostgreSQL's first process; the rest of the container lives."""
    folder = stack.sql("show data_directory", NODES[leader][0])[0]
    docker("exec", leader, "bash", "-c", f"kill -9 $(head -n 1 {folder}/postmaster.pid)")


def switchover(stack, leader):
    status, text = http(f"http://127.0.0.1:{NODES[leader][1]}/switchover", {"leader": leader}, seconds=60)
    assert status == 200, (status, text)


def disconnect(_stack, leader):
    docker("network", "disconnect", "pgdba-net", leader)


def connect(_stack, leader):
    docker("network", "connect", "pgdba-net", leader)


def kill_agent(_stack, leader):
    """The first process below the container's init: pgdba's agent, or Patroni. The container ends with it, and Docker starts it again."""
    docker("exec", leader, "bash", "-c", "kill -9 $(cut -d' ' -f1 /proc/1/task/1/children)")


def stop_start(stack, _leader):
    stack.compose("stop")
    stack.compose("start")


def down_up(stack, _leader):
    stack.compose("down")
    stack.compose("up -d")


def stop_rest(names):
    return lambda stack, leader: docker("kill", *names(leader))


def start_rest(names):
    return lambda stack, leader: docker("start", *names(leader))


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    inject: Callable
    heal: Callable = nothing
    # What has to be: "another" one leads, the "same" one, or "any".
    leads: str = "any"
    # Writes may go on without a failover; or none can be acknowledged before it is healed.
    while_hurt: str = "writes"
    # Which writes may fail for a client of pgdba's pooler: "none", those "in flight" (one for each writer), or "any".
    errors: str = "any"
    hurt_for: float = 3.0  # seconds until it is mended, where writes cannot go on before


FAULTS = [
    Fault("switchover", switchover, leads="another", errors="none"),
    Fault("postgres killed", kill_postmaster, errors="in flight"),
    Fault("agent killed", kill_agent, errors="in flight"),
    Fault("docker kill of the primary", lambda stack, leader: docker("kill", leader), lambda stack, leader: docker("start", leader), "another",
          errors="in flight"),
    Fault("docker stop of the primary", lambda stack, leader: docker("stop", leader), lambda stack, leader: docker("start", leader), "another",
          errors="in flight"),
    Fault("docker pause of the primary", lambda stack, leader: docker("pause", leader), lambda stack, leader: docker("unpause", leader),
          "another", errors="in flight"),
    Fault("network disconnect of the primary", disconnect, connect, "another", errors="in flight"),
    Fault("docker kill of a replica", stop_rest(lambda leader: others(leader)[:1]), start_rest(lambda leader: others(leader)[:1]), "same",
          errors="none"),
    Fault("docker kill of both replicas", stop_rest(others), start_rest(others), "same"),
    Fault("docker kill of the primary and a replica", stop_rest(lambda leader: [leader, others(leader)[0]]),
          start_rest(lambda leader: [leader, others(leader)[0]]), while_hurt="nothing"),
    Fault("docker kill of one etcd", stop_rest(lambda _: ETCDS[:1]), start_rest(lambda _: ETCDS[:1]), "same", errors="none"),
    Fault("docker kill of two etcds", stop_rest(lambda _: ETCDS[:2]), start_rest(lambda _: ETCDS[:2]), while_hurt="nothing",
          hurt_for=13.0),  # longer than the lease
    Fault("docker compose restart", lambda stack, leader: stack.compose("restart"), while_hurt="nothing"),
    Fault("docker compose stop and start", stop_start, while_hurt="nothing"),
    Fault("docker compose down and up", down_up, while_hurt="nothing"),
]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a writing client saw of a fault."""

    gap: float  # longest time without an acknowledged write, in seconds, over the fault and its mending
    errors: int  # writes that failed or whose end is unknown
    refused: int  # attempts to connect
    acknowledged: int
    lost: int
    before: str  # who led
    after: str

    def __str__(self):
        return f"{self.gap:6.2f} s, {self.errors} errors, {self.lost} of {self.acknowledged} lost"


WRITERS = 4


def suffer(stack, fault, endpoints, recovery=90.0, witness=nothing):
    """Injects the fault while clients write, mends it, waits until writes flow and all nodes are back. (Outcome, Verdict); whether promises
    were kept is the caller's to check. `witness(stack, leader)` is called when another one leads and nothing is mended yet."""
    leader, direct = stack.leader(), len(endpoints.ports) > 1
    # A direct client gives a silent node up after a second, as one with a timeout does; behind a pooler it waits.
    with Journal(endpoints, writers=WRITERS, patience=1.0, write_patience=1.0 if direct else recovery + 30, most_slack=1,
                 read_write=direct) as journal:
        wait_until("writes before the fault", 30, lambda: journal.count("ok") >= 50)
        began = time.monotonic()
        try:
            fault.inject(stack, leader)
            if fault.while_hurt == "writes":
                injected = time.monotonic()
                wait_until("writes flow again, nobody having mended it", recovery, lambda: journal.acknowledged_since(injected), every=0.01)
            else:
                time.sleep(fault.hurt_for)
            if fault.leads == "another":
                wait_until("another one leads", recovery, lambda: stack.leader() != leader, every=0.1)
                witness(stack, leader)
        finally:
            fault.heal(stack, leader)
        mended = time.monotonic()
        wait_until("writes flow after it is mended", recovery, lambda: journal.acknowledged_since(mended), every=0.01)
        until = time.monotonic()
        stack.wait_healthy()
        now = time.monotonic()
        wait_until("writes flow at the end", recovery, lambda: journal.acknowledged_since(now))
    gap = journal.longest_gap(began, max(until, now))
    errors = journal.count("failed") + journal.count("indeterminate")
    verdict = journal.verify()
    return Outcome(gap, errors, journal.refusals, verdict.acknowledged, len(verdict.lost), leader, stack.leader()), verdict


def in_background(work):
    """Runs it beside the test; join() gives its result or raises what it raised."""
    box = {}

    def run():
        try:
            box["value"] = work()
        except BaseException as error:
            box["error"] = error
    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def join(seconds=120):
        thread.join(seconds)
        assert not thread.is_alive(), "still at work"
        if "error" in box:
            raise box["error"]
        return box.get("value")
    return join
