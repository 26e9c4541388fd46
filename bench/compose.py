"""Both stacks of deployments/docker on a Docker engine, one after the other in one run: pgdba's, and the same topology from Debian
13's packages (etcd 3.5, Patroni 4.0 at its defaults, PostgreSQL 17, PgBouncer 1.24 tied to pg-primary). `make compose-bench` runs it.

What a client sees: four writers, each with one connection, directly with all three nodes in a multi-host string, or through 6432.
"""
import argparse
import json
import os
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests" / "compose"), str(ROOT / "tests" / "blackbox"), str(ROOT / "bench")]

from faults import FAULTS, WRITERS, in_background  # noqa: E402
from harness.journal import Journal  # noqa: E402
from harness.waiting import TimedOut, wait_until  # noqa: E402
from run import grid, machine, spread  # noqa: E402
from stack import NODES, Stack, docker, refuse_somebodys  # noqa: E402

FAULT = {fault.name: fault for fault in FAULTS}
NEVER = 60  # seconds after which a client that still waits is taken to wait for ever
# row: (fault, through 6432?, what pgdba must reach, in seconds, or None)
ROWS = {
    "docker kill of the primary, direct": ("docker kill of the primary", False, 5.0),
    "docker kill of the primary, through 6432": ("docker kill of the primary", True, 5.2),
    "docker pause of the primary, direct": ("docker pause of the primary", False, None),
    "docker pause of the primary, through 6432": ("docker pause of the primary", True, 11.5),  # ttl + 1.5
    "switchover, direct": ("switchover", False, None),
    "switchover, through 6432": ("switchover", True, 0.7),
    "postgres killed on the primary, direct": ("postgres killed", False, None),
    "postgres killed on the primary, through 6432": ("postgres killed", True, 1.7),
}


class Rival(Stack):
    """The packages stack. Its 6432 is tied to pg-primary, so health is asked for where the leader is."""

    def __init__(self):
        super().__init__(files=("docker-compose.spilo.yml", "docker-compose.packages.yml"))

    def healthy(self, entry=None):
        return super().healthy(entry or NODES[self.leader()][0])


STACKS = {"pgdba": Stack, "packages": Rival}


def say(text):
    print(text, file=sys.stderr, flush=True)


def start(stack):
    """Seconds from `up -d`, images present and nothing else, to a write through 6432 with two replicas streaming."""
    stack.compose("down -v --timeout 5", check=False)
    began = time.monotonic()
    up = in_background(lambda: stack.compose("up -d"))
    wait_until("a write through 6432 with two replicas", 180, lambda: stack.healthy(6432), every=0.02)
    took = time.monotonic() - began
    up()
    return took


def measure(stack, fault, pooled):
    """One fault with clients. The time without an acknowledged write, or None when they never came back by themselves."""
    stack.go_home()
    leader = stack.leader()
    endpoints = stack.pooled() if pooled else stack.endpoints()
    # A direct client gives a silent node up after a second, as one with a timeout does; behind a pooler it waits.
    journal = Journal(endpoints, writers=WRITERS, patience=NEVER if pooled else 0.5, write_patience=NEVER if pooled else 1.0, most_slack=1, read_write=not pooled)
    never = False
    with journal:
        wait_until("writes before the fault", 30, lambda: journal.count("ok") >= 100)
        time.sleep(0.5)
        began = time.monotonic()
        fault.inject(stack, leader)
        injected = time.monotonic()
        try:
            wait_until("writes flow again", NEVER, lambda: journal.acknowledged_since(injected), every=0.01)
            if fault.leads == "another":
                wait_until("another one leads", NEVER, lambda: stack.leader() != leader, every=0.05)
                led = time.monotonic()
                wait_until("it takes writes", NEVER, lambda: journal.acknowledged_since(led), every=0.01)
            time.sleep(2)
            wait_until("they go on", NEVER, lambda: journal.acknowledged_since(time.monotonic() - 1), every=0.01)
        except TimedOut:
            never = True
        gap = journal.longest_gap(began, time.monotonic())
        errors, refused = journal.count("failed") + journal.count("indeterminate"), journal.refusals
        fault.heal(stack, leader)
        stack.wait_healthy(180)
        if never:  # what is tied to pg-primary comes back with it, by hand
            stack.go_home()
    verdict = journal.verify(60)
    return {"gap": gap, "never": never, "errors": errors, "refused": refused, "lost": len(verdict.lost), "acknowledged": verdict.acknowledged}


