"""Our pooler beside real PgBouncer, 1.24.1 of Debian 13 and 1.26.1 of testing, with the same files on the same PostgreSQL: the
columns of each SHOW table, the settings with their defaults, and what prometheus-community's exporter makes of both."""
import contextlib
import re
import shutil

import psycopg2
import pytest

from harness import ports, tree
from harness.cluster import fresh_folder
from harness.pooler import SUPERUSER, PgBouncer, Pooler, Postgres
from harness.servers import Server, http, kill_everything_below
from harness.waiting import wait_until

pytestmark = pytest.mark.peer

# What differs, and why.
OWN_SETTINGS = {"auth_seed_file", "cluster_api", "cluster_dcs", "cluster_dcs_ca_file", "cluster_dcs_credentials", "cluster_namespace",
                "cluster_scope", "failover_hold_timeout", "http_listen", "switchover_drain_timeout", "workers"}
GONE_IN_126 = {"suspend_timeout"}  # with -R; accepted here for the files of 1.25
NEW_SINCE_124 = {"auth_ldap_options", "client_tls13_ciphers", "server_tls13_ciphers", "login_notify_message", "pool_idle_timeout",
                 "query_wait_notify", "scram_iterations", "transaction_timeout"}
# New in 1.26, which has put them before the averages. Who reads by position has learned 1.25's, so here they are at the end.
LAST_HERE = {"total_client_login_count", "avg_client_login_count", "client_login_count"}
OTHER_DEFAULTS = {
    "auth_query": "here every name in it is qualified",
    "track_extra_parameters": "1.26 keeps IntervalStyle without being told",
    "server_check_query": "1.25 changed it",
}
OF_THE_PROCESS = {"conffile", "listen_port", "logfile", "user", "auth_file", "http_listen"}  # set by this test, not alike


