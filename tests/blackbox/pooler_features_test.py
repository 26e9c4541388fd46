"""The pooler's protocol features against a PostgreSQL of this file: session and statement mode, replication, cancel and
peers, limits and their texts, passwords, reserve and minimum of a pool."""
import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import psycopg
import pytest

from harness import wire
from harness.pooler import BIN, USER, Pooler, give, open_folder, running_postgres
from harness.servers import as_user
from harness.waiting import wait_until
from harness.wire import Failed, Wire

HOSTS = "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"


@pytest.fixture(scope="module")
def postgres():
    with running_postgres("wal_level=logical", "autovacuum=off") as server:
        server.sql("create database test")
        server.sql("create role joe login")
        server.sql("create table t (a int); grant all on t to joe", "test")
        yield server


@pytest.fixture
def pooler(postgres):
    """pooler(databases={…}, …) → a running Pooler; settings by keyword. `test` is there, and where it leads is added to each database."""
    with open_folder() as folder:
        made = []

        def make(databases=(), users='"joe" ""\n"postgres" ""\n', start=True, **settings):
            all_databases = {name: f"host=127.0.0.1 port={postgres.port} {text}" for name, text in {"test": "", **dict(databases)}.items()}
            made.append(Pooler(folder, all_databases, users, f"pooler-{len(made)}", login={"user": "joe", "dbname": "test"},
                               **{"pool_mode": "transaction", "server_tls_sslmode": "disable", **settings}))
            return made[-1].start() if start else made[-1]

        yield make
        for each in made:
            if each.running():
                each.send(signal.SIGQUIT)
                assert each.ended(10) == 0, each.logged()


def backends(postgres):
    return postgres.sql("select count(*) from pg_stat_activity where datname = 'test' and pid <> pg_backend_pid()")[0][0]


