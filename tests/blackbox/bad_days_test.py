"""Section by section the days that go wrong. After each: no acknowledged write is lost, no old primary acknowledged after a new
one, every node is back in and has the same rows, and `status` says what is true. No test asserts how long anything took, beyond
deadlines that only a hung cluster misses; `make bench` measures."""
import contextlib
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import threading
import time

import pytest

from harness import processes
from harness.client import Session, Unreachable, ask
from harness.journal import Journal
from harness.probe import PrimaryProbe
from harness.promises import promise
from harness.servers import as_user
from harness.waiting import wait_until

RECOVERY = 45  # seconds until writes flow again; generous: two cores may be shared with a build


@contextlib.contextmanager
def observed(cluster, writes_before=50, write_patience=None):
    """Traffic and the probe around a fault; the four promises at the end. `write_patience`: where no write may fail, a slow one
    must not be given up."""
    journal = None
    try:
        with PrimaryProbe(cluster.endpoints) as probe, Journal(cluster.endpoints, write_patience=write_patience) as journal:
            wait_until("some writes before the fault", 30, lambda: journal.count("ok") >= writes_before)
            yield journal
            now = time.monotonic()
            wait_until("writes flow at the end", RECOVERY, lambda: journal.acknowledged_since(now))
            cluster.wait_healthy(90)
        journal.verify().check(at_least=writes_before)
        probe.check()
        cluster.wait_same_everywhere()
    except BaseException:
        print(cluster.describe())  # pytest shows it; the fixture is about to remove it all
        if journal:
            with contextlib.suppress(Unreachable, RuntimeError):  # whatever came too late: what was acknowledged has to be there
                journal.verify(5).check(at_least=0)
        raise


def kill_within(folder, wanted, seconds=20):
    """Kills the first process of the cluster that is `wanted`, as soon as it appears."""
    def found():
        return next((process for process in processes.below(folder) if process.arguments and wanted(process)), None)
    process = wait_until("the process to be killed", seconds, found, every=0.005)
    process.kill()
    return process


