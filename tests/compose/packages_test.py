"""A cluster that Patroni runs, in containers made of Debian's packages (docker-compose.packages.yml): `pgdba cluster` on it, and pgdba's
pooler before it on 6433, following the leader by Patroni's own keys. Patroni's timings and mode are its defaults (ttl 30, asynchronous)
until a test turns to synchronous replication, before it claims that nothing acknowledged is lost."""
import json
import re

import pytest

from faults import FAULTS, suffer
from harness.journal import same_everywhere
from harness.probe import PrimaryProbe
from harness.waiting import wait_until
from stack import NODES, Stack, deployed, docker, http

FAULT = {fault.name: fault for fault in FAULTS}
CONNECT = "./bin/pgdba cluster connect --name local-ha --patroni-url http://localhost:8008 --pg-host localhost"


class Fronted(Stack):
    """Clients come in by pgdba's pooler."""

    ENTRY = 6433

    def pgdba(self, command, check=True):
        """pgdba cluster COMMAND, from the project's folder."""
        return self.sh(f"./bin/pgdba cluster {command} --name local-ha", folder=self.folder, check=check)

    def describe(self):
        return f"{super().describe()}\n--- pooler\n{self.sh('docker logs --tail 200 pgdba-pooler 2>&1', check=False).out}"


@pytest.fixture(scope="module")
def stack():
    files = ("docker-compose.spilo.yml", "docker-compose.packages.yml")
    with deployed(Fronted(files=files, settings={"COMPOSE_PROFILES": "pgdba-pooler"})) as made:
        made.up()
        made.wait_healthy()
        made.connected = made.sh(CONNECT, folder=made.folder)
        yield made


@pytest.fixture
def ready(stack):
    """All three nodes stream, whoever leads."""
    return stack.wait_healthy()


def config(stack):
    return json.loads(http("http://127.0.0.1:8008/config")[1])


def started(stack):
    """When each node's PostgreSQL was started."""
    return {name: stack.sql("select pg_postmaster_start_time()", port)[0] for name, (port, _) in NODES.items()}


def another(stack):
    return next(name for name in NODES if name != stack.leader())


def test_what_runs(ready):
    """What the numbers of the other stack are compared with."""
    patroni = json.loads(http("http://127.0.0.1:8008/patroni")[1])
    assert patroni["patroni"]["version"].startswith("4.0.") and patroni["server_version"] // 10000 == 17
    assert re.search(r"etcd Version: 3\.5\.", docker("exec", "etcd1", "etcd", "--version"))
    assert "PgBouncer 1.24." in docker("exec", "pgbouncer", "pgbouncer", "--version")
    assert {config(ready)[name] for name in ("loop_wait", "retry_timeout")} == {10} and config(ready)["ttl"] == 30
    assert config(ready)["synchronous_mode"] is False
    assert ready.leader() == "pg-primary" and ready.sql("select pg_is_in_recovery()", 6432) == ("f",)
    for name in [*NODES, "pgbouncer", "pgdba-pooler"]:
        assert docker("exec", name, "id", "-un").strip() == "postgres"
    assert set(ready.column("select distinct auth_method from pg_hba_file_rules", 5432)) == {"scram-sha-256"}


def test_connect_and_status(ready):
    for name, (_, rest) in NODES.items():
        assert f"{name} at http://localhost:{rest}" in ready.connected.err, ready.connected
    shown = ready.pgdba("status").out
    assert all(name in shown for name in NODES) and "healthy" in shown, shown
    status = json.loads(ready.pgdba("status -o json").out)
    assert status["leader"] == ready.leader() and {member["name"] for member in status["members"]} == set(NODES)
    assert {member["state"] for member in status["members"]} == {"running", "streaming"}, status
    assert "local-ha" in ready.sh("./bin/pgdba cluster list", folder=ready.folder).out


def test_psql_finds_the_leader_and_a_replica(ready):
    ask = "./bin/pgdba psql {} --name local-ha -- -XAtc 'select pg_is_in_recovery()'"
    assert ready.sh(ask.format(""), folder=ready.folder).out.strip() == "f"
    assert ready.sh(ask.format("--replica"), folder=ready.folder).out.strip() == "t"


def test_switchover(ready):
    candidate = another(ready)
    ready.pgdba(f"switchover --candidate {candidate} --yes")
    assert ready.leader() == candidate


def test_failover(ready):
    candidate = another(ready)
    ready.pgdba(f"failover --candidate {candidate} --yes")
    assert ready.leader() == candidate


def test_restart(ready):
    before, leader = started(ready), ready.leader()
    ready.pgdba("restart --yes")
    after = started(ready)
    assert all(after[name] > before[name] for name in NODES), (before, after)
    assert ready.leader() == leader and max(after.values()) == after[leader]  # which came last


def test_pause_and_resume(ready):
    ready.pgdba("pause --yes")
    assert config(ready)["pause"] is True
    leader, port = ready.leader(), NODES[ready.leader()][0]
    assert "paused" in ready.pgdba("status").out
    ready.pgdba("resume --yes")
    assert "pause" not in config(ready)
    assert ready.leader() == leader and ready.sql("select pg_is_in_recovery()", port) == ("f",)


def test_reinit(ready):
    replica = another(ready)
    docker("exec", replica, "touch", "/home/postgres/pgdata/data/marker")
    ready.pgdba(f"reinit {replica} --yes")
    assert "marker" not in docker("exec", replica, "ls", "/home/postgres/pgdata/data")
    ready.wait_healthy()


def test_pooler_lets_every_role_of_the_cluster_in(ready):
    """A role that the pooler's own files do not name, in a database that they do not name either."""
    ready.sql("create role app login password 'App-password-1'")
    ready.sql("create database app owner app")
    psql = "psql 'host=127.0.0.1 port={} user=app dbname=app' -XAtc 'select current_user, pg_is_in_recovery()'"
    app = {**ready.environment(), "PGPASSFILE": "/dev/null", "PGPASSWORD": "App-password-1"}
    assert ready.sh(psql.format(6433), environment=app).out.strip() == "app|f"
    refused = ready.sh(psql.format(6433), environment={**app, "PGPASSWORD": "Another-one-2"}, check=False)
    assert refused.code != 0 and "password authentication failed" in refused.err


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_the_same_fault_for_a_direct_client(ready, tell, fault):
    """For the table beside ours: asynchronous, as people run it, so what is lost is counted and not judged."""
    outcome, _ = suffer(ready, fault, ready.endpoints())
    tell(fault, "Patroni, direct", outcome)


@pytest.fixture
def synchronous(ready):
    """By `cluster config set`, once its effect is there: a commit waits for a replica. Not in quorum mode, in which Patroni's new leader
    goes on waiting for the lost node, too, for up to two rounds."""
    ready.pgdba("config set synchronous_mode=true --yes")
    wait_until("a synchronous replica", 30, lambda: "sync_standby" in {member["role"] for member in ready.members().values()})
    return ready


@pytest.mark.parametrize("fault", [FAULT["switchover"], FAULT["docker kill of the primary"]], ids=lambda fault: fault.name)
def test_pooler_follows_the_leader(synchronous, fault, tell):
    """Clients go on by themselves; PgBouncer's stay where pg-primary was."""
    with PrimaryProbe(synchronous.endpoints()) as probe:
        outcome, verdict = suffer(synchronous, fault, synchronous.pooled())
    tell(fault, "Patroni, through pgdba's pooler", outcome)
    verdict.check(at_least=50)
    probe.check()
    assert outcome.after != outcome.before
    wait_until("all nodes have the same rows", 60, lambda: same_everywhere(synchronous.endpoints()))
