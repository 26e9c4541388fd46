#!/usr/bin/python3
"""Failover times of pgdba and of Patroni 4.0.7, measured the same way on this machine in this run. See bench/README.md.

    bench/run.py [--repeat 7] [--rival-repeat 3] [--only postmaster,node,…] [--systems pgdba,patroni20,…] [--json FILE]
"""
import argparse
import datetime
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time

import systems
from systems import POOL, ROOT, Patroni, Pgdba, Pooled, processes

from harness.journal import Journal
from harness.traffic import Traffic
from harness.waiting import TimedOut, wait_until

# What each row must reach, as the project promised it: shown beside the measurement, never asserted.
GOALS = {
    "up": "≤ 5 s", "postmaster": "≤ 1.5 s", "node": "≤ 2 s", "frozen": "≤ ttl + 1.5 s", "stop": "≤ 0.7 s", "switchover": "≤ 0.7 s",
    "faults": "0 lost", "stalls": "0", "status": "≤ 50 ms", "rss_anon": "≤ 6 MB", "rss": "≤ 20 MB", "cpu": "≤ 0.5 %",
}
TITLES = {
    "up": "start to ready", "postmaster": "leader's postmaster killed", "node": "leader's agent and postgres killed together",
    "frozen": "leader's whole node frozen", "stop": "clean stop of the leader", "switchover": "switchover",
    "faults": "acknowledged writes lost in mixed faults", "stalls": "failovers under stalls of 60 % of ttl", "status": "status command",
    "rss_anon": "agent, RssAnon", "rss": "agent, RSS", "cpu": "agent, idle CPU",
}
FAULTS = ("postmaster", "node", "frozen", "stop", "switchover")
# The same through the pooler, with 32 writers that do not know the nodes: name of the row → what happens.
POOLED = {"pooled-switchover": "switchover", "pooled-postmaster": "postmaster", "pooled-node": "node"}
POOLED_TITLES = {
    "pooled-switchover": "switchover", "pooled-postmaster": "leader's postmaster killed", "pooled-node": "leader's whole node killed",
}
POOLED_GOALS = {
    "pooled-switchover": ("0", "≤ 0.7 s"), "pooled-postmaster": (f"≤ {POOL}", "≤ 1.7 s"), "pooled-node": (f"≤ {POOL}", "≤ 2.2 s"),
}


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def inject(system, fault, leader):
    """Does the fault; returns what heals it."""
    if fault == "postmaster":
        system.kill_postmaster(leader)
        return lambda: None
    if fault == "node":
        system.kill_node(leader)
        return lambda: system.start_node(leader)
    if fault == "frozen":
        system.freeze_node(leader)
        return lambda: system.thaw_node(leader)
    if fault == "stop":
        system.stop_node(leader)
        return lambda: system.start_node(leader)
    system.switchover(leader, system.others(leader)[0])
    return lambda: None


def measure(system, fault):
    """One fault under traffic: the longest gap in seconds, and what became of the acknowledged writes."""
    system.wait_ready()
    leader = system.leader()
    port, postmaster = system.port(leader), system.postmaster(leader)
    with Journal(system.endpoints, most_slack=1.0) as journal:
        wait_until("steady traffic", 60, lambda: journal.count("ok") >= 200)
        steady = journal.longest_gap(since=journal.acknowledged()[50].answered)
        began = time.monotonic()
        heal = inject(system, fault, leader)
        try:
            # A killed postmaster's backends may go on acknowledging for seconds: only a write on another node, or on a new
            # postmaster of the same one, was made after the fault.
            def restarted():
                now = system.postmaster(leader)
                return time.monotonic() if now and now.pid != postmaster.pid and system.leader() == leader else None

            again = []

            def over():
                if any(write.port != port and write.sent > began for write in journal.acknowledged()):
                    return True
                if fault == "postmaster" and not again and restarted():
                    again.append(time.monotonic())
                return bool(again) and journal.acknowledged_since(again[0])

            wait_until("writes after the fault", 4 * system.ttl + 60, over)
            seen = len(journal.acknowledged())
            wait_until("steady traffic again", 120, lambda: len(journal.acknowledged()) >= seen + 200)
            ended = time.monotonic()
        finally:
            heal()
    gap = journal.longest_gap(since=began - 0.05, until=ended)
    system.wait_ready()
    verdict = journal.verify()
    return {"gap": gap, "steady": steady, "acknowledged": verdict.acknowledged, "indeterminate": verdict.indeterminate,
            "lost": len(verdict.lost), "second_primary": len(verdict.second_primary)}