@contextlib.contextmanager
def cut_off_replicas(cluster):
    """While it lasts no replica gets WAL: the primary may write some, and acknowledges none of it."""
    receivers = [process for node in cluster.replicas() for process in processes.descendants(node.postmaster().pid)
                 if "walreceiver" in process.command]
    for process in receivers:
        process.send(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in receivers:
            process.send(signal.SIGCONT)


# kill -9 of each process in turn.

def test_postmaster_of_the_leader_killed_with_busy_backends(cluster):
    """A killed postmaster's backends go on: they may commit for seconds, and be acknowledged, unless somebody ends them."""
    leader = cluster.primary()
    busy = [Session(cluster.endpoints.conninfo([leader.port], name="busy"), 5) for _ in range(4)]
    threads = [threading.Thread(target=session.query, args=(
        "select sum(i) from generate_series(1, 300000000) i", 60), daemon=True) for session in busy]
    for thread in threads:
        thread.start()
    with observed(cluster):
        backends = leader.backends()
        assert len(backends) > 4
        leader.postmaster().kill()
        wait_until("no process of the old PostgreSQL is left", 10, lambda: not [one for one in backends if one.alive()])


@pytest.mark.parametrize("which", ["agent", "guardian"])
def test_process_of_the_leader_killed(cluster, which):
    with observed(cluster):
        leader = cluster.primary()
        process, postmaster = getattr(leader, which)(), leader.postmaster()
        process.kill()
        if which == "agent":
            wait_until("another agent", 20, lambda: (agent := leader.agent()) and agent.pid != process.pid)
        else:
            wait_until("PostgreSQL does not outlive its guardian", 20, lambda: not postmaster.alive())


def test_agent_of_the_leader_killed_is_no_outage(cluster):
    """The restarted agent adopts PostgreSQL and the guardian: same postmaster, same guardian, same term, same primary."""
    leader = cluster.primary()

    def identity():
        return (leader.postmaster().pid, leader.guardian().pid, leader.sql("select current_setting('pgdba.term'), timeline_id from pg_control_checkpoint()"))
    before = identity()
    old = leader.agent()
    with observed(cluster, write_patience=10) as journal:
        old.kill()
        wait_until("another agent", 20, lambda: (agent := leader.agent()) and agent.pid != old.pid)
        cluster.wait_healthy()
    assert cluster.primary() is leader
    assert identity() == before
    assert journal.count("indeterminate") == 0


@pytest.mark.parametrize("which", ["postmaster", "agent"])
def test_process_of_a_replica_killed(cluster, which):
    leader, replica = cluster.primary(), cluster.replicas()[0]
    with observed(cluster, write_patience=10) as journal:
        process = getattr(replica, which)()
        process.kill()
        wait_until("another one", 20, lambda: (now := getattr(replica, which)()) and now.pid != process.pid)
    assert cluster.primary() is leader
    assert journal.count("indeterminate") == 0


def test_one_backend_of_the_leader_killed(cluster):
    """PostgreSQL ends every session after such a crash; whoever takes over or restarts, nothing acknowledged may go."""
    with observed(cluster):
        leader = cluster.primary()
        pid = int(leader.sql("select pid from pg_stat_activity where application_name = 'journal' limit 1")[0])
        os.kill(pid, signal.SIGKILL)


def test_whole_node_of_the_leader_killed(cluster):
    leader = cluster.primary()
    with observed(cluster):
        cluster.act("kill", leader.name)
        wait_until("another primary", RECOVERY, lambda: [node for node in cluster.primaries() if node is not leader])
        cluster.act("start", leader.name)


def test_supervisor_killed_changes_nothing_and_up_brings_it_back(cluster):
    supervisor = cluster.supervisor()
    before = {process.pid for process in processes.below(cluster.data_dir)} - {supervisor.pid}
    with observed(cluster, write_patience=10) as journal:
        supervisor.kill()
        wait_until("it is gone", 5, lambda: not supervisor.alive())
        cluster.up()
        assert cluster.supervisor() is not None
    assert before - {process.pid for process in processes.below(cluster.data_dir)} == set() or journal.count("indeterminate") == 0
    assert journal.count("failed") + journal.count("indeterminate") == 0


# SIGSTOP, and what happens on waking up.

def test_agent_of_the_leader_frozen_beyond_ttl(cluster):
    """The guardian ends PostgreSQL by the deadline; the agent that wakes up finds another leader."""
    leader = cluster.primary()
    agent = leader.agent()
    with observed(cluster):
        agent.send(signal.SIGSTOP)
        try:
            wait_until("another primary", RECOVERY, lambda: [node for node in cluster.primaries() if node is not leader])
        finally:
            agent.send(signal.SIGCONT)


def test_postgres_of_the_leader_frozen_beyond_ttl(cluster):
    """Its agent lives and renews the lock, so nobody else may lead before it has killed what does not answer. Who then leads, another
    or the same in a new PostgreSQL, depends on the voters."""
    leader = cluster.primary()
    with observed(cluster) as journal:
        stopped = processes.descendants(leader.postmaster().pid)
        for process in stopped:
            process.send(signal.SIGSTOP)
        try:
            now = time.monotonic()
            wait_until("somebody takes writes again", RECOVERY, lambda: journal.acknowledged_since(now))
        finally:
            for process in stopped:
                process.send(signal.SIGCONT)


def test_whole_node_frozen_beyond_ttl_then_thawed(cluster):
    leader = cluster.primary()
    with observed(cluster) as journal:
        cluster.act("freeze", leader.name)
        try:
            wait_until("another primary", RECOVERY, lambda: [node for node in cluster.primaries() if node is not leader])
            now = time.monotonic()
            wait_until("writes on it", RECOVERY, lambda: journal.acknowledged_since(now))
        finally:
            cluster.act("thaw", leader.name)
        wait_until("the old primary has stepped down", RECOVERY, lambda: not leader.is_primary())


@pytest.mark.parametrize("which", ["agent", "postmaster", "guardian", "etcd1", pytest.param("etcd2", marks=pytest.mark.long),
                                   pytest.param("etcd3", marks=pytest.mark.long)])
def test_stall_of_sixty_percent_of_ttl_is_no_failover(cluster, which):
    leader = cluster.primary()
    process = cluster.etcd(which) if which.startswith("etcd") else getattr(leader, which)()
    with observed(cluster):
        process.send(signal.SIGSTOP)
        time.sleep(0.6 * cluster.ttl)  # the fault itself, not a wait for something
        process.send(signal.SIGCONT)
    assert cluster.primary() is leader


# etcd.

def test_one_etcd_member_lost(cluster):
    leader = cluster.primary()
    with observed(cluster):
        cluster.act("kill", "etcd1")
        wait_until("etcd1 is gone", 10, lambda: cluster.etcd("etcd1") is None)
        now = time.monotonic()
        while time.monotonic() < now + 2 * cluster.ttl:
            assert leader.is_primary(), "losing one etcd member of three moved the primary"
            time.sleep(0.1)
        cluster.act("start", "etcd1")
        wait_until("etcd1 is back", 20, lambda: cluster.etcd("etcd1"))


def test_etcd_leader_lost(cluster):
    with observed(cluster):
        cluster.act("kill", "etcd-leader")
        wait_until("one of three is gone", 10, lambda: len(cluster.etcds()) == 2)
        gone = next(name for name in ("etcd1", "etcd2", "etcd3") if cluster.etcd(name) is None)
        cluster.act("start", gone)


def test_etcd_quorum_lost_and_back(cluster):
    """Without etcd nobody may acknowledge for longer than the lease; with it back, somebody does again."""
    with observed(cluster) as journal:
        for name in ("etcd1", "etcd2"):
            cluster.act("kill", name)
        wait_until("the primary stepped down", RECOVERY, lambda: not cluster.primaries())
        count = journal.count("ok")
        time.sleep(1.0)  # a time in which nothing may happen
        promise(journal.count("ok") == count, "a write was acknowledged without a leader lock")
        for name in ("etcd1", "etcd2"):
            cluster.act("start", name)


def test_etcd_data_wiped(cluster):
    """An empty etcd must not make anybody run initdb over data, nor let a second cluster begin."""
    system = cluster.primary().sql("select system_identifier from pg_control_system()")
    with observed(cluster):
        cluster.etcdctl("del", "--prefix", "/service/")
        now = time.monotonic()
        wait_until("the leader key is back", RECOVERY, lambda: "/leader" in cluster.etcdctl("get", "--prefix", "/service/", "--keys-only"))
        assert time.monotonic() >= now
    for node in cluster.nodes.values():
        assert node.sql("select system_identifier from pg_control_system()") == system


def test_etcd_rebuilt_empty(cluster):
    """All three data directories lost: another cluster id, and revisions that count from one again."""
    system = cluster.primary().sql("select system_identifier from pg_control_system()")
    names = ("etcd1", "etcd2", "etcd3")
    with observed(cluster):
        for name in names:
            cluster.act("kill", name)
        for name in names:
            shutil.rmtree(os.path.join(cluster.data_dir, name, "data"))
            cluster.act("start", name)
        wait_until("the leader key is back", RECOVERY, lambda: "/leader" in cluster.etcdctl("get", "--prefix", "/service/", "--keys-only"))
    for node in cluster.nodes.values():
        assert node.sql("select system_identifier from pg_control_system()") == system


def test_leader_key_deleted_by_hand(cluster):
    with observed(cluster):
        keys = cluster.etcdctl("get", "--prefix", "/service/", "--keys-only").split()
        cluster.etcdctl("del", next(key for key in keys if key.endswith("/leader")))


# Data directories.

@contextlib.contextmanager
def small_file_system(cluster, node, spare_mib=48):
    """Puts the data directory of a stopped node on a mount with little room; takes it away again, with the node stopped. The
    folder below then has the node's data of before: an old replica that has to catch up, or worse."""
    used = int(subprocess.run(["du", "-sm", node.data], capture_output=True, text=True, check=True).stdout.split()[0])
    owner = os.stat(node.data)
    copy = os.path.join(cluster.base, "copy")
    subprocess.run(["cp", "-a", node.data, copy], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={used + spare_mib}m,mode=700,uid={owner.st_uid},gid={owner.st_gid}", "tmpfs",
                    node.data], check=True)
    try:
        subprocess.run(["cp", "-a", f"{copy}/.", node.data], check=True)
        yield
        cluster.act("stop", node.name)
    finally:
        for process in processes.below(node.data):
            process.kill()
        subprocess.run(["umount", "-l", node.data], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_disk_full_on_the_leader(fresh):
    """A server that cannot write its WAL ends; another node takes over, and this one comes back when there is room again."""
    node = fresh.replicas()[0]
    fresh.act("stop", node.name)
    with small_file_system(fresh, node):
        fresh.act("start", node.name)
        fresh.wait_healthy()
        fresh.run("cluster", "switchover", "--candidate", node.name, "--name", fresh.name, "--yes")
        fresh.wait_healthy()
        assert fresh.primary() is node
        with observed(fresh):
            ballast = os.path.join(node.data, "ballast")
            with open(ballast, "wb") as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * 65536)
                    file.flush()
            # WAL is recycled, so a full disk shows only when more of it is wanted.
            with contextlib.suppress(Exception):
                node.sql("create table filler as select repeat('x', 1000) from generate_series(1, 200000)", 20)
            os.unlink(ballast)
    fresh.act("start", node.name)
    fresh.wait_healthy(90)