def sleeper(connection, seconds, outcome=None):
    def run():
        try:
            connection.execute(f"select pg_sleep({seconds})")
            result = None
        except psycopg.Error as error:
            result = error
        if outcome is not None:
            outcome.append(result)
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def test_statement_mode(pooler):
    with pooler(pool_mode="statement").connect() as connection:
        assert connection.execute("select 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="transaction blocks not allowed in statement pooling mode"):
            connection.execute("begin")


def test_session_mode(pooler, postgres):
    made = pooler(pool_mode="session", default_pool_size=1)
    with made.connect() as connection:
        connection.execute("create temp table mine (a int)")
        connection.execute("set work_mem = '1234kB'")
        connection.execute("listen news")
        pid = connection.execute("select pg_backend_pid()").fetchone()[0]
        postgres.sql("notify news, 'good'", "test")
        notification = next(connection.notifies())
        assert notification.payload == "good"
        assert connection.execute("select count(*) from mine").fetchone() == (0,)
    with made.connect() as connection:
        assert connection.execute("select pg_backend_pid()").fetchone()[0] == pid
        assert connection.execute("select to_regclass('pg_temp.mine')").fetchone() == (None,)
        assert connection.execute("show work_mem").fetchone() != ("1234kB",)
        assert connection.execute("select count(*) from pg_listening_channels()").fetchone() == (0,)


def test_base_backup(pooler, postgres):
    made = pooler(databases={"replication": "", "*": ""}, users='"postgres" ""\n')
    folder = f"{made.folder}/backup"
    os.mkdir(folder)
    give(folder)
    subprocess.run([f"{BIN}/pg_basebackup", "-d", made.conninfo("", user="postgres"), "-D", folder, "-X", "stream", "-c", "fast"], check=True,
                   timeout=120, capture_output=True, **as_user(USER))
    assert os.path.exists(f"{folder}/PG_VERSION")
    wait_until("no sender is left", 10, lambda: postgres.sql("select count(*) from pg_stat_activity where backend_type = 'walsender'") == [(0,)])


def test_wal_receiver(pooler, postgres):
    made = pooler(databases={"replication": "", "*": ""}, users='"postgres" ""\n', query_timeout=0)
    folder = f"{made.folder}/wal"
    os.mkdir(folder)
    give(folder)
    # At the very beginning of a segment, which the base backup may have left, there is nothing to send: not before the background
    # writer's next record, up to 15 s later.
    postgres.sql("insert into t select generate_series(1, 1000)", "test")
    receiver = subprocess.Popen([f"{BIN}/pg_receivewal", "-d", made.conninfo("", user="postgres"), "-D", folder, "--no-loop"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **as_user(USER))
    try:
        wait_until("a segment is begun", 10, lambda: any(name.endswith(".partial") for name in os.listdir(folder)))
        postgres.sql("select pg_switch_wal()")
        wait_until("a segment is whole", 20, lambda: any(len(name) == 24 for name in os.listdir(folder)))
        assert receiver.poll() is None
    finally:
        receiver.send_signal(signal.SIGINT)
        receiver.wait(20)
    wait_until("no sender is left", 10, lambda: postgres.sql("select count(*) from pg_stat_replication") == [(0,)])


def test_logical_replication(pooler, postgres):
    made = pooler(databases={"test": ""}, users='"postgres" ""\n')
    receiver = subprocess.run([f"{BIN}/pg_recvlogical", "-d", made.conninfo(user="postgres"), "--slot", "s1", "--create-slot", "-P",
                               "test_decoding"], capture_output=True, text=True, timeout=60)
    assert receiver.returncode == 0, receiver.stderr
    try:
        postgres.sql("insert into t values (4711)", "test")
        end = postgres.sql("select pg_current_wal_lsn()")[0][0]
        receiver = subprocess.run([f"{BIN}/pg_recvlogical", "-d", made.conninfo(user="postgres"), "--slot", "s1", "--start", "-f", "-",
                                   "--endpos", end, "--no-loop"], capture_output=True, text=True, timeout=60)
        assert "a[integer]:4711" in receiver.stdout
    finally:
        wait_until("the slot is free", 10, lambda: postgres.sql("select active from pg_replication_slots") == [(False,)])
        postgres.sql("select pg_drop_replication_slot('s1')")


def test_replication_evicts(pooler, postgres):
    made = pooler(databases={"test": "max_db_connections=1"}, users='"postgres" ""\n',
                  max_user_connections=1)
    with made.connect(user="postgres") as connection:
        connection.execute("select 1")
        assert backends(postgres) == 1
        with psycopg.connect(made.conninfo(user="postgres", replication="database"), autocommit=True) as replica:
            assert replica.execute("IDENTIFY_SYSTEM").fetchone()
            assert "evicted" in made.logged()
        connection.execute("select 1")


@pytest.mark.parametrize("workers", [1, 3])
def test_cancel(pooler, workers):
    made = pooler(default_pool_size=1, workers=workers)
    with made.connect() as one, made.connect() as two:
        outcome = []
        thread = sleeper(one, 30, outcome)
        time.sleep(0.5)
        one.cancel()
        thread.join(10)
        assert isinstance(outcome[0], psycopg.errors.QueryCanceled)
        for _ in range(4):  # again and again: with several workers the request comes to any of them
            outcome.clear()
            thread = sleeper(one, 30, outcome)
            time.sleep(0.2)
            one.cancel()
            thread.join(10)
            assert isinstance(outcome[0], psycopg.errors.QueryCanceled)
        for _ in range(50):  # whatever still was on its way hits nobody else
            assert two.execute("select 1").fetchone() == (1,)
        assert one.execute("select 1").fetchone() == (1,)


def test_cancel_waiting(pooler):
    made = pooler(default_pool_size=1)
    with made.connect() as one, made.connect() as two:
        first = sleeper(one, 2)
        time.sleep(0.3)
        outcome = []
        thread = sleeper(two, 30, outcome)
        time.sleep(0.3)
        two.cancel()
        thread.join(1)
        assert isinstance(outcome[0], psycopg.errors.QueryCanceled)
        first.join(10)


def test_cancel_through_a_peer(pooler):
    one = pooler(peer_id=1, start=False)
    two = pooler(peer_id=2, start=False)
    peers = f"[peers]\n1 = host=127.0.0.1 port={one.port}\n2 = host=127.0.0.1 port={two.port}\n"
    for each in (one, two):
        each.more = peers
        each.write()
        each.start()
    with one.connect() as connection:
        outcome = []
        thread = sleeper(connection, 30, outcome)
        time.sleep(0.5)
        with Wire(one.port, "joe", "test") as raw:  # our own key is not known to psycopg in full
            raw.send(wire.query("select pg_sleep(30)"))
            time.sleep(0.5)
            assert raw.key[1:3] == b"\1\0" and raw.key[7] & 3 == 3
            begun = time.monotonic()
            raw.cancel(two.port)
            with pytest.raises(Failed, match="57014"):
                raw.finish()
            assert time.monotonic() - begun < 5
        connection.cancel()
        thread.join(10)
        assert isinstance(outcome[0], psycopg.errors.QueryCanceled)


def test_only_so_many_cancel_requests_go_to_a_peer_at_once(pooler):
    """The peer is a listener that never answers: [peers] pool_size was shown and not acted on."""
    with socket.create_server(("127.0.0.1", 0)) as peer:
        peer.settimeout(10)
        one = pooler(peer_id=1, start=False, cancel_wait_timeout=30, admin_users="joe", workers=2)
        with open(one.file, "a", encoding="utf8") as file:
            file.write(f"[peers]\n1 = host=127.0.0.1 port={one.port}\n2 = host=127.0.0.1 port={peer.getsockname()[1]} pool_size=2\n")
        one.start()
        keys = [b"\0\2\0\0\0\0" + bytes([number, 3]) for number in range(5)]
        asking = []
        for key in keys:
            asking.append(socket.create_connection(("127.0.0.1", one.port)))
            asking[-1].sendall(struct.pack("!ii", 16, 80877102) + key)

        def figures():
            with one.connect(dbname="pgbouncer") as console:
                return console.execute("show peer_pools").fetchall()[-1]
        wait_until("two under way, three waiting", 10, lambda: figures() == (2, 2, 3, 2, 0))
        heads = []

        def next_one():
            heads.append(peer.accept()[0])
            heads[-1].settimeout(10)
            key = heads[-1].recv(16)[8:]
            return next(number for number, asked in enumerate(keys) if key[:-1] == asked[:-1])
        sent = {next_one(), next_one()}
        peer.settimeout(1)
        with pytest.raises(TimeoutError):
            peer.accept()
        peer.settimeout(10)
        gives_up = max(set(range(5)) - sent)  # workers race: which two were first is open
        asking[gives_up].close()
        for _ in range(2):
            heads[len(sent) - 2].close()
            sent.add(next_one())
        assert sent == set(range(5)) - {gives_up}
        for head in heads:
            head.close()
        wait_until("none is left", 10, lambda: figures() == (2, 0, 0, 0, 0))
        for number in sent:
            asking[number].settimeout(10)
            assert asking[number].recv(1) == b""
        peer.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.accept()
        for waiter in asking:
            waiter.close()


def test_small_settings(pooler):
    made = pooler(application_name_add_host=1, login_notify_message="mind the gap")
    with made.connect(application_name="tool") as connection:
        name = connection.execute("show application_name").fetchone()[0]
        assert name.startswith("tool - 127.0.0.1:")
    with Wire(made.port, "joe", "test", login=False) as raw:
        raw.send(wire.startup("joe", "test"))
        assert [wire.fields_of(body)["M"] for kind, body in raw.finish() if kind == "N"] == ["mind the gap"]
    with pooler(disable_pqexec=1).connect() as connection:
        assert connection.execute("select %s::int", (1,)).fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="PQexec disallowed"):
            connection.execute("select 1")


@pytest.mark.parametrize("setting", ["max_client_conn", "max_db_client_connections", "max_user_client_connections"])
def test_client_limits(pooler, setting):
    made = pooler(**{setting: 1})
    with made.connect() as first:
        with pytest.raises(psycopg.OperationalError, match=setting):
            made.connect().close()
        assert first.execute("select 1").fetchone() == (1,)


def test_query_timeouts(pooler):
    made = pooler(query_timeout=1, default_pool_size=1)
    with made.connect() as one, made.connect() as two:
        one.execute("begin")  # keeps the only server
        with pytest.raises(psycopg.OperationalError, match="query_timeout"):  # while it waits
            two.execute("select 1")
        with pytest.raises(psycopg.OperationalError, match="query timeout"):
            one.execute("select pg_sleep(4)")


def test_reserve_pool(pooler, postgres):
    wait_until("no server is left", 10, lambda: backends(postgres) == 0)
    made = pooler(default_pool_size=2, reserve_pool_size=1, reserve_pool_timeout=1)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(made.connect()) for _ in range(4)]
        threads = [sleeper(client, 4) for client in clients]
        time.sleep(0.7)
        assert backends(postgres) == 2
        time.sleep(1.3)
        assert backends(postgres) == 3
        assert "taking connection from reserve_pool" in made.logged()
        for thread in threads:
            thread.join(20)


