"""The console of `pgdba pooler`, against a PostgreSQL of its own: every SHOW's columns and types, and what each command does to
clients that are at work."""
import contextlib
import json
import os
import pwd
import re
import subprocess
import threading
import time

import psycopg
import psycopg2
import pytest
from harness import ports
from harness.pooler import BIN, USER, Pooler, open_folder, running_postgres
from harness.processes import memory_kib
from harness.servers import Etcd, Server, as_user, http, kill_everything_below
from harness.waiting import wait_until

USERS = '"postgres" ""\n"boss" ""\n"watcher" ""\n"nobody" ""\n'
TYPES = {"s": 25, "i": 23, "q": 20, "N": 1700, "b": 17}

_CONNECTION = (
    "type user database replication state addr port:i local_addr local_port:i connect_time request_time wait:i wait_us:i close_needed:i ptr"
    " link remote_pid:i tls application_name prepared_statements:i id:i"
)
_COUNTS = "server_assignment_count:N xact_count:N query_count:N"
# Those of PgBouncer 1.25, then ours.
COLUMNS = {
    "VERSION": ("version", ""),
    "DATABASES": (
        "name host port:i database force_user pool_size:i min_pool_size:i reserve_pool_size:i server_lifetime:i pool_mode load_balance_hosts"
        " max_connections:i current_connections:i max_client_connections:i current_client_connections:i paused:i disabled:i",
        "",
    ),
    "POOLS": (
        "database user cl_active:i cl_waiting:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active:i sv_active_cancel:i"
        " sv_being_canceled:i sv_idle:i sv_used:i sv_tested:i sv_login:i maxwait:i maxwait_us:i pool_mode load_balance_hosts",
        "",
    ),
    "CLIENTS": (_CONNECTION, ""),
    "SERVERS": (_CONNECTION, ""),
    "SOCKETS": (_CONNECTION + " recv_pos:i pkt_pos:i pkt_remain:i send_pos:i send_remain:i pkt_avail:i send_avail:i", ""),
    "ACTIVE_SOCKETS": (_CONNECTION + " recv_pos:i pkt_pos:i pkt_remain:i send_pos:i send_remain:i pkt_avail:i send_avail:i", ""),
    "STATS": (
        "database total_server_assignment_count:N total_xact_count:N total_query_count:N total_received:N total_sent:N total_xact_time:N"
        " total_query_time:N total_wait_time:N total_client_parse_count:N total_server_parse_count:N total_bind_count:N"
        " avg_server_assignment_count:N avg_xact_count:N avg_query_count:N avg_recv:N avg_sent:N avg_xact_time:N avg_query_time:N"
        " avg_wait_time:N avg_client_parse_count:N avg_server_parse_count:N avg_bind_count:N",
        "total_client_login_count:N avg_client_login_count:N",
    ),
    "STATS_TOTALS": (
        f"database {_COUNTS} bytes_received:N bytes_sent:N xact_time:N query_time:N wait_time:N client_parse_count:N server_parse_count:N"
        " bind_count:N",
        "client_login_count:N",
    ),
    "STATS_AVERAGES": (
        f"database {_COUNTS} bytes_received:N bytes_sent:N xact_time:N query_time:N wait_time:N avg_client_parse_count:N"
        " avg_server_parse_count:N avg_bind_count:N",
        "avg_client_login_count:N",
    ),
    "TOTALS": ("name value:N", ""),
    "USERS": (
        "name pool_size reserve_pool_size pool_mode max_user_connections:i current_connections:i max_user_client_connections:i"
        " current_client_connections:i",
        "",
    ),
    "LISTS": ("list items:i", ""),
    "CONFIG": ("key value default changeable", ""),
    "PEERS": ("peer_id:i host port:i pool_size:i", ""),
    "PEER_POOLS": ("peer_id:i cl_active_cancel_req:i cl_waiting_cancel_req:i sv_active_cancel:i sv_login:i", ""),
    "DNS_HOSTS": ("hostname ttl:q addrs", ""),
    "DNS_ZONES": ("zonename serial:q count:i", ""),
    "MEM": ("name size:i used:i free:i memtotal:i", ""),
    "STATE": ("key value", ""),
    "CLUSTER": (
        "",
        "member host port:i role state timeline:i lag_bytes:q leader term:N routing waits_for held_clients:i in_flight:i last_change"
        " last_hold_ms:q view_age_ms:q trouble",
    ),
}


