"""The harness itself, on a plain PostgreSQL: a journal that cannot report a loss would prove nothing."""
import os
import signal
import subprocess
import sys
import time

import pytest

from harness import ports, processes
from harness.client import Session, Unreachable, ask
from harness.journal import Endpoints, Journal, Write, second_primary
from harness.probe import PrimaryProbe
from harness.promises import BrokenPromise
from harness.servers import Etcd, Server, as_user, kill_everything_below
from harness.waiting import wait_until


BIN = max((path for path in [f"/usr/lib/postgresql/{major}/bin" for major in range(13, 19)] if os.path.exists(f"{path}/postgres")),
          default="")
USER = "postgres" if os.geteuid() == 0 else None


@pytest.fixture
def postgres(folder):
    """One PostgreSQL with trust authentication on a folder-local passfile-less loopback port."""
    os.chmod(folder, 0o777)
    [port] = ports.free_ports(1)
    subprocess.run([f"{BIN}/initdb", "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-N"], check=True, capture_output=True,
                   cwd="/", **as_user(USER))
    server = Server("postgres", [f"{BIN}/postgres", "-D", f"{folder}/data", "-p", port, "-c", "listen_addresses=127.0.0.1",
                                 "-c", f"unix_socket_directories={folder}", "-c", "shared_buffers=16MB"], f"{folder}/log", USER)
    server.endpoints = Endpoints((port,))
    server.start()
    wait_until("PostgreSQL answers", 20, lambda: ask(server.endpoints.conninfo(), "select 1", 1))
    yield server
    kill_everything_below(folder)


def test_journal_counts_what_was_acknowledged(postgres):
    with Journal(postgres.endpoints) as journal:
        wait_until("100 writes", 20, lambda: journal.count("ok") >= 100)
    verdict = journal.verify().check(at_least=100)
    assert verdict.failed == 0 and verdict.indeterminate == 0


def test_journal_reports_a_lost_write(postgres):
    with Journal(postgres.endpoints) as journal:
        wait_until("20 writes", 20, lambda: journal.count("ok") >= 20)
    ask(postgres.endpoints.conninfo(), "delete from journal where id in (3, 7) returning id")
    verdict = journal.verify()
    assert verdict.lost == [3, 7]
    with pytest.raises(BrokenPromise, match="acknowledged writes are gone"):
        verdict.check()


def test_journal_takes_a_killed_server_as_indeterminate_and_sees_the_gap(postgres):
    with Journal(postgres.endpoints) as journal:
        wait_until("20 writes", 20, lambda: journal.count("ok") >= 20)
        killed = time.monotonic()
        os.kill(postgres.pid, signal.SIGKILL)
        wait_until("the writers noticed", 20, lambda: journal.refusals > 5)
        wait_until("no backend is left", 20, lambda: not [one for one in processes.below(postgres.arguments[2]) if one.pid != postgres.pid])
        postgres.child.wait()
        postgres.start()
        wait_until("writes again", 20, lambda: journal.acknowledged_since(killed + 0.1))
    verdict = journal.verify().check(at_least=20)
    assert 1 <= verdict.indeterminate + verdict.failed
    assert journal.longest_gap() > 0.05


def test_journal_does_not_hang_on_a_frozen_server(postgres):
    with Journal(postgres.endpoints, patience=0.3) as journal:
        wait_until("20 writes", 20, lambda: journal.count("ok") >= 20)
        frozen = processes.descendants(postgres.pid)
        for process in frozen:
            process.send(signal.SIGSTOP)
        try:
            wait_until("the writers gave up waiting", 5, lambda: journal.count("indeterminate") >= 1 and journal.refusals >= 1)
        finally:
            for process in frozen:
                process.send(signal.SIGCONT)
        thawed = time.monotonic()
        wait_until("writes again", 20, lambda: journal.acknowledged_since(thawed))
    journal.verify().check(at_least=20)


def test_cancelled_synchronous_wait_is_not_an_acknowledgement(postgres):
    """PostgreSQL answers such a COMMIT with success and a warning; counting it as ok would report a loss that nobody promised."""
    ask(postgres.endpoints.conninfo(), "create table t(id int)")
    session = Session(postgres.endpoints.conninfo(), 5)
    session.query("alter system set synchronous_standby_names = 'nobody'", 5)
    session.query("select pg_reload_conf()", 5)
    wait_until("the setting holds", 10, lambda: session.query("show synchronous_standby_names", 5).value == "nobody")
    pid = session.query("select pg_backend_pid()", 5).value
    other = Session(postgres.endpoints.conninfo(), 5)

    def cancel():
        return other.query(f"select pg_cancel_backend(pid) from pg_stat_activity where pid = {pid} and wait_event = 'SyncRep'", 5).row

    import threading
    thread = threading.Thread(target=lambda: wait_until("a waiting commit to cancel", 20, cancel))
    thread.start()
    answer = session.query("insert into t values (1) returning 1", 20)
    thread.join()
    assert answer.outcome == "indeterminate", answer
    assert "synchronous replication" in answer.text


