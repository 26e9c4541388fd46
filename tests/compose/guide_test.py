"""The commands of the guide, as they stand there, on a fresh deployment and on one that has pg-primary as its leader."""
import json
import re
import signal
import subprocess
import time

import pytest

from harness.waiting import wait_until
from stack import ETCDS, NODES, docker

ALL = [*ETCDS, *NODES, "pgbouncer"]


def states(stack):
    """Each container's name and what docker says of it, but for check-env, which ends at once."""
    lines = stack.sh("docker compose ps -a --format '{{.Name}} {{.State}}'").out.splitlines()
    return {name: state for name, state in map(str.split, lines) if name != "check-env"}


def test_ps_shows_the_seven_containers_up(home):
    shown = home.sh("docker compose ps").out
    for name in ALL:
        assert re.search(rf"^{name} .* Up ", shown, re.M), shown
    assert len(shown.splitlines()) == 1 + len(ALL), shown
    assert set(states(home).values()) == {"running"} and set(states(home)) == set(ALL)


def test_ports_are_bound_to_loopback_only(home):
    published = {}
    for name in ALL:
        for port, where in json.loads(docker("inspect", "-f", "{{json .NetworkSettings.Ports}}", name)).items():
            for one in where or []:
                assert one["HostIp"] == "127.0.0.1", (name, one)
                published[int(one["HostPort"])] = (name, int(port.split("/")[0]))
    wanted = {6432: ("pgbouncer", 6432)}
    for name, (port, rest) in NODES.items():
        wanted |= {port: (name, 5432), rest: (name, 8008)}
    assert published == wanted


@pytest.mark.parametrize("service", ["", "pg-primary", "pg-replica-1", "pgbouncer", "etcd1"])
def test_logs_follow(home, service):
    """It prints what is there and waits for more, until interrupted. etcd logs warnings only: there may be none."""
    following = subprocess.Popen(["docker", "compose", "logs", "-f", *([service] if service else [])], cwd=home.work, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT, text=True)
    try:
        if service != "etcd1":
            assert "|" in following.stdout.readline()
        time.sleep(0.3)
        assert following.poll() is None
    finally:
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=20)


def test_the_log_says_when_it_leads(home):
    """After `initialized a new cluster` the line that Patroni's users know."""
    log = home.sh("docker compose logs pg-primary").out
    assert re.search(r"pg-primary +\| .*I am \(pg-primary\), the leader with the lock", log, re.M), log[-4000:]


def test_cluster_as_the_guide_shows_it(home):
    def as_shown():
        shown = json.loads(home.sh("curl -s http://localhost:8008/cluster | python3 -m json.tool").out)
        members = {member["name"]: member for member in shown["members"]}
        assert set(members) == set(NODES)
        for name, member in members.items():
            assert member["host"] == name and member["port"] == 5432
            if name == "pg-primary":
                assert (member["role"], member["state"]) == ("leader", "running")
            else:
                assert member["role"] in ("replica", "sync_standby", "quorum_standby") and member["state"] == "streaming" and member["lag"] == 0
        return True
    wait_until("what the guide shows; a write of a moment ago may still be on its way", 20, as_shown)


def test_connect_and_status(home):
    """From the project's folder, as the guide says."""
    home.sh("./bin/pgdba cluster connect --name local-ha --patroni-url http://localhost:8008 --pg-host localhost", folder=home.folder)
    shown = home.sh("./bin/pgdba cluster status --name local-ha", folder=home.folder).out
    for name in NODES:
        assert name in shown, shown
    status = json.loads(home.sh("./bin/pgdba cluster status --name local-ha -o json", folder=home.folder).out)
    assert status["leader"] == "pg-primary" and len(status["members"]) == 3, status


@pytest.mark.parametrize("port", [6432, 5432, 5433, 5434])
def test_psql(home, port):
    psql = f"psql -h 127.0.0.1 -p {port} -U postgres postgres -XAtc"
    reads_only = home.sh(f'{psql} "select pg_is_in_recovery()"').out.strip() == "t"
    assert reads_only == (port in (5433, 5434))
    write = home.sh(f'{psql} "create table if not exists guide_{port}(a int)"', check=False)
    if reads_only:
        assert write.code != 0 and "read-only transaction" in write.err
    else:
        assert write.code == 0, write.err


def test_passwords_count(home):
    wrong = {**home.environment(), "PGPASSFILE": "/dev/null", "PGPASSWORD": "Wrong1234567"}
    for port in (6432, 5432, 5433):
        refused = home.sh(f"psql -h 127.0.0.1 -p {port} -U postgres postgres -c 'select 1'", check=False, environment=wrong)
        assert refused.code != 0 and "password authentication failed" in refused.err, refused