def measure_pooled(system, fault):
    """One fault under 32 writers that go through one port and know no node: what they were told, how long each of them waited, and
    how long nobody wrote. `never`: no write came through in so many seconds."""
    system.go_home()
    leader = system.leader()
    postmaster = system.postmaster(leader)
    never = None
    with Traffic(system.pooled(), write_patience=45, read_write=False) as journal:
        journal.wait_steady()
        timeline = max(write.timeline for write in journal.acknowledged())
        began = time.monotonic()
        heal = inject(system, fault, leader)
        try:
            again = []

            def over():  # see measure(): a write on a newer timeline, or after a restart in place
                if any(write.timeline > timeline for write in journal.acknowledged()):
                    return True
                if fault == "postmaster" and not again:
                    now = system.postmaster(leader)
                    if now and now.pid != postmaster.pid and system.leader() == leader:
                        again.append(time.monotonic())
                return bool(again) and journal.acknowledged_since(again[0])

            patience = max(60.0, 3 * system.ttl)
            try:
                wait_until("writes after the fault", patience, over)
                seen = len(journal.acknowledged())
                wait_until("steady traffic again", 120, lambda: len(journal.acknowledged()) >= seen + 4 * journal.writers)
            except TimedOut:
                never = patience
            ended = time.monotonic()
            journal.stop()
        finally:
            heal()
    system.wait_ready()
    journal.endpoints = system.endpoints  # the nodes themselves say what is there
    verdict = journal.verify()
    errors = [write for write in journal.errors() if began <= write.answered <= ended]
    return {"never": never, "errors": len(errors), "refused": journal.refusals, "wait": journal.longest_wait(began),
            "gap": journal.longest_gap(since=began - 0.05, until=ended), "texts": sorted({error.text.splitlines()[0] for error in errors}),
            "acknowledged": verdict.acknowledged, "lost": len(verdict.lost), "second_primary": len(verdict.second_primary)}


def mixed_faults(system, count, seed):
    """Many faults in a row, each drawn from a seed; the sum of what was lost."""
    draw = random.Random(seed)
    total = {"faults": 0, "acknowledged": 0, "indeterminate": 0, "lost": 0, "second_primary": 0}
    for _ in range(count):
        one = measure(system, draw.choice(FAULTS))
        total["faults"] += 1
        for key in ("acknowledged", "indeterminate", "lost", "second_primary"):
            total[key] += one[key]
    return total


def stalls(system, count):
    """SIGSTOP for 60 % of ttl, each process in turn; a change of leader that this caused is a false failover."""
    done, false = {}, {}
    for number in range(count):
        system.wait_ready()
        leader = system.leader()
        targets = system.stall_targets()
        label, process = targets[number % len(targets)]
        process.send(signal.SIGSTOP)
        time.sleep(0.6 * system.ttl)
        process.send(signal.SIGCONT)
        done[label] = done.get(label, 0) + 1
        end = time.monotonic() + system.ttl / 2
        while time.monotonic() < end:
            time.sleep(0.05)
        if system.leader() != leader:
            false[label] = false.get(label, 0) + 1
    return {"stalls": sum(done.values()), "by_process": done, "false": sum(false.values()), "false_by_process": false}