def test_error_is_failed_and_leaves_the_session_usable(postgres):
    session = Session(postgres.endpoints.conninfo(), 5)
    answer = session.query("insert into nowhere values (1)", 5)
    assert (answer.outcome, answer.sqlstate) == ("failed", "42P01")
    assert session.query("select 7", 5).value == "7"


def test_refused_port_is_unreachable():
    [port] = ports.free_ports(1)
    with pytest.raises(Unreachable):
        Session(Endpoints((port,)).conninfo(), 1)


def test_what_may_run_a_second_time(folder):
    """A test in a class is found again by its name, and after a broken promise nothing runs again."""
    def again(failure):
        report = os.path.join(folder, "report.xml")
        with open(report, "w") as file:
            file.write(f'''<testsuites><testsuite name="pytest" errors="0" failures="2" skipped="0" tests="3">
<testcase classname="blackbox.compat_test.TestPatronictl4" name="test_list" file="blackbox/compat_test.py"><failure message="{failure}">x</failure></testcase>
<testcase classname="readme_test" name="test_b[1/2 c]" file="readme_test.py"><failure message="late">x</failure></testcase>
<testcase classname="readme_test" name="test_c" file="readme_test.py"/></testsuite></testsuites>''')
        script = os.path.join(os.path.dirname(__file__), "..", "report.py")
        return subprocess.run([sys.executable, script, "again", report], capture_output=True, text=True, check=True).stdout.split("\n")
    assert again("late") == ["tests/blackbox/compat_test.py::TestPatronictl4::test_list", "tests/readme_test.py::test_b[1/2 c]", ""]
    assert again("harness.promises.BrokenPromise: acknowledged writes are gone") == [""]


def test_second_primary_is_seen_and_a_late_answer_is_not():
    def write(id, sent, answered, timeline):
        return Write(id, "ok", sent, answered, 0, timeline, "")

    newer = write(1, 10.0, 10.1, 2)
    assert second_primary([newer, write(2, 10.2, 10.3, 1)]) == [(newer, write(2, 10.2, 10.3, 1))]
    assert second_primary([newer, write(2, 9.9, 10.3, 1)]) == []  # sent before: a late answer
    assert second_primary([newer, write(2, 10.2, 10.3, 2)]) == []


def test_probe_sees_the_primary_and_writes(postgres):
    with PrimaryProbe(postgres.endpoints) as probe:
        wait_until("ten sights", 10, lambda: len(probe.sights) >= 10)
        assert probe.primaries() == [postgres.endpoints.ports[0]]
    probe.check()
    assert probe.changes() == [postgres.endpoints.ports[0]]
    assert any(write.outcome == "ok" for write in probe.writes)


def test_probe_that_saw_nothing_proves_nothing(postgres):
    probe = PrimaryProbe(postgres.endpoints)
    with pytest.raises(AssertionError, match="proves nothing"):
        probe.check()


def test_processes_below_a_folder_are_found_and_killed(postgres, folder):
    found = processes.below(folder)
    assert postgres.pid in {process.pid for process in found}
    assert os.getpid() not in {process.pid for process in found}
    kill_everything_below(folder)
    assert processes.below(folder) == []


def test_etcd_of_three_members_starts_and_survives_one(folder):
    os.chmod(folder, 0o777)
    etcd = Etcd(folder, user=USER)
    try:
        etcd.start()
        etcd.members[0].kill()
        environment = {**os.environ, "ETCDCTL_API": "3"}
        rest = ",".join(etcd.endpoints[1:])
        wait_until("two of three accept a write", 15, lambda: subprocess.run(
            ["etcdctl", "--endpoints", rest, "put", "a", "b"], capture_output=True, env=environment, timeout=10).returncode == 0)
    finally:
        etcd.stop()
        kill_everything_below(folder)


def test_port_offsets_are_not_given_twice():
    with ports.offset() as first, ports.offset() as second:
        assert first != second
