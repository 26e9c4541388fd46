"""What wire/ writes, read by Patroni's own code: the reader of its etcd3 backend, its JSON of a cluster, and the judge of
a peer's answer in elections.

Argument: the program wire_samples. Works with Patroni 3.0 and 4.x (Debian 12 and 13). Exit code 77: no Patroni here.
"""
import datetime
import json
import subprocess
import sys

try:
    from patroni.dcs.etcd3 import Etcd3
    from patroni.ha import _MemberStatus
    from patroni.utils import cluster_as_json
    from patroni.version import __version__ as patroni_version
except ImportError as missing:
    print(f"no Patroni to ask: {missing}", file=sys.stderr)
    sys.exit(77)

MODERN = int(patroni_version.split(".")[0]) >= 4
failures = []
checks = 0


def expect(what, got, wanted):
    global checks
    checks += 1
    if got != wanted:
        failures.append(f"{what}: Patroni {patroni_version} understood {got!r}, meant was {wanted!r}")


def check_bytes(samples):
    """Our values are what Python's json prints for them: tools that compare texts see no difference."""
    for key, node in samples["nodes"].items():
        if node["value"][:1] in "{[":
            expect(f"{key}: bytes", node["value"], json.dumps(json.loads(node["value"]), separators=(",", ":")))
    for path in ("/cluster", "/patroni"):
        expect(f"{path}: bytes", samples[path], json.dumps(json.loads(samples[path])))


def read_cluster(nodes):
    """Patroni's reader needs an object with a name and nothing else."""
    dcs = object.__new__(Etcd3)
    dcs._ctl = True
    dcs._name = "pg-primary"
    return dcs._cluster_from_nodes(nodes)


def check_cluster(cluster):
    expect("initialize", cluster.initialize, "7711349752793788765")
    expect("config", cluster.config.data["synchronous_mode"], True)
    expect("leader", cluster.leader.name, "pg-primary")
    expect("leader's timeline", cluster.leader.timeline, 2)
    expect("checkpoint_after_promote", cluster.leader.checkpoint_after_promote, False)
    expect("members (ours below pgdba/ are none)", sorted(m.name for m in cluster.members), ["pg-primary", "pg-replica-1"])
    member = next(m for m in cluster.members if m.name == "pg-replica-1")
    expect("role", member.data["role"], "replica")
    expect("state", member.data["state"], "running")
    expect("is_running", bool(member.is_running), True)
    expect("nofailover", member.nofailover, True)
    expect("tags keep their types", member.tags, {"load": 1.5, "nofailover": True, "rack": 7, "zone": "\u00e4"})
    expect("api_url", member.api_url, "http://[fd00::2]:8009/patroni")
    expect("host", member.conn_kwargs()["host"], "fd00::2")
    expect("port", int(member.conn_kwargs()["port"]), 5433)
    expect("version", member.patroni_version if MODERN else member.version, (4, 1, 4))
    expect("xlog_location", member.data["xlog_location"], 0x3000100)
    expect("pending_restart", member.data["pending_restart"], True)
    expect("sync leader", cluster.sync.leader, "pg-primary")
    expect("sync_standby", cluster.sync.matches("pg-replica-1"), True)
    expect("history", cluster.history.lines,
           [[1, 0x3000000, "no recovery target specified", "2026-11-23T13:01:02.146127+00:00", "pg-primary"]])
    expect("timeline of the cluster", cluster.timeline, 2)
    failover = cluster.failover
    expect("failover", (failover.leader, failover.candidate), ("pg-primary", "pg-replica-1"))
    expect("scheduled_at", failover.scheduled_at,
           datetime.datetime(2026, 11, 24, 1, 2, 3, 500000, tzinfo=datetime.timezone.utc))
    expect("failsafe", cluster.failsafe, {"pg-primary": "http://10.0.0.1:8008/patroni", "pg-replica-1": "http://[fd00::2]:8009/patroni"})
    status = cluster.status if MODERN else cluster
    expect("optime", status.last_lsn, 0x3000148)
    # Patroni adds an entry for the leader's own slot itself.
    expect("slots", {k: v for k, v in status.slots.items()}, {"pg_primary": 0x3000148, "app": 5})
    if MODERN:
        expect("quorum", cluster.sync.quorum, 0)


def check_cluster_answer(ours, theirs):
    """GET /cluster: every field that this Patroni knows must be the same; 4.1 and we say more."""
    expect("/cluster: members", [m["name"] for m in ours["members"]], [m["name"] for m in theirs["members"]])
    for mine, other in zip(ours["members"], theirs["members"]):
        for key, value in other.items():
            if not MODERN and key == "state":  # 3.0 knows no replication state
                continue
            expect(f"/cluster: {mine['name']}.{key}", mine.get(key), value)
    expect("/cluster: pause", ours.get("pause"), theirs.get("pause"))
    switchover = theirs.get("scheduled_switchover")
    expect("/cluster: scheduled_switchover", ours.get("scheduled_switchover"), switchover)


def check_peer_answer(member, answer):
    """What an election makes of our GET /patroni."""
    status = _MemberStatus.from_api_response(member, answer)
    expect("peer: reachable", bool(status.reachable), True)
    expect("peer: in recovery", bool(status.in_recovery), True)
    expect("peer: position", status.wal_position, 0x3000100)
    expect("peer: timeline", status.timeline, 2)
    expect("peer: may not promote", status.failover_limitation(), "not allowed to promote")


def main():
    samples = json.loads(subprocess.run([sys.argv[1]], check=True, capture_output=True, text=True, timeout=20).stdout)
    check_bytes(samples)
    cluster = read_cluster(samples["nodes"])
    check_cluster(cluster)
    check_cluster_answer(json.loads(samples["/cluster"]), json.loads(json.dumps(cluster_as_json(cluster), default=str)))
    member = next(m for m in cluster.members if m.name == "pg-replica-1")
    check_peer_answer(member, json.loads(samples["/patroni"]))
    print("\n".join(failures) or f"Patroni {patroni_version} reads what we write: {checks} checks")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