def test_min_pool_size(pooler, postgres):
    pooler(databases={"test": "user=joe min_pool_size=3"})
    wait_until("three servers", 10, lambda: backends(postgres) == 3)
    time.sleep(1)
    assert backends(postgres) == 3


def test_fail_fast(pooler):
    made = pooler(databases={"gone": "dbname=nowhere"}, server_login_retry=3)
    with pytest.raises(psycopg.OperationalError, match='database "nowhere" does not exist'):
        made.connect("gone")
    with pytest.raises(psycopg.OperationalError, match="server login has been failing, cached error: database .nowhere. does not exist"):
        made.connect("gone")


def test_plain_password_reaches_the_server(pooler, postgres):
    """The pooler knows a verifier only, the server wants the password itself."""
    postgres.sql("set password_encryption = 'scram-sha-256'; create role ann login password 'blue'")
    verifier = postgres.sql("select rolpassword from pg_authid where rolname = 'ann'")[0][0]
    postgres.rules("host all ann 127.0.0.1/32 password", "host all all 127.0.0.1/32 trust")
    try:
        made = pooler(auth_type="plain", users=f'"ann" "{verifier}"\n')
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            made.connect(user="ann", password="red")
        with made.connect(user="ann", password="blue") as connection:
            assert connection.execute("select current_user").fetchone() == ("ann",)
        assert "blue" not in made.logged()
    finally:
        postgres.rules(*HOSTS)
        postgres.sql("drop role ann")


