"""The pooler's protocol features against a PostgreSQL of this file: session and statement mode, replication, cancel and
peers, limits and their texts, passwords, reserve and minimum of a pool."""
import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import psycopg
import pytest

from harness.pooler import OWNER
from harness import ports
from harness.cluster import PROGRAM, fresh_folder

BIN = max((path for path in [f"/usr/lib/postgresql/{major}/bin" for major in range(13, 19)] if os.path.exists(f"{path}/postgres")),
          key=lambda path: int(path.split("/")[4]))


def unprivileged(folder):
    """How a server program is started: PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Postgres:
    def __init__(self, folder):
        self.folder = folder
        os.chmod(folder, 0o755)
        self.options = unprivileged(folder)
        (self.port,) = ports.free_ports(1)
        self.data = f"{folder}/data"
        self.process = None
        subprocess.run([f"{BIN}/initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-N", "--no-locale", "-E", "UTF8"], check=True,
                       capture_output=True, cwd=folder, **self.options)
        with open(f"{self.data}/postgresql.conf", "a", encoding="utf8") as conf:
            conf.write(f"port = {self.port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\n"
                       "wal_level = logical\nmax_connections = 60\nsuperuser_reserved_connections = 3\nautovacuum = off\n")
        self.rules("host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust")

    def rules(self, *lines):
        pathlib.Path(f"{self.data}/pg_hba.conf").write_text("\n".join(lines) + "\n", encoding="utf8")
        if self.process:
            self.process.send_signal(signal.SIGHUP)
            time.sleep(0.3)

    def start(self):
        self.process = subprocess.Popen([f"{BIN}/postgres", "-D", self.data], cwd=self.folder, stdout=subprocess.DEVNULL,
                                        stderr=open(f"{self.folder}/postgres.log", "a", encoding="utf8"), **self.options)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.sql("select 1")
                return
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, pathlib.Path(f"{self.folder}/postgres.log").read_text(encoding="utf8")
                time.sleep(0.1)

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(20)
            self.process = None

    def sql(self, text, database="postgres"):
        with psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", dbname=database, autocommit=True) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else None

    def count(self, database="test"):
        return self.sql(f"select count(*) from pg_stat_activity where datname = '{database}' and pid <> pg_backend_pid()")[0][0]


@pytest.fixture(scope="module")
def postgres():
    folder = fresh_folder()
    server = Postgres(folder)
    try:
        server.start()
        server.sql("create database test")
        server.sql("create role joe login")
        server.sql("create table t (a int)", "test")
        server.sql("grant all on t to joe", "test")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class Pooler:
    def __init__(self, folder, postgres, databases, settings, users, more):
        (self.port,) = ports.free_ports(1)
        self.log = f"{folder}/pooler-{self.port}.log"
        userlist = f"{folder}/users-{self.port}.txt"
        pathlib.Path(userlist).write_text(users, encoding="utf8")
        values = {"listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": "", "auth_type": "trust", "auth_file": userlist,
                  "pool_mode": "transaction", "server_tls_sslmode": "disable"} | settings
        databases = {"test": ""} | databases
        lines = ["[databases]"]
        for name, text in databases.items():
            lines.append(f"{name} = host=127.0.0.1 port={postgres.port} {text}")
        lines += ["[pgbouncer]", OWNER] + [f"{key} = {value}" for key, value in values.items()] + [more]
        self.file = f"{folder}/pooler-{self.port}.ini"
        pathlib.Path(self.file).write_text("\n".join(lines) + "\n", encoding="utf8")
        self.process = None

    def start(self):
        with open(self.log, "a", encoding="utf8") as log:
            self.process = subprocess.Popen([PROGRAM, "pooler", self.file], stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return self
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline, self.text()
                time.sleep(0.05)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)

    def text(self):
        return pathlib.Path(self.log).read_text(encoding="utf8")

    def url(self, database="test", user="joe", **more):
        return " ".join(f"{key}={value}" for key, value in
                        ({"host": "127.0.0.1", "port": self.port, "user": user, "dbname": database, "sslmode": "disable"} | more).items())

    def connect(self, database="test", user="joe", **more):
        return psycopg.connect(self.url(database, user, **more), autocommit=True, prepare_threshold=None)


@pytest.fixture
def pooler(postgres):
    """pooler(database="…", …) → a running Pooler; settings by keyword."""
    folder = fresh_folder()
    os.chmod(folder, 0o755)
    made = []

    def make(databases=None, users='"joe" ""\n"postgres" ""\n', more="", start=True, **settings):
        made.append(Pooler(folder, postgres, databases or {}, settings, users, more))
        return made[-1].start() if start else made[-1]

    yield make
    for each in made:
        each.stop()
        assert each.process is None or each.process.returncode in (0, -signal.SIGQUIT), each.text()
    shutil.rmtree(folder, ignore_errors=True)


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


def wait_until(check, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.05)


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
    folder = f"{os.path.dirname(made.log)}/backup"
    os.mkdir(folder)
    options = unprivileged(folder)
    subprocess.run([f"{BIN}/pg_basebackup", "-d", made.url("", "postgres"), "-D", folder, "-X", "stream", "-c", "fast"], check=True,
                   timeout=120, capture_output=True, **options)
    assert os.path.exists(f"{folder}/PG_VERSION")
    wait_until(lambda: postgres.sql("select count(*) from pg_stat_activity where backend_type = 'walsender'") == [(0,)])


def test_wal_receiver(pooler, postgres):
    made = pooler(databases={"replication": "", "*": ""}, users='"postgres" ""\n', query_timeout=0)
    folder = f"{os.path.dirname(made.log)}/wal"
    os.mkdir(folder)
    options = unprivileged(folder)
    receiver = subprocess.Popen([f"{BIN}/pg_receivewal", "-d", made.url("", "postgres"), "-D", folder, "--no-loop"],
                                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    try:
        wait_until(lambda: any(name.endswith(".partial") for name in os.listdir(folder)))
        postgres.sql("select pg_switch_wal()")
        postgres.sql("insert into t select generate_series(1, 1000)", "test")
        wait_until(lambda: any(len(name) == 24 for name in os.listdir(folder)), 20)
        assert receiver.poll() is None
    finally:
        receiver.send_signal(signal.SIGINT)
        receiver.wait(20)
    wait_until(lambda: postgres.sql("select count(*) from pg_stat_replication") == [(0,)])


def test_logical_replication(pooler, postgres):
    made = pooler(databases={"test": ""}, users='"postgres" ""\n')
    receiver = subprocess.run([f"{BIN}/pg_recvlogical", "-d", made.url("test", "postgres"), "--slot", "s1", "--create-slot", "-P",
                               "test_decoding"], capture_output=True, text=True, timeout=60)
    assert receiver.returncode == 0, receiver.stderr
    try:
        postgres.sql("insert into t values (4711)", "test")
        end = postgres.sql("select pg_current_wal_lsn()")[0][0]
        receiver = subprocess.run([f"{BIN}/pg_recvlogical", "-d", made.url("test", "postgres"), "--slot", "s1", "--start", "-f", "-",
                                   "--endpos", end, "--no-loop"], capture_output=True, text=True, timeout=60)
        assert "a[integer]:4711" in receiver.stdout
    finally:
        wait_until(lambda: postgres.sql("select active from pg_replication_slots") == [(False,)])
        postgres.sql("select pg_drop_replication_slot('s1')")


def test_replication_evicts(pooler, postgres):
    made = pooler(databases={"test": "max_db_connections=1"}, users='"postgres" ""\n',
                  max_user_connections=1)
    with made.connect(user="postgres") as connection:
        connection.execute("select 1")
        assert postgres.count() == 1
        with psycopg.connect(made.url("test", "postgres", replication="database"), autocommit=True) as replica:
            assert replica.execute("IDENTIFY_SYSTEM").fetchone()
            assert "evicted" in made.text()
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
        with open(each.file, "a", encoding="utf8") as file:
            file.write(peers)
        each.start()
    with one.connect() as connection:
        outcome = []
        thread = sleeper(connection, 30, outcome)
        time.sleep(0.5)
        with socket.create_connection(("127.0.0.1", one.port)) as raw:  # our own key is not known to psycopg in full
            body = b"user\0joe\0database\0test\0\0"
            raw.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
            key = backend_key(raw)
            raw.sendall(query("select pg_sleep(30)"))
            time.sleep(0.5)
            assert key[1:3] == b"\1\0" and key[7] & 3 == 3
            begun = time.monotonic()
            with socket.create_connection(("127.0.0.1", two.port)) as cancel:
                cancel.sendall(struct.pack("!ii", 16, 80877102) + key)
                assert cancel.recv(1) == b"", "it stays open until all is done"
            raw.settimeout(10)
            assert b"57014" in raw.recv(1000)
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
        wait_until(lambda: figures() == (2, 2, 3, 2, 0))
        heads = []

        def next_one():
            heads.append(peer.accept()[0])
            heads[-1].settimeout(10)
            return heads[-1].recv(16)[8:-1] in [key[:-1] for key in keys]
        assert next_one() and next_one()
        peer.settimeout(1)
        with pytest.raises(TimeoutError):
            peer.accept()
        peer.settimeout(10)
        asking[4].close()  # gives up
        heads[0].close()
        assert next_one()
        heads[1].close()
        assert next_one()
        for head in heads:
            head.close()
        wait_until(lambda: figures() == (2, 0, 0, 0, 0))
        for waiter in asking[:4]:
            waiter.settimeout(10)
            assert waiter.recv(1) == b""
        peer.settimeout(0.5)
        with pytest.raises(TimeoutError):
            peer.accept()
        for waiter in asking:
            waiter.close()


def query(text):
    body = text.encode() + b"\0"
    return b"Q" + struct.pack("!i", len(body) + 4) + body


def backend_key(raw):
    """Reads a login's answers up to ReadyForQuery."""
    found = None
    while True:
        head = exactly(raw, 5)
        body = exactly(raw, struct.unpack("!i", head[1:])[0] - 4)
        if head[:1] == b"K":
            found = body
        assert head[:1] != b"E", body
        if head[:1] == b"Z":
            return found