def test_old_primary_ahead_of_the_new_one_is_rewound(cluster):
    """WAL that no replica has: the old primary writes it while it is cut off from its replicas, then dies."""
    leader = cluster.primary()
    with observed(cluster):
        with cut_off_replicas(cluster):
            session = Session(cluster.endpoints.conninfo([leader.port]), 5)
            session.query("create table if not exists unacknowledged as select 1 as n", 0.5)
            cluster.act("kill", leader.name)
        wait_until("another primary", RECOVERY, lambda: [node for node in cluster.primaries() if node is not leader])
        cluster.act("start", leader.name)
    new = cluster.primary()
    assert new is not leader
    [exists] = leader.sql("select count(*) from pg_class where relname = 'unacknowledged'")
    assert exists == new.sql("select count(*) from pg_class where relname = 'unacknowledged'")[0]


def test_old_primary_started_by_hand_shows_nothing(cluster):
    """A commit that waited for a replica in vain is in the old primary's WAL, and a rewind will remove it. Somebody starts that
    data directory without its agent: it must not lead, follow, or show that row to anybody."""
    leader = cluster.primary()
    programs = os.path.dirname(leader.postmaster().arguments[0])
    with observed(cluster):
        with cut_off_replicas(cluster):
            session = Session(cluster.endpoints.conninfo([leader.port]), 5)
            assert session.query("create table never_acknowledged as select 1 as n", 0.5).outcome == "indeterminate"
            cluster.act("kill", leader.name)
        wait_until("another primary", RECOVERY, lambda: [node for node in cluster.primaries() if node is not leader])
        assert os.path.exists(os.path.join(leader.data, "standby.signal"))
        command = [os.path.join(programs, "pg_ctl"), "start", "-w", "-t", "30", "-D", leader.data, "-l", os.path.join(leader.folder, "by_hand.log")]
        owner = as_user(pwd.getpwuid(os.stat(leader.data).st_uid).pw_name)

        def by_hand():
            # PostgreSQL refuses while the killed postmaster's pid is a zombie that nobody has reaped yet.
            done = subprocess.run(command, capture_output=True, text=True, **owner)
            assert done.returncode == 0, done
            return True
        wait_until("somebody starts it by hand", 10, by_hand, every=0.2)
        with pytest.raises(Unreachable, match="pg_hba.conf rejects"):
            leader.sql("select count(*) from never_acknowledged")
        cluster.act("start", leader.name)
    question = "select to_regclass('never_acknowledged') is null"  # what a receiver had in its socket may have survived
    assert leader.sql(question) == cluster.primary().sql(question)


