"""`pgdba cluster …`: what it prints is true, what it does took effect, and what it refuses changed nothing."""
import csv
import io
import json
import os
import re
import stat

import pytest
import yaml

from harness import processes
from harness.journal import Journal
from harness.waiting import wait_until


def test_status_is_true_in_every_format(cluster):
    leader = cluster.primary()
    told = cluster.run("cluster", "status", "--name", cluster.name, "-o", "json").json()
    assert told["schema_version"] >= 1 and told["leader"] == leader.name
    timeline = int(leader.sql("select timeline_id from pg_control_checkpoint()")[0])
    for member in told["members"]:
        node = cluster[member["name"]]
        assert (member["host"], member["port"]) == ("127.0.0.1", node.port)
        assert member["timeline"] == timeline
        assert member["pending_restart"] is False
        if node is not leader:
            assert isinstance(member["lag_bytes"], int) and member["lag_seconds"] == 0
    same = yaml.safe_load(cluster.run("cluster", "status", "--name", cluster.name, "-o", "yaml").out)
    assert [member["name"] for member in same["members"]] == [member["name"] for member in told["members"]]
    assert set(same) == set(told)
    rows = list(csv.reader(io.StringIO(cluster.run("cluster", "status", "--name", cluster.name, "-o", "tsv").out), delimiter="\t"))
    assert len(rows) == 4 and len({len(row) for row in rows}) == 1
    table = cluster.run("cluster", "status", "--name", cluster.name).out
    assert all(name in table for name in cluster.nodes) and "\x1b" not in table


def test_status_check_is_a_nagios_plugin(cluster):
    good = cluster.run("cluster", "status", "--check", "--name", cluster.name)
    assert good.code == 0 and good.out.count("\n") == 1
    replica = cluster.replicas()[0]
    cluster.act("stop", replica.name)
    assert cluster.run("cluster", "status", "--check", "--name", cluster.name, code=None).code in (1, 2)
    told = cluster.status(code=None)
    missing = next(member for member in told["members"] if member["name"] == replica.name)
    assert missing.get("lag_bytes") is None, "unknown is null, never 0"
    cluster.act("start", replica.name)


def test_status_without_a_leader_is_unhealthy(fresh):
    for name in fresh.nodes:
        fresh.act("kill", name)
    assert fresh.run("cluster", "status", "--check", "--name", fresh.name, code=None).code in (2, 3)
    assert fresh.run("cluster", "status", "--name", fresh.name, code=None).code != 0


def test_watch_repeats(cluster):
    watch = cluster.popen("cluster", "status", "--watch=0.2", "--name", cluster.name, "-o", "json")
    try:
        os.set_blocking(watch.stdout.fileno(), False)
        seen = []
        wait_until("three rounds", 15, lambda: seen.append(watch.stdout.read() or "") or "".join(seen).count('"schema_version"') >= 3)
    finally:
        watch.kill()
        watch.communicate()


def test_switchover_moves_the_primary_and_loses_nothing(cluster):
    leader, candidate = cluster.primary(), cluster.replicas()[1]
    with Journal(cluster.endpoints) as journal:
        wait_until("writes", 20, lambda: journal.count("ok") >= 50)
        result = cluster.run("cluster", "switchover", "--candidate", candidate.name, "--name", cluster.name, "--yes")
        assert candidate.sql("select pg_is_in_recovery()", 20) == ("f",) and not leader.is_primary(), "it returned before its effect was there"
        count = journal.count("ok")
        wait_until("writes after it", 20, lambda: journal.count("ok") > count + 50)
    journal.verify().check(at_least=100)
    assert candidate.name in result.out + result.err
    cluster.wait_healthy()
    history = cluster.run("cluster", "history", "--name", cluster.name, "-o", "json").json()
    assert candidate.name in json.dumps(history)


def test_switchover_picks_a_candidate(cluster):
    leader = cluster.primary()
    cluster.run("cluster", "switchover", "--name", cluster.name, "--yes")
    cluster.wait_healthy()
    assert cluster.primary() is not leader


def test_dry_run_changes_nothing(cluster):
    leader, candidate = cluster.primary(), cluster.replicas()[0]
    before = cluster.etcdctl("get", "--prefix", "/service/", "--keys-only")
    result = cluster.run("cluster", "switchover", "--candidate", candidate.name, "--dry-run", "--name", cluster.name)
    assert candidate.name in result.out + result.err
    assert cluster.primary() is leader
    assert cluster.etcdctl("get", "--prefix", "/service/", "--keys-only") == before


