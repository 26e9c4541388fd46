"""`pgdba cluster …` on a cluster of real Patroni 4.0.7, three nodes, native: what people have is adopted as it is."""
import os

import pytest

from harness import ports
from harness.cluster import Cluster, fresh_folder
from harness.journal import Journal
from harness.patroni import PatroniCluster
from harness.waiting import wait_until

pytestmark = [pytest.mark.peer, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def patroni(tree13):
    import shutil
    folder = fresh_folder()
    with ports.offset() as offset:
        with PatroniCluster(folder, release=tree13, offset=offset, timings=(20, 2, 5), scope="adopted") as cluster:
            yield cluster
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def pgdba(program, patroni):
    """A command line with a HOME of its own, connected to Patroni's cluster by its first member."""
    base = fresh_folder()
    command = Cluster(base, name="adopted")
    urls = ",".join(f"http://127.0.0.1:{port}" for port in patroni.rest_ports)  # a test before this one may have stopped one of them
    command.run("cluster", "connect", "--name", "adopted", "--patroni-url", urls)
    yield command
    import shutil
    shutil.rmtree(base, ignore_errors=True)


def test_status_shows_what_patroni_has(pgdba, patroni):
    told = pgdba.run("cluster", "status", "--name", "adopted", "-o", "json").json()
    assert {member["name"] for member in told["members"]} == set(patroni.names)
    assert told["leader"] == patroni.leader()


def test_switchover(pgdba, patroni):
    leader = patroni.leader()
    candidate = next(name for name in patroni.names if name != leader)
    with Journal(patroni.endpoints, patience=2.0) as journal:
        wait_until("writes", 30, lambda: journal.count("ok") > 50)
        pgdba.run("cluster", "switchover", "--candidate", candidate, "--name", "adopted", "--yes", seconds=120)
        assert patroni.leader() == candidate
        count = journal.count("ok")
        wait_until("writes again", 60, lambda: journal.count("ok") > count + 50)
    patroni.wait_ready()
    journal.verify().check(at_least=100)


def test_restart(pgdba, patroni):
    replica = next(name for name in patroni.names if name != patroni.leader())
    before = patroni.postmaster(replica).pid
    pgdba.run("cluster", "restart", replica, "--name", "adopted", "--yes", seconds=120)
    assert patroni.postmaster(replica).pid != before
    patroni.wait_ready()


def test_pause_and_resume(pgdba, patroni):
    pgdba.run("cluster", "pause", "--name", "adopted", "--yes")
    assert patroni.view().get("pause") is True
    pgdba.run("cluster", "resume", "--name", "adopted", "--yes")
    wait_until("no pause", 30, lambda: not patroni.view().get("pause"))


def test_goes_on_through_another_member(pgdba, patroni):
    first = patroni.names[0]
    patroni.agents[first].stop(60)
    try:
        told = pgdba.run("cluster", "status", "--name", "adopted", "-o", "json", code=None).json()
        assert told["leader"] == wait_until("a leader", 60, patroni.leader)
    finally:
        patroni.agents[first].start()
        patroni.wait_ready()


def test_down_is_refused(pgdba, patroni):
    result = pgdba.run("down", "--name", "adopted", "--yes", code=3)
    assert "adopted" in result.err
    assert patroni.ready() and os.path.isdir(patroni.folder)