class Beside:
    def __init__(self, release):
        self.release, self.folder = release, fresh_folder()
        self.postgres = Postgres(self.folder).start()
        here = f"host=127.0.0.1 port={self.postgres.port} dbname=postgres"
        databases = {"app": here, "other": f"{here} user={SUPERUSER} pool_size=5 pool_mode=session"}
        settings = {"pool_mode": "transaction", "admin_users": "boss", "stats_users": "watcher", "ignore_startup_parameters": "extra_float_digits",
                    "users": f'"{SUPERUSER}" ""\n"boss" ""\n"watcher" ""\n'}
        [self.http_port] = ports.free_ports(1)
        self.ours = Pooler(self.folder, databases, http_listen=f"127.0.0.1:{self.http_port}", **settings).start()
        self.theirs = PgBouncer(self.folder, release, databases, **settings).start()
        self.ports = {"theirs": self.theirs.port, "ours": self.ours.port}
        # The same clients have been at both.
        self.clients = [self.connect(port, database, SUPERUSER) for port in self.ports.values() for database in ("app", "other")]
        for client in self.clients:
            with client.cursor() as cursor:
                cursor.execute("SELECT 1")

    def stop(self):
        for client in self.clients:
            client.close()
        self.theirs.stop()
        self.ours.stop()
        self.postgres.stop()
        kill_everything_below(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def connect(self, port, database="pgbouncer", user="boss"):
        connection = psycopg2.connect(f"host=127.0.0.1 port={port} user={user} dbname={database} connect_timeout=5")
        connection.autocommit = True
        return connection

    def columns(self, port, show):
        with contextlib.closing(self.connect(port)) as connection, connection.cursor() as cursor:
            cursor.execute(f"SHOW {show}")
            return [(column[0], column[1]) for column in cursor.description]

    def rows(self, port, command):
        with contextlib.closing(self.connect(port)) as connection, connection.cursor() as cursor:
            cursor.execute(command)
            return [dict(zip([column[0] for column in cursor.description], row)) for row in cursor.fetchall()]

    def tables(self, port):
        """What SHOW HELP offers."""
        with contextlib.closing(self.connect(port)) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW HELP")
            return {name for line in re.findall(r"SHOW ([A-Z_|]+)", connection.notices[-1]) for name in line.split("|")} - {"HELP"}


@pytest.fixture(scope="module", params=["13", "testing"])
def beside(program, request):
    if not tree.have(request.param):
        pytest.skip(f"no Debian {request.param} tree here: tools/debian-tree {request.param} (root)")
    made = Beside(request.param)
    yield made
    made.stop()


def in_order(theirs, ours):
    """Ours begin with theirs."""
    late = [name for name in theirs if name in LAST_HERE]
    wanted = [name for name in theirs if name not in LAST_HERE]
    return ours[: len(wanted)] == wanted and set(late) <= set(ours)


def test_columns_of_every_table(beside):
    theirs, ours = beside.tables(beside.ports["theirs"]), beside.tables(beside.ports["ours"])
    assert theirs - ours <= {"FDS"} and len(theirs) >= 18, (theirs, ours)
    for show in sorted(theirs - {"FDS"}):
        wanted, found = (beside.columns(beside.ports[who], show) for who in ("theirs", "ours"))
        assert in_order([name for name, _ in wanted], [name for name, _ in found]), (show, wanted, found)
        assert set(wanted) <= set(found), show  # their types, too
    print(f"\n{len(theirs)} tables: {sorted(theirs)}")


def test_rows_of_the_tables_that_name_what_they_count(beside):
    for show, key in (("LISTS", "list"), ("STATE", "key"), ("TOTALS", "name")):
        theirs, ours = ([row[key] for row in beside.rows(beside.ports[who], f"SHOW {show}")] for who in ("theirs", "ours"))
        assert in_order(theirs, ours), (show, theirs, ours)


def test_settings(beside):
    theirs, ours = ({row["key"]: row for row in beside.rows(beside.ports[who], "SHOW CONFIG")} for who in ("theirs", "ours"))
    assert list(ours) == sorted(ours)
    assert set(theirs) <= set(ours)
    assert set(ours) - set(theirs) == OWN_SETTINGS | (NEW_SINCE_124 if beside.release == "13" else GONE_IN_126)
    for key, row in theirs.items():
        assert ours[key]["changeable"] == row["changeable"], key
        if key not in OTHER_DEFAULTS:
            assert ours[key]["default"] == row["default"], key
        if key not in OTHER_DEFAULTS and key not in OF_THE_PROCESS:
            assert ours[key]["value"] == row["value"], key


def scrape(port, own_port):
    """(name, labels) of all that Prometheus would store, without what describes the exporter itself."""
    own_port = rf"\b{own_port}\b"
    status, text = http(f"http://127.0.0.1:{port}/metrics", seconds=10)
    assert status == 200, text
    found = set()
    for name, labels in re.findall(r"(?m)^([a-z_0-9]+)(?:\{([^}]*)\})? ", text):
        if name.startswith("pgbouncer_") and not name.startswith("pgbouncer_exporter_"):
            found.add((name, tuple(sorted(re.findall(r'(\w+)="([^"]*)"', re.sub(own_port, "own port", labels))))))
    return found


def through_exporter(beside, port):
    [web] = ports.free_ports(1)
    exporter = Server("exporter", tree.command(beside.release, [
        "/usr/bin/prometheus-pgbouncer-exporter", f"--web.listen-address=127.0.0.1:{web}", "--pgBouncer.pid-file=",
        f"--pgBouncer.connectionString=postgres://watcher:@127.0.0.1:{port}/pgbouncer?sslmode=disable"], "nobody"),
        f"{beside.folder}/exporter.log").start()
    try:
        wait_until("the exporter answers", 20, lambda: http(f"http://127.0.0.1:{web}/metrics")[0] == 200)
        found = scrape(web, port)
    finally:
        exporter.stop()
    assert ("pgbouncer_up", ()) in found and len(found) > 40, exporter.tail()
    assert "level=error" not in exporter.tail(200) and "level=ERROR" not in exporter.tail(200), exporter.tail(200)
    return found


def test_exporter(beside):
    theirs, ours = (through_exporter(beside, beside.ports[who]) for who in ("theirs", "ours"))
    print(f"\n{len(theirs)} series, {len({name for name, _ in theirs})} names")
    version = {pair for pair in theirs | ours if pair[0] == "pgbouncer_version_info"}
    assert len(version) == 2
    # Whether a client of the console is idle or active is told differently by 1.24, 1.25 and 1.26.
    console = {pair for pair in theirs | ours if pair[0] == "pgbouncer_client_connections" and ("database", "pgbouncer") in pair[1]}
    assert ours - version - console == theirs - version - console
    if beside.release == "13":  # our own endpoint has its names, and more; later exporters call the sums otherwise
        assert ours <= scrape(beside.http_port, beside.ours.port)
