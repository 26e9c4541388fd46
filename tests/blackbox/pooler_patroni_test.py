"""`pgdba pooler` in front of a cluster of real Patroni, three nodes, native: it follows the leader by Patroni's REST API or by
Patroni's own keys in etcd. There is no term and no choreography in such a cluster: the pooler holds at the first sign, and
goes on with whoever leads next. What Patroni itself breaks off, clients are told honestly; nothing acknowledged is lost."""
import dataclasses
import json
import os
import re
import shutil
import signal
import time

import psycopg
import pytest
from psycopg.rows import dict_row

from harness import ports, tree
from harness.client import Session
from harness.cluster import fresh_folder
from harness.journal import same_everywhere
from harness.patroni import PatroniCluster
from harness.pooler import Pooler
from harness.servers import http
from harness.traffic import traffic
from harness.waiting import wait_until

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]

POOL = 20  # default_pool_size: so many transactions can be in flight
TTL = 20
# How the errors of transactions in flight may read; docs/pooler.md says what an application does about each.
HONEST = re.compile("terminating connection due to (administrator command|unexpected postmaster exit)|read-only transaction"
                    "|server closed the connection|the server (closed|is gone)|connection to the server was lost|server connection")


class Fronted:
    """Patroni's cluster and the pooler before it, with the words that harness.traffic needs."""

    def __init__(self, patroni, folder, how):
        self.patroni = patroni
        self.endpoints = patroni.endpoints
        urls = {"cluster_api": ",".join(f"http://127.0.0.1:{port}" for port in patroni.rest_ports),
                "cluster_dcs": "etcd://" + ",".join(patroni.etcd.endpoints)}
        self.pooler = Pooler(folder, {"postgres": "role=primary", "reads": "dbname=postgres role=replica max_lag=16MB"},
                             users=f'"postgres" "{patroni.password}"\n', cluster_scope=patroni.scope, pool_mode="transaction",
                             max_client_conn=200, admin_users="postgres", **{how: urls[how]})

    def pooled(self, database="postgres"):
        return dataclasses.replace(self.endpoints, ports=(self.pooler.port,), database=database)

    def wait_healthy(self, seconds=120):
        self.patroni.wait_ready(seconds)

    def wait_same_everywhere(self):
        wait_until("all nodes have the same rows", 30, lambda: same_everywhere(self.endpoints))

    def describe(self):
        logs = [f"--- {name}\n{agent.tail(40)}" for name, agent in self.patroni.agents.items()]
        # Without what comes and goes with each client, and each attempt to reach etcd.
        passing = re.compile("LOG C-|LOG (etcd|dcs)|WARNING etcd")
        lines = [line for line in self.pooler.tail(5000).splitlines() if not passing.search(line)]
        return "\n".join([*logs, "--- pooler", *lines[-200:]])


@pytest.fixture(scope="module", params=["13", "testing"])
def patroni(request):
    if not tree.have(request.param):
        pytest.skip(f"no Debian {request.param} tree here: tools/debian-tree {request.param} (root)")
    folder = fresh_folder()
    with ports.offset() as offset:
        with PatroniCluster(folder, release=request.param, offset=offset, timings=(TTL, 2, 5), scope="followed") as cluster:
            yield cluster
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", params=["cluster_api", "cluster_dcs"])
def fronted(program, patroni, request):
    folder = fresh_folder()
    os.chmod(folder, 0o755)
    patroni.wait_ready()
    made = Fronted(patroni, folder, request.param)
    made.pooler.start()
    yield made
    made.pooler.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def ready(patroni):
    """Each test finds all three nodes streaming, whatever the one before it did."""
    for agent in patroni.agents.values():
        if not agent.running():
            agent.start()
    patroni.wait_ready(180)


def check_errors(journal):
    """At most one per server of the pool, of transactions in flight, and each of them a sentence that the manual knows."""
    errors = journal.errors()
    assert len(errors) <= POOL and journal.refusals == 0, errors
    assert all(HONEST.search(error.text) for error in errors), sorted({error.text for error in errors})