def exactly(raw, count):
    data = b""
    while len(data) < count:
        more = raw.recv(count - len(data))
        assert more, "closed"
        data += more
    return data


def test_small_settings(pooler):
    made = pooler(application_name_add_host=1, login_notify_message="mind the gap")
    with made.connect(application_name="tool") as connection:
        name = connection.execute("show application_name").fetchone()[0]
        assert name.startswith("tool - 127.0.0.1:")
    with socket.create_connection(("127.0.0.1", made.port)) as raw:
        body = b"user\0joe\0database\0test\0\0"
        raw.sendall(struct.pack("!ii", len(body) + 8, 196608) + body)
        time.sleep(0.5)
        assert b"mind the gap" in raw.recv(4000)
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
        outcome, other = [], []
        threads = [sleeper(one, 10, outcome)]
        time.sleep(0.2)
        threads.append(sleeper(two, 10, other))
        for thread in threads:
            thread.join(10)
        assert "query timeout" in str(outcome[0])
        assert "query_timeout" in str(other[0])


def test_reserve_pool(pooler, postgres):
    wait_until(lambda: postgres.count() == 0)
    made = pooler(default_pool_size=2, reserve_pool_size=1, reserve_pool_timeout=1)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(made.connect()) for _ in range(4)]
        threads = [sleeper(client, 4) for client in clients]
        time.sleep(0.7)
        assert postgres.count() == 2
        time.sleep(1.3)
        assert postgres.count() == 3
        assert "taking connection from reserve_pool" in made.text()
        for thread in threads:
            thread.join(20)


def test_min_pool_size(pooler, postgres):
    pooler(databases={"test": "user=joe min_pool_size=3"})
    wait_until(lambda: postgres.count() == 3)
    time.sleep(1)
    assert postgres.count() == 3


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
        assert "blue" not in made.text()
    finally:
        postgres.rules("host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust")
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
        postgres.rules("host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust")
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
        postgres.rules("host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust")
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
            wait_until(lambda: postgres.count() == 0)
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