@contextlib.contextmanager
def effective_user(name):
    """Root as somebody else; for others nothing changes."""
    if os.geteuid() != 0 or name is None:
        yield
        return
    os.seteuid(pwd.getpwnam(name).pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def columns(spec):
    words = [word.partition(":") for word in spec.split()]
    return [(name, TYPES[kind or "s"]) for name, _, kind in words]


class Bench(Pooler):
    """The pooler in front of a PostgreSQL, and what is asked of its console."""

    def __init__(self, folder, postgres, workers):
        [self.http_port] = ports.free_ports(1)
        self.pg_port, self.direct = postgres.port, postgres.sql
        here = f"host=127.0.0.1 port={postgres.port} user=postgres"
        super().__init__(folder, {"postgres": here, "other": f"{here} dbname=postgres pool_mode=session", "'odd name'": f"{here} dbname=postgres"}, USERS,
                         more="[users]\nwatcher = pool_size=7 max_user_connections=9\n[peers]\n5 = host=127.0.0.1 port=9\n", unix_socket_dir=folder,
                         admin_users="boss", stats_users="watcher", pool_mode="transaction", default_pool_size=8, stats_period=1, workers=workers,
                         http_listen=f"127.0.0.1:{self.http_port}")

    def dsn(self, database="pgbouncer", user="boss"):
        return self.conninfo(database, user=user)

    def console(self, user="boss"):
        connection = psycopg2.connect(self.dsn(user=user))
        connection.autocommit = True
        return connection

    def ask(self, command, user="boss"):
        """The rows as dictionaries; None where there are none."""
        try:
            connection = self.console(user)
        except psycopg2.OperationalError:
            return None
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(command)
            if cursor.description is None:
                return []
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def refused(self, command, user="boss"):
        with pytest.raises(psycopg2.Error) as error:
            self.ask(command, user)
        return error.value.pgcode, error.value.pgerror.splitlines()[0].removeprefix("ERROR:  ")

    def client(self, database="postgres"):
        return psycopg.connect(self.dsn(database, "postgres"), autocommit=True, prepare_threshold=None)

    def pool(self, database="postgres"):
        return next(row for row in self.ask("SHOW POOLS") if row["database"] == database)

    @contextlib.contextmanager
    def load(self, clients=4, seconds=60):
        """pgbench at work; its output once it has ended is in .output."""
        before = queries(self)
        child = subprocess.Popen([f"{BIN}/pgbench", "-n", "-S", "-c", str(clients), "-T", str(seconds), "-h", "127.0.0.1", "-p", str(self.port), "-U",
                                  "postgres", "-P", "1", "postgres"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            wait_until("transactions run", 10, lambda: queries(self) > before + 50)
            yield child
        finally:
            child.kill()
            child.wait()


@pytest.fixture(scope="module")
def postgres():
    with running_postgres() as server:
        subprocess.run([f"{BIN}/pgbench", "-i", "-q", "-h", server.folder, "-p", str(server.port), "-U", "postgres", "postgres"], check=True, capture_output=True)
        yield server


@pytest.fixture(scope="module", params=[1, 3], ids=lambda workers: f"{workers}-workers")
def bench(request, postgres):
    with open_folder() as folder:
        made = Bench(folder, postgres, request.param).start()
        yield made
        made.stop()


def queries(bench):
    return sum(int(row["total_query_count"]) for row in bench.ask("SHOW STATS") if row["database"] == "postgres")


@pytest.mark.parametrize("show", COLUMNS)
def test_columns_and_types(bench, show):
    theirs, ours = COLUMNS[show]
    with contextlib.closing(bench.console()) as connection, connection.cursor() as cursor:
        cursor.execute(f"SHOW {show}")
        assert [(column[0], column[1]) for column in cursor.description] == columns(theirs) + columns(ours)
        assert cursor.statusmessage == "SHOW"


def test_rows(bench):
    assert bench.ask("SHOW VERSION") == [{"version": "PgBouncer 1.25.2"}]
    assert bench.ask("SHOW STATE") == [{"key": "active", "value": "yes"}, {"key": "paused", "value": "no"}, {"key": "suspended", "value": "no"}]
    with bench.client() as client:
        client.execute("SELECT 1")
        rows = {row["name"]: row for row in bench.ask("SHOW DATABASES")}
        assert set(rows) >= {"postgres", "other", "odd name", "pgbouncer"}
        assert (rows["other"]["pool_mode"], rows["other"]["port"], rows["other"]["database"]) == ("session", bench.pg_port, "postgres")
        assert (rows["postgres"]["pool_mode"], rows["postgres"]["pool_size"], rows["postgres"]["force_user"]) == (None, 8, "postgres")
        assert rows["postgres"]["current_client_connections"] == 1 and rows["postgres"]["current_connections"] >= 1
        assert bench.pool()["cl_active"] == 1 and bench.pool()["pool_mode"] == "transaction"
        assert bench.pool("pgbouncer")["pool_mode"] == "statement"
        mine = [row for row in bench.ask("SHOW CLIENTS") if row["database"] == "postgres"]
        assert [(row["type"], row["state"], row["addr"], row["local_port"], row["user"]) for row in mine] == [("C", "idle", "127.0.0.1", bench.port, "postgres")]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S+", mine[0]["connect_time"])
        console = next(row for row in bench.ask("SHOW CLIENTS") if row["database"] == "pgbouncer")
        assert (console["state"], console["user"]) == ("active", "boss")
        servers = [row for row in bench.ask("SHOW SERVERS") if row["database"] == "postgres"]
        assert servers and all(row["port"] == bench.pg_port and row["state"] == "idle" and row["link"] == "" for row in servers)
        backends = [pid for (pid,) in bench.direct("SELECT pid FROM pg_stat_activity")]
        assert servers[0]["remote_pid"] in backends
        with client.transaction():
            client.execute("SELECT 1")
            client_row = next(row for row in bench.ask("SHOW CLIENTS") if row["database"] == "postgres")
            server_row = next(row for row in bench.ask("SHOW SERVERS") if row["state"] == "active")
            assert client_row["link"] == server_row["ptr"] and server_row["link"] == client_row["ptr"]
    users = {row["name"]: row for row in bench.ask("SHOW USERS")}
    assert (users["watcher"]["pool_size"], users["watcher"]["max_user_connections"]) == ("        7", 9)
    assert bench.ask("SHOW PEERS") == [{"peer_id": 5, "host": "127.0.0.1", "port": 9, "pool_size": 8}]
    lists = {row["list"]: row["items"] for row in bench.ask("SHOW LISTS")}
    assert (lists["databases"], lists["peers"], lists["login_clients"]) == (4, 1, 0) and lists["used_clients"] >= 1
    config = [row["key"] for row in bench.ask("SHOW CONFIG")]
    assert config == sorted(config) and "listen_port" in config
    assert bench.ask("SHOW CLUSTER") == []


def test_help_and_what_is_not_supported(bench):
    with contextlib.closing(bench.console()) as connection, connection.cursor() as cursor:
        cursor.execute("SHOW HELP")
        assert cursor.description is None and "Console usage" in connection.notices[-1]
    assert bench.refused("SHOW FDS")[0] == "0A000"
    assert bench.refused("SUSPEND")[0] == "0A000"


def test_stats_count_and_average(bench):
    before = queries(bench)
    with bench.load(seconds=5):
        time.sleep(2.5)
        stats = next(row for row in bench.ask("SHOW STATS") if row["database"] == "postgres")
        assert queries(bench) > before + 100
        assert stats["avg_query_count"] > 10 and 0 < stats["avg_query_time"] < 1_000_000 and stats["avg_recv"] > 100
        totals = {row["name"]: row["value"] for row in bench.ask("SHOW TOTALS")}
        assert totals["total_query_count"] >= stats["total_query_count"] and totals["avg_query_count"] > 0


@pytest.mark.parametrize("command, text", [
    ("PAUSE nosuch", "no such database: nosuch"),
    ("PAUSE pgbouncer", "cannot pause admin db: pgbouncer"),
    ("KILL pgbouncer", "cannot kill admin db: pgbouncer"),
    ("WAIT_CLOSE pgbouncer", "cannot wait in admin db: pgbouncer"),
    ("RECONNECT nosuch", "no such database: nosuch"),
    ("RESUME", "pooler is not paused/suspended"),
    ("RESUME postgres", "database postgres is not paused"),
    ("DISABLE", "a database is required"),
    ("ENABLE", "a database is required"),
    ("KILL_CLIENT x", "invalid client pointer supplied"),
    ("KILL_CLIENT", "invalid client pointer supplied"),
    ("KILL_CLIENT 999999", "client not found"),
    ("BEGIN", "invalid command 'BEGIN', use SHOW HELP;"),
])
def test_errors(bench, command, text):
    assert bench.refused(command) == ("08P01", text)


def test_who_may_do_what(bench):
    assert bench.ask("SHOW POOLS", "watcher")
    for command in ("PAUSE", "SHOW FDS", "SET stats_period=3", "RELOAD", "KILL_CLIENT 1"):
        assert bench.refused(command, "watcher") == ("08P01", "admin access needed")
    assert bench.ask("SHOW client_encoding", "watcher") == [{"client_encoding": "UTF-8"}]
    with pytest.raises(psycopg2.OperationalError, match="not allowed"):
        psycopg2.connect(bench.dsn(user="nobody"))
    # The process' own user needs neither a password nor an entry, over the unix socket.
    with effective_user(USER):
        own = psycopg2.connect(f"host={bench.folder} port={bench.port} user=pgbouncer dbname=pgbouncer")
    own.autocommit = True
    with contextlib.closing(own), own.cursor() as cursor:
        cursor.execute("RECONNECT")
        assert cursor.statusmessage == "RECONNECT"
        cursor.execute("SHOW CLIENTS")
        mine = next(row for row in cursor.fetchall() if row[1] == "pgbouncer")
        assert mine[5] == "unix" and mine[6] == bench.port and mine[16] == os.getpid()
    with pytest.raises(psycopg2.OperationalError):
        psycopg2.connect(bench.dsn(user="pgbouncer"))
    if os.geteuid() == 0:
        program = f"import psycopg2; psycopg2.connect('host={bench.folder} port={bench.port} user=pgbouncer dbname=pgbouncer')"
        assert subprocess.run(["/usr/bin/python3", "-c", program], capture_output=True, **as_user("nobody")).returncode != 0


def test_extended_protocol(bench):
    with psycopg.connect(bench.dsn(), autocommit=True) as connection:
        for binary in (False, True):
            cursor = connection.cursor(binary=binary)
            for _ in range(7):  # from the fifth on the statement is prepared
                rows = cursor.execute("SHOW POOLS", prepare=True).fetchall()
                assert ("pgbouncer", "pgbouncer", 1) in [row[:3] for row in rows]
            name, value = cursor.execute("SHOW TOTALS").fetchall()[1]
            assert name == "total_xact_count" and value > 0
        with pytest.raises(psycopg.Error, match="invalid command"):
            connection.execute("NONSENSE", prepare=True)
        assert connection.execute("SHOW STATE").fetchone() == ("active", "yes")
        assert connection.info.parameter_status("server_version") == "1.25.2/bouncer"


def test_psql(bench):
    shown = subprocess.run([f"{BIN}/psql", "-X", "-A", "-t", bench.dsn(), "-c", "show state", "-c", "reconnect", "-c", "help;"],
                           capture_output=True, text=True, timeout=20)
    assert shown.stdout.splitlines() == ["active|yes", "paused|no", "suspended|no", "RECONNECT"]
    assert "invalid command" in shown.stderr


def test_pause_waits_for_transactions_and_resume_goes_on(bench):
    with bench.client() as holder, bench.load() as load:
        holder.execute("BEGIN")
        answered = []
        waiter = threading.Thread(target=lambda: answered.append((bench.ask("PAUSE"), time.monotonic())))
        waiter.start()
        wait_until("the pooler is paused", 5, lambda: {"key": "paused", "value": "yes"} in bench.ask("SHOW STATE"))
        time.sleep(0.5)
        assert not answered
        still = queries(bench)
        assert bench.refused("PAUSE") == ("08P01", "already suspended/paused")
        assert bench.refused("KILL postgres") == ("08P01", "already suspended/paused")
        ended = time.monotonic()
        holder.execute("COMMIT")
        waiter.join(5)
        assert answered and answered[0][1] - ended < 0.3
        assert bench.pool()["sv_idle"] == bench.pool()["sv_active"] == 0 and bench.pool()["cl_waiting"] == 4
        assert bench.direct("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") == [(1,)]  # our own
        assert queries(bench) <= still + 1
        bench.ask("RESUME")
        wait_until("transactions run again", 5, lambda: queries(bench) > still + 50)
        assert load.poll() is None


def test_pause_of_one_database_leaves_the_others(bench):
    with bench.client() as one, bench.client("other") as other:
        one.execute("SELECT 1")
        bench.ask("PAUSE postgres")
        assert next(row["paused"] for row in bench.ask("SHOW DATABASES") if row["name"] == "postgres") == 1
        other.execute("SELECT 1")
        done = []
        waiter = threading.Thread(target=lambda: done.append(one.execute("SELECT 7").fetchone()))
        waiter.start()
        waiter.join(0.5)
        assert not done
        bench.ask("RESUME postgres")
        waiter.join(5)
        assert done == [(7,)]


def test_resume_ends_a_pause_that_waits(bench):
    with bench.client("other") as holder:  # session mode: keeps its server
        holder.execute("SELECT 1")
        failed = []

        def pause():
            try:
                bench.ask("PAUSE other")
            except psycopg2.Error as error:
                failed.append(error.pgcode)

        waiter = threading.Thread(target=pause)
        waiter.start()
        wait_until("it is paused", 5, lambda: next(row["paused"] for row in bench.ask("SHOW DATABASES") if row["name"] == "other"))
        bench.ask("RESUME other")
        waiter.join(5)
        assert failed == ["57014"]
        holder.execute("SELECT 1")


def test_reconnect_and_wait_close(bench):
    with bench.client() as holder, bench.load() as load:
        holder.execute("BEGIN")
        (old,) = holder.execute("SELECT pg_backend_pid()").fetchone()
        before = {row["remote_pid"] for row in bench.ask("SHOW SERVERS")}
        bench.ask("RECONNECT postgres")
        assert holder.execute("SELECT pg_backend_pid()").fetchone() == (old,)
        assert [row["close_needed"] for row in bench.ask("SHOW SERVERS") if row["remote_pid"] == old] == [1]
        answered = []
        waiter = threading.Thread(target=lambda: answered.append(bench.ask("WAIT_CLOSE postgres")))
        waiter.start()
        waiter.join(0.5)
        assert not answered
        holder.execute("COMMIT")
        waiter.join(5)
        assert answered == [[]]
        after = {row["remote_pid"] for row in bench.ask("SHOW SERVERS")}
        assert not before & after
        assert load.poll() is None
        holder.execute("SELECT 1")
    assert bench.ask("WAIT_CLOSE") == []


def test_kill_closes_everybody_and_pauses(bench):
    with bench.load() as load, bench.client() as client, bench.client("other") as other:
        client.execute("SELECT 1")
        other.execute("SELECT 1")
        bench.ask("KILL postgres")
        assert "admin forced disconnect" in load.communicate(timeout=10)[0]
        with pytest.raises(psycopg.OperationalError, match="admin forced disconnect"):
            client.execute("SELECT 1")
        assert bench.pool()["sv_idle"] == bench.pool()["sv_active"] == bench.pool()["cl_active"] == 0
        other.execute("SELECT 1")
        bench.ask("RESUME postgres")
    with bench.client() as client:
        client.execute("SELECT 1")
        bench.ask("KILL")
        with pytest.raises(psycopg.OperationalError):
            client.execute("SELECT 1")
        bench.ask("RESUME")
    with bench.client() as client:
        client.execute("SELECT 1")


def test_kill_client(bench):
    with bench.client() as doomed, bench.client() as other:
        doomed.execute("SET application_name = 'doomed'")
        other.execute("SELECT 1")
        number = next(row["id"] for row in bench.ask("SHOW CLIENTS") if row["application_name"] == "doomed")
        bench.ask(f"KILL_CLIENT {number}")
        with pytest.raises(psycopg.OperationalError, match="admin forced disconnect"):
            doomed.execute("SELECT 1")
        other.execute("SELECT 1")


def test_disable_refuses_new_clients_only(bench):
    with bench.client("odd name") as client:
        bench.ask('DISABLE "odd name"')
        client.execute("SELECT 1")
        with pytest.raises(psycopg.OperationalError, match="does not allow connections: odd name"):
            bench.client("odd name")
        bench.ask('ENABLE "odd name"')
    bench.client("odd name").close()


def test_a_console_client_may_vanish_at_any_time(bench):
    with bench.client("other") as holder:
        holder.execute("SELECT 1")
        for _ in range(20):
            gone = bench.console()
            gone_socket = os.dup(gone.fileno())
            os.write(gone_socket, b"Q\0\0\0\x10PAUSE other\0")
            gone.close()
            os.close(gone_socket)
        wait_until("it is paused", 5, lambda: next(row["paused"] for row in bench.ask("SHOW DATABASES") if row["name"] == "other"))
        bench.ask("RESUME other")
        wait_until("they are gone", 5, lambda: sum(row["database"] == "pgbouncer" for row in bench.ask("SHOW CLIENTS")) == 1)


def test_a_console_client_that_does_not_read_costs_nothing(bench):
    before = memory_kib(bench.pid)["VmRSS"]
    lazy = bench.console()
    lazy_socket = os.dup(lazy.fileno())
    os.set_blocking(lazy_socket, False)
    query = b"Q\0\0\0\x10SHOW CONFIG\0"
    sent = 0
    with contextlib.suppress(BlockingIOError):
        while sent < 20_000:
            sent += os.write(lazy_socket, query * 1000) // len(query)
    time.sleep(1)
    assert bench.ask("SHOW STATE")
    assert memory_kib(bench.pid)["VmRSS"] - before < 20_000
    os.set_blocking(lazy_socket, True)
    answers = 0
    deadline = time.monotonic() + 30
    while answers < 500 and time.monotonic() < deadline:  # it goes on where it stopped
        answers += os.read(lazy_socket, 1_000_000).count(b"SHOW\0Z")
    os.close(lazy_socket)
    lazy.close()
    assert answers >= 500


def test_metrics_and_health(bench):
    with bench.client() as client:
        client.execute("SELECT 1")
        status, text = http(f"http://127.0.0.1:{bench.http_port}/metrics")
        assert status == 200
        assert 'pgbouncer_pools_client_active_connections{database="postgres",user="postgres"} 1\n' in text
        assert re.search(r'^pgbouncer_stats_queries_pooled_total\{database="postgres"\} [1-9]', text, re.M)
        assert re.search(r'^pgbouncer_databases_pool_size\{name="other",host="127.0.0.1",.*pool_mode="session"\} 8$', text, re.M)
        names = re.findall(r"^# TYPE (\S+)", text, re.M)
        assert len(names) == len(set(names))
    status, text = http(f"http://127.0.0.1:{bench.http_port}/health")
    assert (status, json.loads(text)["status"]) == (200, "ok")
    assert http(f"http://127.0.0.1:{bench.http_port}/nosuch")[0] == 404


# What Patroni writes of a member.
def member(port, role):
    return json.dumps({"conn_url": f"postgres://127.0.0.1:{port}/postgres", "api_url": "http://127.0.0.1:1/patroni", "state": "running", "role": role,
                       "version": "4.0.4", "xlog_location": 100_000_000, "timeline": 3})


def test_show_cluster_and_health_follow_the_leader_key(bench, folder):
    """The pooler of a cluster whose keys the test writes itself."""
    etcd = Etcd(folder, members=1).start()
    [http_port] = ports.free_ports(1)
    pooler = Pooler(folder, {"postgres": "role=primary user=postgres"}, USERS, admin_users="boss", pool_mode="transaction", workers=2,
                    http_listen=f"127.0.0.1:{http_port}", cluster_dcs=f"etcd://{etcd.endpoints[0]}", cluster_scope="demo").start()

    def put(key, value, *options):
        subprocess.run(["/usr/bin/etcdctl", "--endpoints", etcd.endpoints[0], "put", *options, f"/service/demo/{key}", value], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "ETCDCTL_API": "3"})

    def remove(key):
        subprocess.run(["/usr/bin/etcdctl", "--endpoints", etcd.endpoints[0], "del", f"/service/demo/{key}"], check=True, stdout=subprocess.DEVNULL,
                       env={**os.environ, "ETCDCTL_API": "3"})

    def ask(command):
        with contextlib.closing(pooler.connect("pgbouncer", user="boss")) as connection:
            cursor = connection.execute(command)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row)) for row in cursor.fetchall()]

    def health():
        status, text = http(f"http://127.0.0.1:{http_port}/health")
        return status, json.loads(text)

    try:
        rows = wait_until("the pooler answers", 20, lambda: ask("SHOW CLUSTER"))
        assert [(row["member"], row["routing"]) for row in rows] == [(None, "held")]
        assert health()[0] == 503 and health()[1]["status"] == "held"
        (system,) = bench.direct("SELECT system_identifier FROM pg_control_system()")[0]
        put("initialize", str(system))
        put("status", json.dumps({"optime": 100_001_000, "slots": {}}))
        put("members/n1", member(bench.pg_port, "primary"))
        put("members/n2", member(bench.pg_port, "replica"))
        put("leader", "n1")
        rows = wait_until("it leads", 10, lambda: (lambda found: found if found[0]["routing"] == "open" else None)(ask("SHOW CLUSTER")))
        assert [(row["member"], row["role"], row["state"], row["timeline"], row["lag_bytes"], row["leader"]) for row in rows] == [
            ("n1", "leader", "running", 3, 0, "n1"), ("n2", "replica", "running", 3, 1000, "n1")]
        assert rows[0]["term"] > 0 and rows[0]["view_age_ms"] < 20_000 and rows[0]["last_change"] and rows[0]["trouble"] == ""
        assert health() == (200, {"status": "ok", "paused": False, "leader": "n1", "term": int(rows[0]["term"]), "held_clients": 0})
        database = next(row for row in ask("SHOW DATABASES") if row["name"] == "postgres")
        assert (database["host"], database["port"]) == ("127.0.0.1", bench.pg_port)
        client = pooler.connect()
        client.execute("SELECT 1")
        remove("leader")
        wait_until("it holds", 10, lambda: ask("SHOW CLUSTER")[0]["routing"] == "held")
        waiter = threading.Thread(target=client.execute, args=["SELECT 1"])
        waiter.start()
        wait_until("a client is held", 5, lambda: ask("SHOW CLUSTER")[0]["held_clients"] == 1)
        assert health()[0] == 503 and health()[1]["waits_for"] == "no leader"
        time.sleep(0.3)
        put("leader", "n1")
        waiter.join(10)
        assert not waiter.is_alive()
        assert ask("SHOW CLUSTER")[0]["last_hold_ms"] >= 300
        assert "pgdba_pooler_cluster_open 1\n" in http(f"http://127.0.0.1:{http_port}/metrics")[1]
        client.close()
    finally:
        pooler.stop()
        etcd.stop()
        kill_everything_below(folder)