def test_only_scram_and_only_the_networks_of_the_containers(home):
    rules = home.column("select concat_ws('|', type, address, netmask, auth_method) from pg_hba_file_rules where error is null", 5432)
    assert any("samenet" in rule for rule in rules), rules
    for rule in rules:
        *where, method = rule.split("|")
        # Single hosts by address; everybody by the networks of this container.
        assert method == "reject" or method == "scram-sha-256" and (where in (["local"], ["host", "samenet"])
                                                                    or where[2] in ("255.255.255.255", ":".join(["ffff"] * 8))), rules
    assert home.column("select distinct substr(rolpassword, 1, 13) from pg_authid where rolpassword is not null", 5432) == ["SCRAM-SHA-256"]


def test_replication_rows(home):
    rows = home.sql("select count(*), count(distinct client_addr), min(state), max(sent_lsn - replay_lsn) >= 0 from pg_stat_replication", 5432)
    assert rows == ("2", "2", "streaming", "t")
    assert sorted(home.column("select application_name from pg_stat_replication", 5432)) == ["pg-replica-1", "pg-replica-2"]


def test_stop_and_start_of_a_replica(home):
    home.compose("stop pg-replica-1")
    assert states(home)["pg-replica-1"] == "exited"
    home.sql("create table if not exists while_away(a int)")
    home.sql("insert into while_away values (1)")
    home.compose("start pg-replica-1")
    home.wait_healthy()
    wait_until("the replica has the row", 20, lambda: home.sql("select count(*) from while_away", 5433)[0] != "0")


def test_stop_of_the_primary(home):
    """A replica leads, as 8009 or 8010 show; the former primary comes back under its own name, as a replica."""
    home.compose("stop pg-primary")

    def led():
        for rest in (8009, 8010):
            shown = json.loads(home.sh(f"curl -s http://localhost:{rest}/cluster | python3 -m json.tool").out)
            leaders = [member["name"] for member in shown["members"] if member["role"] == "leader" and member["state"] == "running"]
            assert leaders and leaders[0] in ("pg-replica-1", "pg-replica-2"), shown
        return leaders[0]
    leader = wait_until("a replica leads", 30, led)
    home.sql("create table if not exists after_failover(a int)")
    home.compose("start pg-primary")
    home.wait_healthy()
    assert home.leader() == leader and home.members()["pg-primary"]["role"] != "leader"


def test_switchover_by_curl(home):
    answer = home.sh("""curl -s -XPOST -H "Content-Type: application/json" http://localhost:8008/switchover -d '{"leader": "pg-primary"}' """
                     "| python3 -m json.tool", check=False)
    # Patroni's answer is a sentence, which json.tool takes for no JSON; ours has to go through the pipe of the guide.
    assert answer.code == 0, answer
    assert "pg-replica" in answer.out
    wait_until("another leader", 30, lambda: home.leader() != "pg-primary")
    shown = json.loads(home.sh("curl -s http://localhost:8008/cluster").out)
    assert [member["name"] for member in shown["members"] if member["role"] == "leader"] == [home.leader()]


def test_stop_start_keeps_the_cluster(home):
    home.sql("create table if not exists kept(a int)")
    home.sql("insert into kept values (1)")
    home.compose("stop")
    assert set(states(home).values()) == {"exited"}
    home.compose("start")
    home.wait_healthy()
    assert int(home.sql("select count(*) from kept")[0]) >= 1


def test_down_keeps_the_data_and_down_v_removes_it(home):
    home.sql("create table if not exists kept_by_down(a int)")
    home.sql("insert into kept_by_down values (1)")
    home.compose("down")
    assert states(home) == {}
    home.up()
    assert home.sql("select count(*) from kept_by_down") == ("1",)
    home.wait_healthy()
    home.compose("down -v")
    assert not [name for name in docker("volume", "ls", "-q").split() if name.startswith("pgdba_")]
    # As the guide polls, from the first moment.
    home.compose("up -d")
    polled = home.sh('until curl -sf http://localhost:8008/health > /dev/null; do echo "…"; sleep 1; done; echo ready', seconds=60).out
    assert polled.startswith("…") and polled.endswith("ready\n"), polled
    home.wait_healthy()
    assert home.sql("select to_regclass('kept_by_down') is null") == ("t",)
    assert home.leader() == "pg-primary"  # it made the new cluster


def test_no_password_in_command_lines_or_logs(home):
    home.keeps_quiet([home.settings["POSTGRES_PASSWORD"], home.settings["REPLICATION_PASSWORD"]])


def test_nobody_is_root(home):
    for name in [*NODES, "pgbouncer"]:
        assert docker("exec", name, "id", "-un").strip() == "postgres"
        # tini is the first process and reaps; the engine shows the owners' numbers as this machine names them.
        processes = docker("top", name, "-eo", "uid,pid,comm").splitlines()[1:]
        assert {line.split()[0] for line in processes} == {"999"} and processes[0].split()[2] == "tini", processes