def test_forced_user_keeps_its_keys(pooler, postgres):
    """Two SCRAM users with verifiers only; one database forces the other's identity."""
    postgres.sql("create role boss login password 'b'; create role clerk login password 'c'")
    secrets = dict(postgres.sql("select rolname, rolpassword from pg_authid where rolname in ('boss', 'clerk')"))
    postgres.rules("host all boss 127.0.0.1/32 scram-sha-256", "host all clerk 127.0.0.1/32 scram-sha-256", "host all all 127.0.0.1/32 trust")
    try:
        made = pooler(databases={"forced": "dbname=test user=boss"}, auth_type="scram-sha-256", server_idle_timeout=1,
                      users="".join(f'"{name}" "{secret}"\n' for name, secret in secrets.items()))
        with made.connect(user="boss", password="b") as connection:
            assert connection.execute("select current_user").fetchone() == ("boss",)
        for _ in range(2):
            with made.connect("forced", user="clerk", password="c") as connection:
                assert connection.execute("select current_user").fetchone() == ("boss",)
            with made.connect(user="clerk", password="c") as connection:
                assert connection.execute("select current_user").fetchone() == ("clerk",)
            time.sleep(1.6)  # servers go, and log in again
    finally:
        postgres.rules(*HOSTS)
        postgres.sql("drop role boss; drop role clerk")