def test_clone_killed_half_way(cluster):
    replica = cluster.replicas()[0]
    with observed(cluster):
        order = threading.Thread(target=cluster.run, args=("cluster", "reinit", replica.name, "--name", cluster.name, "--yes"),
                                 kwargs={"code": None, "seconds": 120})
        order.start()
        kill_within(cluster.data_dir, lambda process: "pg_basebackup" in process.command)
        cluster.act("kill", replica.name)
        cluster.act("start", replica.name)
        order.join()


def test_rewind_killed_half_way(cluster):
    """A half-rewound directory looks like a good one; started, it is corruption. It has to be cloned anew."""
    leader = cluster.primary()
    with observed(cluster):
        with cut_off_replicas(cluster):
            # WAL that no replica has, so that there is something to rewind: more than sockets hold (10 MB went through once).
            session = Session(cluster.endpoints.conninfo([leader.port]), 5)
            answer = session.query("create table to_be_rewound as select repeat('x', 500) from generate_series(1, 100000)", 3)
            assert answer.outcome == "indeterminate", answer
            cluster.act("kill", leader.name)
        wait_until("another primary", RECOVERY, lambda: [node for node in cluster.primaries() if node is not leader])
        cluster.act("start", leader.name)
        kill_within(leader.folder, lambda process: os.path.basename(process.arguments[0]) == "pg_rewind" and "--dry-run" not in process.arguments, 120)
    logs = cluster.run("logs", leader.name, "-n", 0, "--name", cluster.name).out
    assert "ha: clone from" in logs.rsplit("ha: rewind from", 1)[-1], logs[-3000:]