def test_switchover_to_the_leader_is_refused(cluster):
    leader = cluster.primary()
    result = cluster.run("cluster", "switchover", "--candidate", leader.name, "--name", cluster.name, "--yes", code=None)
    assert result.code in (2, 3) and leader.name in result.err
    assert cluster.primary() is leader


def test_failover_with_a_living_leader(cluster):
    candidate = cluster.replicas()[0]
    cluster.run("cluster", "failover", "--candidate", candidate.name, "--name", cluster.name, "--yes")
    cluster.wait_healthy()
    assert cluster.primary() is candidate


@pytest.mark.parametrize("role", ["replica", "primary"])
def test_restart_gives_another_postmaster(cluster, role):
    node = cluster.primary() if role == "primary" else cluster.replicas()[0]
    before = node.postmaster()
    cluster.run("cluster", "restart", node.name, "--name", cluster.name, "--yes")
    after = node.postmaster()
    assert after and after.pid != before.pid
    cluster.wait_healthy()


def test_reload_and_pending_restart_and_restart(cluster):
    """A setting that takes a restart is flagged, not forced; after the restart the flag is gone."""
    result = cluster.run("cluster", "config", "set", "postgresql.parameters.max_connections=123", "--name", cluster.name, "--yes")
    assert result.code == 0
    try:
        wait_until("all members want a restart", 20, lambda: all(member["pending_restart"] for member in cluster.status()["members"]))
        assert all(node.sql("show max_connections") != ("123",) for node in cluster.nodes.values())
        # A standby may not have fewer than its primary had: the primary first when it falls, last when it rises.
        leader = cluster.primary()
        for node in [*cluster.replicas(), leader] if int(leader.sql("show max_connections")[0]) < 123 else [leader, *cluster.replicas()]:
            cluster.run("cluster", "restart", node.name, "--name", cluster.name, "--yes")
            cluster.wait_healthy()
        assert all(node.sql("show max_connections") == ("123",) for node in cluster.nodes.values())
        assert not any(member["pending_restart"] for member in cluster.status()["members"])
    finally:
        cluster.run("cluster", "config", "set", "postgresql.parameters.max_connections=null", "--name", cluster.name, "--yes", code=None)
        for node in [cluster.primary(), *cluster.replicas()]:
            cluster.run("cluster", "restart", node.name, "--name", cluster.name, "--yes", code=None)


def test_config_set_without_restart_reaches_every_member(cluster):
    cluster.run("cluster", "config", "set", "postgresql.parameters.work_mem=7MB", "--name", cluster.name, "--yes")
    wait_until("the setting is everywhere", 20, lambda: all(node.sql("show work_mem") == ("7MB",) for node in cluster.nodes.values()))
    shown = cluster.run("cluster", "config", "show", "--name", cluster.name, "-o", "json").json()
    assert "7MB" in json.dumps(shown)
    cluster.run("cluster", "config", "set", "postgresql.parameters.work_mem=null", "--name", cluster.name, "--yes")


def test_config_set_refuses_nonsense(cluster):
    before = cluster.run("cluster", "config", "show", "--name", cluster.name, "-o", "json").out
    result = cluster.run("cluster", "config", "set", "ttl=soon", "--name", cluster.name, "--yes", code=None)
    assert result.code in (1, 2, 3) and "ttl" in result.err
    assert cluster.run("cluster", "config", "show", "--name", cluster.name, "-o", "json").out == before


def test_reinit_clones_anew(cluster):
    replica = cluster.replicas()[0]
    mark = os.path.join(replica.data, "made_by_the_test")
    with open(mark, "w"):
        pass
    cluster.run("cluster", "reinit", replica.name, "--name", cluster.name, "--yes", seconds=120)
    cluster.wait_healthy()
    assert not os.path.exists(mark)


def test_reinit_of_the_leader_is_refused(cluster):
    leader = cluster.primary()
    before = leader.postmaster().pid
    result = cluster.run("cluster", "reinit", leader.name, "--name", cluster.name, "--yes", code=None)
    assert result.code == 3 and leader.name in result.err
    assert leader.postmaster().pid == before


def test_pause_keeps_the_agents_hands_off(cluster):
    leader = cluster.primary()
    cluster.run("cluster", "pause", "--name", cluster.name, "--yes")
    try:
        assert cluster.status(code=None)["pause"] is True
        victim = leader.postmaster()
        victim.kill()
        wait_until("it is dead", 10, lambda: not victim.alive())
        assert wait_until("nobody else is promoted", 2 * cluster.ttl + 5, lambda: True)
        assert not [node for node in cluster.primaries() if node is not leader]
    finally:
        cluster.run("cluster", "resume", "--name", cluster.name, "--yes")
    cluster.wait_healthy(90)