def test_user_known_by_its_entry_only(pooler):
    made = pooler(users='"joe" ""\n', more="[users]\npostgres = pool_mode=session\n")
    with made.connect(user="postgres") as connection:
        assert connection.execute("select current_user").fetchone() == ("postgres",)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        made.connect(user="nobody")


def test_auth_query_without_its_server(pooler, postgres):
    """An earlier answer lets a known user in while nobody can be asked; another one is told so."""
    postgres.sql("create role eve login password 'e'")
    made = pooler(databases={"test": "", "asked": "dbname=test"}, users='"postgres" ""\n', auth_type="scram-sha-256", auth_user="postgres",
                  auth_dbname="asked", auth_query="select rolname, rolpassword from pg_authid where rolname = $1", server_idle_timeout=1,
                  default_pool_size=1)
    try:
        with made.connect(user="eve", password="e") as held:
            assert held.execute("select 1").fetchone() == (1,)
            postgres.rules("host test postgres 127.0.0.1/32 reject", "host all all 127.0.0.1/32 trust")
            postgres.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'postgres' and datname = 'test'")
            with made.connect(user="eve", password="e") as connection:
                assert connection.info.status == psycopg.pq.ConnStatus.OK
            with pytest.raises(psycopg.OperationalError, match="auth_query"):
                made.connect(user="joe", password="x")
    finally:
        postgres.rules(*HOSTS)
        made.stop()
        postgres.sql("drop role eve")


def test_new_version_is_told(pooler, postgres):
    """A parameter that is not tracked: default_transaction_read_only, which newer servers report on login."""
    if "default_transaction_read_only" not in reported(postgres.port):
        pytest.skip("this PostgreSQL does not report it")
    made = pooler(server_idle_timeout=1)
    with made.connect() as connection:
        connection.execute("select 1")
        assert connection.info.parameter_status("default_transaction_read_only") == "off"
        postgres.sql("alter role joe set default_transaction_read_only = on")
        try:
            wait_until("no server is left", 10, lambda: backends(postgres) == 0)
            connection.execute("select 1")
            assert connection.info.parameter_status("default_transaction_read_only") == "on"
        finally:
            postgres.sql("alter role joe reset default_transaction_read_only")


def reported(port):
    with psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres") as connection:
        names = ["default_transaction_read_only", "in_hot_standby"]
        return [name for name in names if connection.info.parameter_status(name) is not None]


@pytest.mark.parametrize("workers", [1, 2])
def test_pgbench(pooler, postgres, workers):
    made = pooler(default_pool_size=4, users='"postgres" ""\n', workers=workers)
    subprocess.run([f"{BIN}/pgbench", "-i", "-q", "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "postgres", "test"], check=True,
                   capture_output=True)
    # pgbench waits for each PREPARE before it serves its other clients: in transactions they would hold all servers meanwhile.
    for mode, script in (("simple", "tpcb-like"), ("extended", "tpcb-like"), ("prepared", "select-only")):
        done = subprocess.run([f"{BIN}/pgbench", "-n", "-b", script, "-M", mode, "-c", "10", "-j", "1", "-t", "30", "-h", "127.0.0.1", "-p", str(made.port),
                               "-U", "postgres", "test"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "300/300" in done.stdout, done.stdout + done.stderr


def test_names_of_hosts_are_shown_with_what_is_remembered_of_them(pooler):
    one = pooler({"named": "host=localhost"}, admin_users="joe", dns_max_ttl=60)
    with one.connect(dbname="pgbouncer") as console:
        assert console.execute("show dns_hosts").fetchall() == []
        for _ in range(3):  # PostgreSQL listens on one of its addresses only
            with contextlib.suppress(psycopg.OperationalError), one.connect("named") as connection:
                connection.execute("select 1")
        (name, ttl, addresses), = console.execute("show dns_hosts").fetchall()
        assert name == "localhost" and 0 < ttl <= 60 and "127.0.0.1" in addresses.split(","), (name, ttl, addresses)
        assert dict(console.execute("show lists").fetchall())["dns_names"] == 1