def cost(system, seconds=20):
    """Memory of each agent, and its share of one core while nothing happens."""
    system.wait_ready()
    agents = system.agents()
    before = {name: processes.cpu_seconds(agent.pid) for name, agent in agents.items()}
    began = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    memory = {name: processes.memory_kib(agent.pid) for name, agent in agents.items()}
    return {"rss_anon": [memory[name]["RssAnon"] / 1024 for name in agents], "rss": [memory[name]["VmRSS"] / 1024 for name in agents],
            "cpu": [100 * (processes.cpu_seconds(agent.pid) - before[name]) / took for name, agent in agents.items()]}


def bench(system, wanted, repeat, fault_count, stall_count, seed):
    result = {"system": system.label, "ttl": system.ttl, "fronted": isinstance(system, Pooled)}
    wanted = wanted & set(POOLED) if result["fronted"] else wanted  # the rest has been measured on the same system without the pooler
    say(f"{system.label}: starting")
    try:
        result["up"] = [system.start()]
        for fault in FAULTS:
            if fault in wanted:
                result[fault] = []
                for number in range(repeat):
                    result[fault].append(measure(system, fault))
                    say(f"{system.label}: {fault} {number + 1}/{repeat}: {result[fault][-1]['gap']:.2f} s")
        for row, fault in POOLED.items():
            if row in wanted and hasattr(system, "pooled"):
                result[row] = []
                for number in range(repeat):
                    result[row].append(measure_pooled(system, fault))
                    one = result[row][-1]
                    say(f"{system.label}: {row} {number + 1}/{repeat}: {one['errors']} errors, "
                        + (f"never (waited {one['never']:.0f} s)" if one["never"] else f"wait {one['wait']:.2f} s, gap {one['gap']:.2f} s"))
        if "status" in wanted:
            result["status"] = [system.status_seconds() for _ in range(max(repeat, 5))]
        if "cost" in wanted:
            result["cost"] = cost(system)
        if "faults" in wanted and fault_count:
            result["faults"] = mixed_faults(system, fault_count, seed)
        if "stalls" in wanted and stall_count:
            result["stalls"] = stalls(system, stall_count)
    except (AssertionError, OSError, RuntimeError) as error:
        result["broke"] = str(error)  # a system that breaks is a result, too
        say(f"{system.label} broke: {str(error)[:2000]}")
    finally:
        system.stop()
    return result


def spread(values, scale=1.0, unit="s", digits=2):
    values = sorted(value * scale for value in values)
    if not values:
        return "–"
    text = f"{statistics.median(values):.{digits}f} {unit}"
    return text if len(values) == 1 else f"{text} ({values[0]:.{digits}f}–{values[-1]:.{digits}f}, n={len(values)})"


def cell(result, row):
    if row in FAULTS:
        return spread([one["gap"] for one in result[row]]) if row in result else "–"
    if row == "up":
        return spread(result.get("up", []))
    if row == "status":
        return spread(result.get("status", []), 1000, "ms", 0)
    if row in ("rss_anon", "rss"):
        return spread(result["cost"][row], 1, "MB", 1) if "cost" in result else "–"
    if row == "cpu":
        return spread(result["cost"][row], 1, "%", 2) if "cost" in result else "–"
    if row == "faults":
        lost, acknowledged, count = 0, 0, 0
        for fault in FAULTS:
            for one in result.get(fault, []):
                lost, acknowledged, count = lost + one["lost"], acknowledged + one["acknowledged"], count + 1
        mixed = result.get("faults")
        if mixed:
            lost, acknowledged, count = lost + mixed["lost"], acknowledged + mixed["acknowledged"], count + mixed["faults"]
        return f"{lost} of {acknowledged} in {count} faults" if count else "–"
    if row == "stalls":
        return f"{result['stalls']['false']} in {result['stalls']['stalls']}" if "stalls" in result else "–"
    return "–"


def grid(head, rows):
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in [head, *rows]]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def table(results):
    results = [result for result in results if not result["fronted"]]
    if not results:
        return ""
    head = ["", *(result["system"] for result in results), "pgdba must reach"]
    rows = [[TITLES[row], *(cell(result, row) for result in results), GOALS[row]] for row in TITLES]
    return "\n".join(grid(head, [row for row in rows if set(row[1:-1]) != {"–"}]))  # what was not asked for is no row