def test_switchover_and_restart_in_pause(cluster):
    """To a named candidate only, as in Patroni. It stopped the leader once, and nobody took over until somebody resumed."""
    leader, candidate = cluster.primary(), cluster.replicas()[0]
    before = leader.postmaster().pid
    cluster.run("cluster", "pause", "--name", cluster.name, "--yes")
    try:
        result = cluster.run("cluster", "switchover", "--name", cluster.name, "--yes", code=3)
        assert "paused" in result.err, result
        assert leader.is_primary() and leader.postmaster().pid == before
        cluster.run("cluster", "switchover", "--candidate", candidate.name, "--name", cluster.name, "--yes")
        assert cluster.primary() is candidate
        candidate.sql("create table paused(at timestamptz)")
        wait_until("both others stream", 20, lambda: candidate.sql("select count(*) from pg_stat_replication where state = 'streaming'")[0] == "2")
        timeline = lambda node: json.loads(node.rest("/patroni", login=False)[1])["timeline"]
        wait_until("its agent says that it is on the new timeline", 10, lambda: timeline(leader) == timeline(candidate))
        role = lambda: {member["name"]: member["role"] for member in json.loads(candidate.rest("/cluster", login=False)[1])["members"]}[leader.name]
        wait_until("it is counted on again", 20, lambda: role() == "quorum_standby")
        cluster.run("cluster", "failover", "--candidate", leader.name, "--name", cluster.name, "--yes")
        assert cluster.primary() is leader
        assert leader.rest("/restart", "POST", {}, seconds=60)[0] == 200
        wait_until("it serves", 20, lambda: leader.is_primary() and leader.sql("insert into paused values (now()) returning 1"))
        assert cluster.status(code=None)["pause"] is True
    finally:
        cluster.run("cluster", "resume", "--name", cluster.name, "--yes")
    cluster.wait_healthy()


def test_connect_adopts_a_running_cluster_under_another_name(cluster):
    node = cluster.replicas()[0]
    other = "adopted"
    try:
        cluster.run("cluster", "connect", "--name", other, "--patroni-url", f"http://127.0.0.1:{node.rest_port}")
        told = cluster.run("cluster", "status", "--name", other, "-o", "json").json()
        assert {member["name"] for member in told["members"]} == set(cluster.nodes)
        again = cluster.run("cluster", "connect", "--name", other, "--patroni-url", f"http://127.0.0.1:{node.rest_port}", code=None)
        assert again.code in (2, 3) and "--replace" in again.err
        # It goes on through another member when the first is down.
        cluster.act("stop", node.name)
        told = cluster.run("cluster", "status", "--name", other, "-o", "json", code=None).json()
        assert told["leader"] == cluster.primary().name
        cluster.act("start", node.name)
        refused = cluster.run("down", "--name", other, "--yes", code=None)
        assert refused.code == 3, refused
        assert cluster.primary().is_primary()
        path = os.path.join(cluster.home, ".pgdba", "clusters.json")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    finally:
        cluster.run("cluster", "forget", other, code=None)
        cluster.run("cluster", "forget", "--name", other, code=None)


def test_connect_to_nothing_is_unreachable(cluster):
    result = cluster.run("cluster", "connect", "--name", "nothing", "--patroni-url", "http://127.0.0.1:1", code=5)
    assert "127.0.0.1:1" in result.err


def test_status_by_url_needs_no_name(cluster):
    node = cluster.primary()
    told = cluster.run("cluster", "status", "--patroni-url", f"http://127.0.0.1:{node.rest_port}", "-o", "json").json()
    assert told["leader"] == node.name


def test_no_color_and_color(cluster):
    assert "\x1b" in cluster.run("cluster", "status", "--color", "always", "--name", cluster.name).out
    text = cluster.run("cluster", "status", "--color", "auto", "--name", cluster.name, environment=cluster.environment(NO_COLOR="1")).out
    assert "\x1b" not in text and re.search("pg-primary", text)


def test_killed_command_leaves_nothing_half_done(cluster):
    """The command line asks; the agents do. A command that dies in the middle changes nothing about that."""
    candidate = cluster.replicas()[0]
    child = cluster.popen("cluster", "switchover", "--candidate", candidate.name, "--name", cluster.name, "--yes")
    wait_until("it runs", 5, lambda: processes.read(child.pid))
    child.kill()
    child.communicate()
    cluster.wait_healthy(60)