# Operators.

def test_two_switchovers_ordered_at_once(cluster):
    replicas = cluster.replicas()
    with observed(cluster):
        results = []
        threads = [threading.Thread(target=lambda name=node.name: results.append(cluster.run(
            "cluster", "switchover", "--candidate", name, "--name", cluster.name, "--yes", code=None))) for node in replicas]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    codes = sorted(result.code for result in results)
    assert codes[0] == 0, f"neither went through: {results}"
    assert cluster.primary() in replicas


def test_switchover_to_an_unknown_candidate_is_refused(cluster):
    leader = cluster.primary()
    with observed(cluster, write_patience=10) as journal:
        result = cluster.run("cluster", "switchover", "--candidate", "pg-replica-9", "--name", cluster.name, "--yes", code=None)
    assert result.code in (2, 3), result
    assert "pg-replica-9" in result.err
    assert cluster.primary() is leader
    assert journal.count("failed") + journal.count("indeterminate") == 0


def test_switchover_to_a_lagging_candidate_is_refused_with_numbers(cluster):
    leader, candidate = cluster.primary(), cluster.replicas()[0]
    receiver = next(process for process in processes.descendants(candidate.postmaster().pid) if "walreceiver" in process.command)
    with observed(cluster):
        receiver.send(signal.SIGSTOP)
        try:
            leader.sql("create table lag as select repeat('x', 1000) as x from generate_series(1, 20000)", 30)
            result = cluster.run("cluster", "switchover", "--candidate", candidate.name, "--name", cluster.name, "--yes", code=None)
            assert result.code in (3, 4), result
            assert any(character.isdigit() for character in result.err), result
            assert cluster.primary() is leader
        finally:
            receiver.send(signal.SIGCONT)
            with contextlib.suppress(Exception):
                leader.sql("drop table if exists lag")


# Everything at once.

def kill_everything(cluster):
    for _ in range(3):
        for process in processes.below(cluster.data_dir):
            process.kill()
    wait_until("nothing runs", 15, lambda: not processes.below(cluster.data_dir))


def test_everything_killed_then_up(fresh):
    with Journal(fresh.endpoints) as journal:
        wait_until("some writes", 30, lambda: journal.count("ok") >= 100)
        kill_everything(fresh)
    fresh.up()
    fresh.wait_healthy(90)
    journal.verify().check(at_least=100)
    fresh.wait_same_everywhere()


ORDERS = list(itertools.permutations(["pg-primary", "pg-replica-1", "pg-replica-2"]))


@pytest.mark.parametrize("order", [pytest.param(order, marks=[] if number == 5 else [pytest.mark.long]) for number, order in enumerate(ORDERS)],
                         ids=lambda order: "-".join(name[-1] for name in order))
def test_nodes_come_back_in_each_order(cluster, order):
    """The last one that led has the newest data; a stale one that comes first must wait for it."""
    with Journal(cluster.endpoints) as journal:
        wait_until("some writes", 30, lambda: journal.count("ok") >= 50)
        for name in reversed(order):  # the first to return has been away for longest
            cluster.act("kill", name)
    for name in order:
        cluster.act("start", name)
    cluster.wait_healthy(90)
    journal.verify().check(at_least=50)
    cluster.wait_same_everywhere()


def test_both_replicas_lost_blocks_writes_and_loses_nothing(cluster):
    replicas = cluster.replicas()
    with observed(cluster) as journal:
        for node in replicas:
            cluster.act("kill", node.name)
        for node in replicas:
            cluster.act("start", node.name)
    assert ask(cluster.endpoints.conninfo(read_write=True), "select count(*) from journal")
    assert journal.count("ok")
