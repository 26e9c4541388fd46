"""Failover as an application sees it that connects to the pooler of `pgdba up`: whatever happens to the primary, its connections
stay, what waits goes on with the next primary, and nothing acknowledged is lost. Each test prints what it measured."""
import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import threading
import time

import psycopg
import pytest

from harness import ports, processes
from harness.pooler import OWNER
from harness.client import Session, Unreachable, ask
from harness.traffic import Traffic, traffic
from harness.waiting import wait_until

POOL = 20  # default_pool_size of the file that `up` writes: so many transactions can be in flight


def switch_over(cluster):
    old = cluster.primary()
    cluster.run("cluster", "switchover", "--name", cluster.name, "--yes")
    assert cluster.primary() is not old


# Changes of primary.

def test_planned_switchover_costs_no_client_an_error(cluster):
    with traffic(cluster, "switchover") as journal:
        switch_over(cluster)
        journal.settle()
        assert journal.errors() == [] and journal.refusals == 0


def test_several_switchovers_in_a_row(cluster):
    with traffic(cluster, "three switchovers") as journal:
        for _ in range(3):
            switch_over(cluster)
            journal.settle()
            cluster.wait_healthy()
        assert journal.errors() == [] and journal.refusals == 0


@contextlib.contextmanager
def another_pooler(cluster, folder, name="second", **settings):
    """One more pooler beside that of `up`, with its file and these settings: its endpoints."""
    port = ports.free_ports(1)[0]
    with open(os.path.join(cluster.data_dir, "pooler", "pooler.ini")) as file:
        text = re.sub(r"(?m)^listen_port.*$", f"listen_port = {port}\n" + OWNER, file.read())
    for key, value in settings.items():
        text = re.sub(rf"(?m)^{key} = .*$", "", text).replace("[pgbouncer]\n", f"[pgbouncer]\n{key} = {value}\n")
    ini = os.path.join(folder, f"{name}.ini")
    with open(ini, "w") as file:
        file.write(text)
    with open(os.path.join(folder, f"{name}.log"), "w") as log:
        process = subprocess.Popen([cluster.program, "pooler", ini], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    with open(cluster.endpoints.passfile) as file:
        lines = file.read()
    with open(cluster.endpoints.passfile, "a") as file:
        file.write(lines.replace(f":{cluster.pooler_port}:", f":{port}:"))
    try:
        endpoints = cluster.pooled(port=port)
        wait_until("another pooler", 20, lambda: ask(endpoints.conninfo(), "select 1", 20))
        yield endpoints
    finally:
        process.send_signal(signal.SIGQUIT)  # also while clients are there
        process.wait(20)


def test_two_poolers_take_part_in_a_switchover(cluster, folder):
    with another_pooler(cluster, folder) as endpoints, traffic(cluster, "switchover, first of two poolers", writers=16) as first:
        other = Traffic(endpoints, writers=16)
        other.prepare = lambda: None  # the first one's table
        other._ids = first._ids
        with other:
            wait_until("writes through the second one", 30, lambda: other.count("ok") > 64)
            switch_over(cluster)
            other.settle()
            first.settle()
        other.report("switchover, second of two poolers")
        assert other.errors() == [] and first.errors() == []


class SessionWriter(threading.Thread):
    """A client in session mode that is never without a statement; it connects again when its session ends."""

    def __init__(self, endpoints, number):
        super().__init__(daemon=True)
        self.conninfo, self.number = endpoints.conninfo(name="session"), number
        self.written, self.errors, self.stop = [], [], threading.Event()

    def run(self):
        connection = None
        for attempt in range(self.number * 1_000_000, (self.number + 1) * 1_000_000):
            if self.stop.is_set():
                break
            try:
                connection = connection or psycopg.connect(self.conninfo, autocommit=True)
                connection.execute("insert into sessions select %s from pg_sleep(0.03)", (attempt,))
                self.written.append(attempt)
            except psycopg.Error as error:
                self.errors.append((attempt, str(error).strip()))
                connection = None


# Both are 57P01, which psycopg does not keep when the connection ends with it: the server's own word, or the pooler's.
ENDED = "terminating connection due to administrator command|the primary has moved, which a session cannot"


def test_a_switchover_does_not_wait_for_busy_sessions(cluster, folder):
    """Sessions that hold a server went on with new statements while the switchover drained, so that it gave up after its grace."""
    with another_pooler(cluster, folder, pool_mode="session") as endpoints:
        cluster.primary().sql("create table sessions(attempt bigint primary key)")
        writers = [SessionWriter(endpoints, number) for number in range(12)]
        with psycopg.connect(endpoints.conninfo(name="idle"), autocommit=True) as idle, psycopg.connect(endpoints.conninfo(name="fresh")) as fresh:
            idle.execute("select 1")
            for writer in writers:
                writer.start()
            try:
                wait_until("all have written", 30, lambda: all(len(writer.written) > 5 for writer in writers))
                for _ in range(2):
                    switch_over(cluster)
                    counts = [len(writer.written) for writer in writers]
                    wait_until("all write again", 30, lambda: all(len(writer.written) > count + 5 for writer, count in zip(writers, counts)))
                    cluster.wait_healthy()
            finally:
                for writer in writers:
                    writer.stop.set()
                for writer in writers:
                    writer.join()
            assert fresh.execute("select 1").fetchone() == (1,), "a session that has had no server moves"
            with pytest.raises(psycopg.OperationalError) as told:
                idle.execute("select 1")
            print("\nan idle session is told:", told.value)
            assert re.search(ENDED, str(told.value))
        errors = [error for writer in writers for error in writer.errors]
        print(f"\n{len(errors)} sessions ended: {sorted({text for _, text in errors})}")
        assert all(len(writer.errors) <= 2 for writer in writers), "once in each switchover"
        # They were between two statements: nothing of the next one has begun.
        assert all(re.search(ENDED, text) for _, text in errors), errors
        kept = {int(row) for row in cluster.primary().sql("select coalesce(string_agg(attempt::text, ','), '') from sessions")[0].split(",")}
        assert kept == {attempt for writer in writers for attempt in writer.written}


@pytest.mark.parametrize("hold, wait, text", [(4, 30, r"no primary is available: .* \(failover_hold_timeout\)"), (30, 4, "query_wait_timeout")])
def test_the_shorter_limit_ends_the_wait_for_a_leader(cluster, folder, hold, wait, text):
    settings = dict(failover_hold_timeout=hold, query_wait_timeout=wait, query_wait_notify=1)
    with another_pooler(cluster, folder, **settings) as endpoints, contextlib.ExitStack() as clients:
        known = clients.enter_context(psycopg.connect(endpoints.conninfo(), autocommit=True))
        known.execute("select 1")
        notices = []
        known.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        frozen = [cluster.etcd("etcd1"), cluster.etcd("etcd2")]
        for process in frozen:
            process.send(signal.SIGSTOP)
        try:
            wait_until("nobody leads", 30, lambda: not cluster.primaries())
            began = time.monotonic()
            with pytest.raises(psycopg.OperationalError) as told:
                known.execute("select 1")
            waited = time.monotonic() - began
            # A login needs no leader; its first statement does.
            early = psycopg.connect(endpoints.conninfo(), autocommit=True)
        finally:
            for process in frozen:
                process.send(signal.SIGCONT)
        assert re.search(text, str(told.value)) and known.broken, told.value  # the SQLSTATE, which psycopg loses: unit_pool
        assert waited >= 4, waited
        assert len(notices) == 1 and "the primary is being moved (" in notices[0] and "waits for it, at most 4 s" in notices[0], notices
        early.close()
    cluster.wait_healthy()


def test_postmaster_killed_costs_only_what_was_in_flight(cluster):
    with traffic(cluster, "postmaster killed") as journal:
        cluster.primary().postmaster().kill()
        journal.settle()
        assert len(journal.errors()) <= POOL and journal.refusals == 0


def test_node_lost_costs_only_what_was_in_flight(cluster):
    with traffic(cluster, "node lost") as journal:
        old = cluster.primary()
        cluster.act("kill", "primary")
        journal.settle()
        assert len(journal.errors()) <= POOL and journal.refusals == 0
        cluster.act("start", old.name)


@pytest.mark.parametrize("which", ["postgres", "agent", "node"])
def test_primary_frozen_beyond_its_lease(cluster, which):
    with traffic(cluster, f"{which} frozen") as journal:
        old = cluster.primary()
        frozen = {"postgres": lambda: processes.descendants(old.postmaster().pid), "agent": lambda: [old.agent()],
                  "node": old.processes}[which]()
        for process in sorted(frozen, key=lambda process: process.started):
            process.send(signal.SIGSTOP)
        try:
            time.sleep(cluster.ttl + 1.5)
            if which != "postgres":  # a frozen postgres alone is noticed by its agent, in its own time
                journal.settle()
        finally:
            for process in frozen:
                process.send(signal.SIGCONT)
        journal.settle()
        assert len(journal.errors()) <= POOL


def test_etcd_without_quorum_and_back(cluster):
    with traffic(cluster, "etcd away") as journal:
        for name in ("etcd1", "etcd2"):
            cluster.act("stop", name)
        time.sleep(cluster.ttl * 2)
        for name in ("etcd1", "etcd2"):
            cluster.act("start", name)
        journal.settle()
        assert len(journal.errors()) <= POOL


# What clients keep.

def test_idle_clients_notice_nothing(cluster):
    sessions = [Session(cluster.pooled().conninfo(name="idle"), 20) for _ in range(20)]
    try:
        for session in sessions[:10]:  # half of them have used a server before
            assert session.query("select 1", 20).outcome == "ok"
        switch_over(cluster)
        answers = [session.query("select pg_is_in_recovery()", 20) for session in sessions]
        assert [answer.value for answer in answers] == ["f"] * len(sessions), answers
        cluster.wait_healthy()
        old = cluster.primary()
        old.postmaster().kill()
        wait_until("another primary", 30, lambda: [node for node in cluster.primaries() if node is not old])
        answers = [session.query("select pg_is_in_recovery()", 30) for session in sessions]
        assert [answer.value for answer in answers] == ["f"] * len(sessions), answers
    finally:
        for session in sessions:
            session.close()


def test_prepared_statements_survive_a_switchover(cluster):
    url = cluster.pooled().conninfo(name="prepared")
    with psycopg.connect(url, autocommit=True, prepare_threshold=0) as client:
        client.execute("drop table if exists prepared")
        client.execute("create table prepared(id int, word text)")
        for number in range(5):
            client.execute("insert into prepared values (%s, %s)", (number, "before"))
        switch_over(cluster)
        for number in range(5):
            client.execute("insert into prepared values (%s, %s)", (number, "after"))
        assert client.execute("select count(*) from prepared where word = %s", ("after",)).fetchone() == (5,)


def test_reads_go_to_replicas_and_survive_the_loss_of_one(cluster):
    reads = cluster.pooled("postgres_ro")
    wait_until("reads on a replica", 20, lambda: ask(reads.conninfo(), "select pg_is_in_recovery()", 10) == ("t",))
    seen, errors = set(), []
    stop = threading.Event()

    def read():
        session = None
        while not stop.is_set():
            try:
                session = session or Session(reads.conninfo(name="reader"), 20)
            except Unreachable as error:
                errors.append(str(error))
                continue
            answer = session.query("select inet_server_port(), pg_is_in_recovery()", 20)
            if answer.outcome == "ok":
                seen.add(answer.row)
            else:
                errors.append(answer.text)
                session.close()
                session = None
            time.sleep(0.01)

    threads = [threading.Thread(target=read, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        wait_until("both replicas are read", 20, lambda: len(seen) >= 2)
        assert {row[1] for row in seen} == {"t"}, seen
        lost = cluster.replicas()[0]
        cluster.act("kill", lost.name)
        time.sleep(2)
        before = len(errors)
        seen.clear()
        time.sleep(2)
        assert seen and len(errors) == before, errors
        cluster.act("start", lost.name)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    print(f"\nreplica lost: {len(errors)} errors of 8 readers: {set(errors)}")
    assert len(errors) <= 8
    cluster.wait_healthy()


def test_reads_leave_a_replica_that_becomes_primary(cluster):
    reads = cluster.pooled("postgres_ro")
    sessions = [Session(reads.conninfo(name="reader"), 20) for _ in range(4)]
    try:
        def all_on_replicas():
            rows = [session.query("select pg_is_in_recovery(), inet_server_port()", 20) for session in sessions]
            assert all(row.outcome == "ok" for row in rows), rows
            return all(row.row[0] == "t" for row in rows)
        wait_until("reads on a replica", 20, all_on_replicas)
        for _ in range(2):  # at least one of them had the connections
            switch_over(cluster)
            cluster.wait_healthy()
            wait_until("reads on a replica again", 20, all_on_replicas)
    finally:
        for session in sessions:
            session.close()


# Roles.

def fresh_role(cluster, name, password):
    leader = cluster.primary()
    leader.sql(f"drop role if exists {name}")
    leader.sql(f"create role {name} login password '{password}'")
    passfile = os.path.join(cluster.base, f"{name}.pass")
    with open(os.open(passfile, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(f"127.0.0.1:{cluster.pooler_port}:*:{name}:{password}\n")
    return dataclasses.replace(cluster.pooled(), user=name, passfile=passfile)


def test_any_role_logs_in_with_its_own_password(cluster):
    role = fresh_role(cluster, "app", "s3cret pass")
    assert ask(role.conninfo(), "select current_user", 10) == ("app",)
    wrong = dataclasses.replace(role, passfile=cluster.endpoints.passfile)
    with pytest.raises(Unreachable):
        ask(wrong.conninfo() + " password=wrong", "select 1", 10)
    with pytest.raises(Unreachable):
        ask(dataclasses.replace(role, user="nobody_here").conninfo() + " password=x", "select 1", 10)
    # A new password counts at the next login.
    cluster.primary().sql("alter role app password 'another'")
    with open(role.passfile, "w") as file:
        file.write(f"127.0.0.1:{cluster.pooler_port}:*:app:another\n")
    assert ask(role.conninfo(), "select current_user", 10) == ("app",)


OLDER_LOOKUP = """create or replace function pgdba.user_lookup(in i_username text, out uname text, out phash text) returns setof record
 language sql stable security definer set search_path = pg_catalog, pg_temp as $$
 select rolname::text, rolpassword from pg_catalog.pg_authid where rolname = i_username and rolcanlogin and not rolsuper and not rolreplication $$"""


def test_superusers_log_in_too_and_the_leader_mends_the_lookup_of_an_older_build(cluster):
    role = fresh_role(cluster, "chief", "of all")
    leader = cluster.primary()
    leader.sql("alter role chief superuser replication")
    assert ask(role.conninfo(), "select current_setting('is_superuser')", 10) == ("on",)
    with pytest.raises(Unreachable):
        ask(role.conninfo() + " password=wrong", "select 1", 10)
    leader.sql(OLDER_LOOKUP)
    wait_until("the leader has mended the function", 30,
               lambda: leader.sql("select prosrc not like '%rolsuper%' from pg_proc where proname = 'user_lookup'") == ("t",))
    assert ask(role.conninfo(), "select current_user", 10) == ("chief",)


def test_known_role_logs_in_while_there_is_no_leader(cluster):
    role = fresh_role(cluster, "early", "bird")
    assert ask(role.conninfo(), "select current_user", 10) == ("early",)
    frozen = [cluster.etcd("etcd1"), cluster.etcd("etcd2")]
    for process in frozen:
        process.send(signal.SIGSTOP)
    try:
        wait_until("nobody leads", 20, lambda: not cluster.primaries())
        began = time.monotonic()
        session = Session(role.conninfo(), 10)
        print(f"\nlogin without a leader: {time.monotonic() - began:.3f} s")
    finally:
        for process in frozen:
            process.send(signal.SIGCONT)
    assert session.query("select current_user", 60).value == "early"
    session.close()
    cluster.wait_healthy()


# The process itself.

def test_pooler_killed_is_restarted(cluster):
    with traffic(cluster, "pooler killed") as journal:
        old = cluster.pooler()
        old.kill()
        wait_until("another pooler", 20, lambda: (new := cluster.pooler()) and new.pid != old.pid)
        journal.settle()
        assert len(journal.errors()) <= journal.writers
    assert cluster.status()["pooler"]["restarts"] >= 1


def test_a_switchover_does_not_wait_for_a_pooler_that_was_killed(cluster):
    old = cluster.pooler()
    old.kill()
    wait_until("another pooler", 20, lambda: (new := cluster.pooler()) and new.pid != old.pid)
    wait_until("it leads to the primary", 20, lambda: ask(cluster.pooled().conninfo(), "select 1", 20))
    switch_over(cluster)
    cluster.wait_healthy()
    # One that stays away has its key until its lease ends; it says nothing, and is not waited for beyond the grace.
    cluster.act("kill", "pooler")
    try:
        switch_over(cluster)
    finally:
        cluster.act("start", "pooler")
    cluster.wait_healthy()


def test_pooler_by_the_verbs(cluster):
    before = cluster.status()["pooler"]
    assert before["state"] == "running" and before["pid"] == cluster.pooler().pid and before["port"] == cluster.pooler_port
    for verb, state in (("stop", "stopped"), ("kill", "killed")):
        result = cluster.act(verb, "pooler")
        assert "pooler" in result.err + result.out
        assert cluster.pooler() is None and ports.is_free(cluster.pooler_port)
        told = cluster.status(code=None)
        assert told["pooler"]["state"] == state and not told["healthy"] and any("pooler" in problem for problem in told["problems"])
        cluster.act("start", "pooler")
        wait_until("it listens", 20, lambda: ask(cluster.pooled().conninfo(), "select 1", 10))
    assert cluster.run("logs", "pooler", "--name", cluster.name).out.count("listening on") >= 2
    cluster.wait_healthy()


def test_files_of_the_pooler(cluster):
    folder = os.path.join(cluster.data_dir, "pooler")
    names = {"pooler.ini", "userlist.txt", "salt.seed"}
    assert set(os.listdir(folder)) == names
    assert all(os.stat(os.path.join(folder, name)).st_mode & 0o777 == 0o600 for name in names)
    users = re.findall(r'^"([^"]+)"', open(os.path.join(folder, "userlist.txt")).read(), re.M)
    assert sorted(users) == ["pgdba_pooler", "postgres"]


def test_up_gives_an_older_cluster_its_pooler(make_cluster):
    cluster = make_cluster(nodes=1)
    cluster.up()
    cluster.down()
    for path in ("supervised/pooler.spec", "supervised/pooler.run", "supervised/pooler.exits", "pooler/pooler.ini", "pooler/userlist.txt",
                 "pooler/salt.seed", "secrets/pooler"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(cluster.data_dir, path))
    os.rmdir(os.path.join(cluster.data_dir, "pooler"))
    cluster.up()
    role = fresh_role(cluster, "app", "word")
    assert ask(role.conninfo(), "select current_user", 10) == ("app",)
    cluster.run("up", "--name", cluster.name)  # adopts
    cluster.purge()