def test_planned_switchover(fronted, patroni):
    leader = patroni.leader()
    candidate = next(name for name in patroni.names if name != leader)
    with traffic(fronted, "patronictl switchover", probe=False) as journal:
        patroni.patronictl("switchover", "--leader", leader, "--candidate", candidate, "--force")
        assert patroni.leader() == candidate
        journal.settle()
        check_errors(journal)


def test_postmaster_killed(fronted, patroni):
    with traffic(fronted, "postmaster killed", probe=False) as journal:
        patroni.postmaster(patroni.leader()).kill()
        journal.settle()
        check_errors(journal)


def test_node_lost(fronted, patroni):
    with traffic(fronted, "node lost", probe=False) as journal:
        old = patroni.leader()
        patroni.kill_node(old)
        journal.settle(90)
        assert patroni.leader() != old
        patroni.agents[old].start()
        check_errors(journal)


def test_etcd_away_and_back(fronted, patroni):
    with traffic(fronted, "etcd away", probe=False) as journal:
        frozen = patroni.etcd.members[:2]
        for member in frozen:
            member.child.send_signal(signal.SIGSTOP)
        try:
            time.sleep(TTL * 1.5)
        finally:
            for member in frozen:
                member.child.send_signal(signal.SIGCONT)
        journal.settle()
        check_errors(journal)


def test_etcd_away_in_failsafe_mode_stops_nobody(fronted, patroni):
    """Patroni's leader goes on as long as all members answer it, and says so by its REST API; so does the pooler."""
    patroni.configure({"failsafe_mode": True})
    try:
        with traffic(fronted, "etcd away, failsafe mode", probe=False) as journal:
            for member in patroni.etcd.members:  # all of them, so that not even what Patroni remembers of the cluster can be asked for
                member.kill()
            try:
                began = time.monotonic()
                wait_until("Patroni's failsafe mode", TTL * 2, lambda: failsafe_is_active(patroni))
                time.sleep(max(0.0, began + TTL * 1.5 - time.monotonic()))
                journal.settle(5)
            finally:
                patroni.etcd.start()
            journal.settle()
            wait_until("the end of failsafe mode", TTL * 2, lambda: not failsafe_is_active(patroni))
            journal.settle()
            assert journal.errors() == [] and journal.refusals == 0, journal.errors()
    finally:
        patroni.configure({"failsafe_mode": False})


def failsafe_is_active(patroni):
    return any(json.loads(http(f"http://127.0.0.1:{port}/patroni")[1]).get("failsafe_mode_is_active") for port in patroni.rest_ports)


def test_reads_go_to_replicas(fronted, patroni):
    reads = fronted.pooled("reads")
    sessions = [Session(reads.conninfo(name="reader"), 20) for _ in range(6)]
    try:
        def all_on_replicas():
            answers = [session.query("select pg_is_in_recovery(), inet_server_port()", 20) for session in sessions]
            assert all(answer.outcome == "ok" for answer in answers), answers
            return all(answer.row[0] == "t" for answer in answers)
        wait_until("reads on replicas", 20, all_on_replicas)
        leader = patroni.leader()
        candidate = next(name for name in patroni.names if name != leader)
        patroni.patronictl("switchover", "--leader", leader, "--candidate", candidate, "--force")
        patroni.wait_ready()
        wait_until("reads on replicas again", 20, all_on_replicas)
    finally:
        for session in sessions:
            session.close()


def test_console_tells_of_the_cluster(fronted, patroni):
    url = fronted.pooled("pgbouncer").conninfo()
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as console:
        rows = wait_until("an open route", 20, lambda: (found := console.execute("show cluster").fetchall())[0]["routing"] == "open" and found)
    assert {row["member"] for row in rows} == set(patroni.names)
    leader = patroni.leader()
    assert {row["leader"] for row in rows} == {leader} and rows[0]["trouble"] in ("", None)
    assert [row["member"] for row in rows if row["role"] in ("leader", "primary")] == [leader], rows
    assert all(row["lag_bytes"] is not None and row["timeline"] for row in rows), rows