def pooled_cell(result, row, what):
    ones = result.get(row)
    if not ones:
        return "–"
    if what == "errors":
        return spread([one["errors"] + one["refused"] for one in ones], 1, "", 0).replace(" ", "", 1)
    stuck = [one["never"] for one in ones if one["never"]]
    if stuck:  # no median of what has no end
        return f"never (waited {stuck[0]:.0f} s" + (f"), {len(stuck)} of {len(ones)} times" if len(ones) > 1 else ")")
    return spread([one[what] for one in ones])


def pooled_table(results):
    results = [result for result in results if any(row in result for row in POOLED)]
    if not results:
        return ""
    rows = []
    for row, title in POOLED_TITLES.items():
        what, name = ("wait", "longest wait") if row == "pooled-switchover" else ("gap", "gap")
        rows.append([f"{title}: client errors", *(pooled_cell(result, row, "errors") for result in results), POOLED_GOALS[row][0]])
        rows.append([f"{title}: {name}", *(pooled_cell(result, row, what) for result in results), POOLED_GOALS[row][1]])
    everything = [[one for row in POOLED for one in result.get(row, [])] for result in results]
    lost = [f"{sum(one['lost'] for one in ones)} of {sum(one['acknowledged'] for one in ones)}" for ones in everything]
    rows.append(["acknowledged writes lost", *lost, "0"])
    return "\n".join(grid(["32 writers through the pooler", *(result["system"] for result in results), "pgdba must reach"], rows))


def machine():
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "unknown")
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(), "commit": commit,
            "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")}


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--repeat", type=int, default=7, help="measurements of each fault on pgdba")
    options.add_argument("--rival-repeat", type=int, default=3, help="the same on Patroni, whose faults take half a minute each")
    options.add_argument("--faults", type=int, default=50, help="mixed faults on pgdba (0: none)")
    options.add_argument("--rival-faults", type=int, default=0)
    options.add_argument("--stalls", type=int, default=100, help="stalls on pgdba (0: none)")
    options.add_argument("--rival-stalls", type=int, default=0)
    options.add_argument("--only", default=",".join([*FAULTS, *POOLED, "status", "cost", "faults", "stalls"]))
    options.add_argument("--systems", default="pgdba,patroni20,patroni30,patroni20-pgbouncer,patroni20-pooler")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--json", default=str(ROOT / "build" / "bench.json"))
    chosen = options.parse_args()
    wanted = set(chosen.only.split(","))
    makers = {"pgdba": Pgdba, "pgdba-standard": lambda: Pgdba("standard"), "patroni20": lambda: Patroni(20), "patroni30": lambda: Patroni(30)}
    for ttl in (20, 30):
        for front in ("pgbouncer", "pooler"):
            makers[f"patroni{ttl}-{front}"] = lambda ttl=ttl, front=front: Pooled(ttl, front)
    unknown = [name for name in chosen.systems.split(",") if name not in makers]
    if unknown:
        options.error(f"unknown system {unknown[0]}; known: {', '.join(makers)}")
    results = []
    for name in chosen.systems.split(","):
        ours = name.startswith("pgdba")
        results.append(bench(makers[name](), wanted, chosen.repeat if ours else chosen.rival_repeat,
                             chosen.faults if ours else chosen.rival_faults, chosen.stalls if ours else chosen.rival_stalls, chosen.seed))
        os.makedirs(os.path.dirname(chosen.json) or ".", exist_ok=True)
        with open(chosen.json, "w") as file:
            json.dump({"schema_version": 1, "machine": machine(), "options": vars(chosen), "results": results}, file, indent=1)
    print("\n\n".join(part for part in (table(results), pooled_table(results)) if part))
    for result in results:
        if "broke" in result:
            print(f"{result['system']} broke in this run; see the JSON")
    print(f"\nEach measurement: {chosen.json}")
    return 1 if any("broke" in result for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