def memory(stack):
    """MB of the leader's agent, its guardian and of the pooler, idle: resident. Agent and guardian are one program, of which 8 MB are in both."""
    def resident(container, word):
        lines = [line.split(None, 2) for line in docker("top", container, "-eo", "pid,rss,args").splitlines()[1:]]
        sizes = [int(size) for _, size, command in lines if word in command and "tini" not in command]
        assert sizes, (container, word, lines)
        return max(sizes) / 1024
    stack.go_home()
    time.sleep(30)  # both tidy up a quarter of a minute after they started
    if isinstance(stack, Rival):
        return {"agent": resident("pg-primary", "patroni"), "pooler": resident("pgbouncer", "pgbouncer")}
    return {"agent": resident("pg-primary", "pgdba agent"), "guardian": resident("pg-primary", "pgdba guardian"),
            "pooler": resident("pgbouncer", "pgdba pooler")}


def bench(name, rows, repeat):
    stack = STACKS[name]()
    result = {"system": name}
    try:
        result["start"] = []
        for _ in range(repeat):
            result["start"].append(start(stack))
            say(f"{name}: start {result['start'][-1]:.2f} s")
        result["memory"] = memory(stack)
        say(f"{name}: {result['memory']}")
        for row in rows:
            fault, pooled, _ = ROWS[row]
            for _ in range(repeat):
                one = measure(stack, FAULT[fault], pooled)
                result.setdefault(row, []).append(one)
                say(f"{name}: {row}: {one}")
                if one["never"]:
                    break  # it takes a minute each time
    except (AssertionError, OSError, RuntimeError) as error:
        result["broke"] = str(error)
        say(f"{name} broke: {error}\n{stack.describe()[-6000:]}")
    finally:
        stack.remove()
    return result


def cell(result, row):
    ones = result.get(row)
    if not ones:
        return "–"
    if any(one["never"] for one in ones):
        return f"never (waited {NEVER} s)"
    errors = [one["errors"] for one in ones]
    return f"{spread([one['gap'] for one in ones])}, {min(errors)}–{max(errors)} errors"


def table(results):
    rows = [["up -d to a write through 6432", *(spread(result.get("start", [])) for result in results), "8 s"]]
    for row, (_, _, goal) in ROWS.items():
        rows.append([row, *(cell(result, row) for result in results), f"{goal} s" + (", 0 errors" if row == "switchover, through 6432" else "") if goal else ""])
    for what, goal in (("agent", "20 MB"), ("guardian", ""), ("pooler", "12 MB")):
        sizes = [result.get("memory", {}).get(what) for result in results]
        rows.append([f"{what}, idle", *(spread([size], 1, "MB", 1) if size else "–" for size in sizes), goal])
    lost = [[one for row in ROWS for one in result.get(row, [])] for result in results]
    rows.append(["acknowledged writes lost", *(f"{sum(one['lost'] for one in ones)} of {sum(one['acknowledged'] for one in ones)}" for ones in lost), "0"])
    return "\n".join(grid(["time without writes", *(result["system"] for result in results), "pgdba must reach"], rows))


def missed(result):
    """What pgdba did not reach, in words."""
    found = []
    if result.get("start") and statistics.median(result["start"]) > 8:
        found.append("start")
    for row, (_, _, goal) in ROWS.items():
        ones = result.get(row, [])
        if ones and goal and (any(one["never"] for one in ones) or statistics.median(one["gap"] for one in ones) > goal):
            found.append(row)
        # A lost node may cost each client the write that was in flight on it; a switchover none.
        allowed = {"switchover, through 6432": 0, "docker kill of the primary, through 6432": WRITERS}.get(row)
        if allowed is not None and any(one["errors"] > allowed or one["refused"] for one in ones):
            found.append(f"{row}: errors")
        if any(one["lost"] for one in ones):
            found.append(f"{row}: writes lost")
    if "memory" in result and (result["memory"]["agent"] > 20 or result["memory"]["pooler"] > 12):
        found.append("memory")
    return found


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeat", type=int, default=5, help="measurements of each row on pgdba")
    options.add_argument("--rival-repeat", type=int, default=2, help="the same on the packages stack")
    options.add_argument("--only", help="rows, by a part of their name")
    options.add_argument("--stacks", default=",".join(STACKS))
    options.add_argument("--json", default=str(ROOT / "build" / "bench-compose.json"))
    chosen = options.parse_args()
    rows = [row for row in ROWS if not chosen.only or chosen.only in row]
    refuse_somebodys()
    results = [bench(name, rows, chosen.repeat if name == "pgdba" else chosen.rival_repeat) for name in chosen.stacks.split(",")]
    os.makedirs(os.path.dirname(chosen.json) or ".", exist_ok=True)
    with open(chosen.json, "w") as file:
        json.dump({"schema_version": 1, "machine": machine(), "options": vars(chosen), "results": results}, file, indent=1)
    print(table(results))
    failures = [f"{result['system']} broke: see the JSON" for result in results if "broke" in result]
    for result in results:
        if result["system"] == "pgdba":
            failures += [f"pgdba did not reach: {what}" for what in missed(result)]
    print("\n".join(failures))
    print(f"Each measurement: {chosen.json}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
