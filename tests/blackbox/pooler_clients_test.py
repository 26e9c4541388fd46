"""The clients that people use, through the pooler in transaction mode on a pool that is smaller than their number."""
import os
import pathlib
import shutil
import subprocess
import threading
import time

import psycopg
import psycopg2
import pytest

from harness.pooler import BIN, Pooler, open_folder, running_postgres

# One for each client: pgbench prepares with a blocking call, for which another client of the same thread would have to end its
# transaction first.
THREADS = "20"
JDBC = "/usr/share/java/postgresql.jar"


@pytest.fixture(scope="module")
def postgres():
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def pooler(postgres, request):
    with open_folder() as folder:
        started = Pooler(folder, {"*": f"host=127.0.0.1 port={postgres.port}"}, pool_mode="transaction", default_pool_size=5, workers=request.param,
                         ignore_startup_parameters="extra_float_digits").start()
        yield started
        assert started.running(), started.logged()
        started.stop()


def test_psql(pooler):
    script = "\\set ON_ERROR_STOP 1\nselect 1;\nbegin;\ncreate temp table t(n int) on commit drop;\ninsert into t values (1);\nselect * from t;\ncommit;\n" \
             "\\d\nselect 2 \\gdesc\ncopy (select generate_series(1, 3)) to stdout;\n"
    ran = subprocess.run([f"{BIN}/psql", "-X", "-q", "-A", "-t", pooler.conninfo()], input=script, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-3:] == ["1", "2", "3"]


@pytest.mark.parametrize("mode", ["simple", "extended", "prepared"])
def test_pgbench(pooler, mode):
    subprocess.run([f"{BIN}/pgbench", "-i", "-q", pooler.conninfo()], check=True, capture_output=True)
    ran = subprocess.run([f"{BIN}/pgbench", "-n", "-M", mode, "-c", "20", "-j", THREADS, "-t", "50", pooler.conninfo()], capture_output=True, text=True)
    assert ran.returncode == 0 and "number of failed transactions: 0" in ran.stdout, ran.stdout + ran.stderr


def test_pgbench_in_pipelines(pooler, tmp_path):
    script = tmp_path / "pipeline.sql"
    script.write_text("\\startpipeline\nbegin;\nselect 1;\nselect 2;\ncommit;\n\\endpipeline\n")
    for mode in ("extended", "prepared"):
        ran = subprocess.run([f"{BIN}/pgbench", "-n", "-M", mode, "-c", "20", "-j", THREADS, "-t", "50", "-f", script, pooler.conninfo()], capture_output=True, text=True)
        assert ran.returncode == 0 and "number of failed transactions: 0" in ran.stdout, ran.stdout + ran.stderr


def test_each_client_gets_its_own_answers(pooler):
    wrong = []

    def work(number):
        with pooler.connect(prepare_threshold=number % 3) as db:
            for i in range(100):
                # Three texts that all clients share, and one of their own.
                got = db.execute("select %s::int, %s::text", (number * 1000 + i, f"client {number}")).fetchone()
                same = db.execute(f"select {number}, %s::int", (i,)).fetchone()
                if got != (number * 1000 + i, f"client {number}") or same != (number, i):
                    wrong.append((number, i, got, same))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:5]


def test_prepared_statements_on_whatever_server(pooler):
    with pooler.connect() as db, pooler.connect() as other:
        for i in range(30):
            assert db.execute("select %s::int + 1", (i,), prepare=True).fetchone() == (i + 1,)
            # Holds a server for a while, so that the next one is another.
            with other.transaction():
                other.execute("select 1")
                assert db.execute("select %s::int + 1", (i,), prepare=True).fetchone() == (i + 1,)


def test_a_mistake_keeps_the_connection(pooler):
    with pooler.connect() as db:
        protocol = db.pgconn
        for text, state in ((b"select 1/0", "22012"), (b"no sql", "42601")):
            answer = protocol.exec_params(text, None)
            assert answer.error_field(psycopg.pq.DiagnosticField.SQLSTATE).decode() == state
        # An unknown name, and one that is taken, are PostgreSQL's errors and not the end of the connection.
        answer = protocol.exec_prepared(b"nobody", None)
        assert answer.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"26000"
        assert protocol.prepare(b"mine", b"select 5").status == psycopg.pq.ExecStatus.COMMAND_OK
        answer = protocol.prepare(b"mine", b"select 6")
        assert answer.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"42P05"
        assert b'"mine"' in answer.error_field(psycopg.pq.DiagnosticField.MESSAGE_PRIMARY)
        assert protocol.exec_prepared(b"mine", None).get_value(0, 0) == b"5"
        assert protocol.exec_(b"deallocate all").status == psycopg.pq.ExecStatus.COMMAND_OK
        answer = protocol.exec_prepared(b"mine", None)
        assert answer.error_field(psycopg.pq.DiagnosticField.SQLSTATE) == b"26000"
        assert db.execute("select 7").fetchone() == (7,)


def test_pipeline_with_an_error_in_the_middle(pooler):
    with pooler.connect() as db:
        db.execute("create table if not exists pipe(n int primary key)")
        db.execute("truncate pipe")
        for _ in range(5):
            with pytest.raises(psycopg.errors.UniqueViolation):
                with db.pipeline() as pipeline:
                    db.execute("insert into pipe values (%s)", (1,), prepare=True)
                    db.execute("insert into pipe values (%s)", (1,), prepare=True)
                    db.execute("insert into pipe values (%s)", (2,), prepare=True)
                    pipeline.sync()
            assert db.execute("select count(*) from pipe").fetchone() == (0,)
        with db.pipeline() as pipeline:
            cursors = [db.execute("select %s::int", (i,), prepare=True) for i in range(200)]
            pipeline.sync()
            assert [cursor.fetchone()[0] for cursor in cursors] == list(range(200))


def test_copy(pooler):
    with pooler.connect() as db:
        db.execute("create table if not exists copied(n int, note text)")
        db.execute("truncate copied")
        with db.cursor().copy("copy copied from stdin") as copy:
            for i in range(100_000):
                copy.write_row((i, "x" * (i % 50)))
        assert db.execute("select count(*) from copied").fetchone() == (100_000,)
        with db.cursor().copy("copy copied to stdout") as copy:
            assert sum(len(bytes(block)) for block in copy) > 2_000_000
        for _ in range(10):
            with pytest.raises(psycopg.errors.InvalidTextRepresentation):
                with db.cursor().copy("copy copied from stdin") as copy:
                    copy.write(b"no number\tx\n")
                    for i in range(20_000):  # the server has refused long before the end
                        copy.write_row((i, "y" * 20))
            assert db.execute("select 3").fetchone() == (3,)
        assert db.execute("select count(*) from copied").fetchone() == (100_000,)


def test_cancel_hits_the_right_query(pooler):
    with pooler.connect() as slow, pooler.connect() as other:
        threading.Timer(0.5, slow.cancel).start()
        began = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled):
            slow.execute("select pg_sleep(30)")
        assert time.monotonic() - began < 10
        other.cancel()  # idle: nothing happens
        for _ in range(20):
            assert other.execute("select 1").fetchone() == (1,)
            assert slow.execute("select 2").fetchone() == (2,)


def test_session_parameters_follow_the_client(pooler):
    with pooler.connect(application_name="first", options="-c TimeZone=Asia/Tokyo") as first, pooler.connect(application_name="second") as second:
        for _ in range(10):
            assert first.execute("select current_setting('application_name'), current_setting('TimeZone')").fetchone() == ("first", "Asia/Tokyo")
            assert second.execute("select current_setting('application_name')").fetchone() == ("second",)
            second.execute("set DateStyle = 'German'")
            assert first.execute("show DateStyle").fetchone() == ("ISO, MDY",)
            assert second.execute("show DateStyle").fetchone()[0].startswith("German")


def test_large_values_both_ways(pooler):
    with pooler.connect() as db:
        value = "ä" * 5_000_000
        for _ in range(3):
            assert db.execute("select %s::text", (value,)).fetchone() == (value,)
            assert db.execute("select %s::text", (value,), prepare=True).fetchone() == (value,)


def test_psycopg2(pooler):
    db = psycopg2.connect(pooler.conninfo())
    for i in range(20):
        with db, db.cursor() as cursor:
            cursor.execute("select %s, now()", (i,))
            assert cursor.fetchone()[0] == i
        with db, db.cursor("named") as cursor:  # a server-side cursor within one transaction
            cursor.execute("select generate_series(1, 5000)")
            assert sum(row[0] for row in cursor) == 5000 * 5001 // 2
    db.close()


def test_notices_and_notifications(pooler):
    with pooler.connect() as db:
        seen = []
        db.add_notice_handler(lambda notice: seen.append(notice.message_primary))
        db.execute("do $$ begin raise notice 'hello'; end $$")
        assert seen == ["hello"]
        db.execute("notify somebody, 'x'")  # nobody listens in transaction mode; it has to pass


def test_jdbc(pooler):
    if shutil.which("java") is None or not os.path.exists(JDBC):
        pytest.skip("no java or no libpostgresql-jdbc-java here")
    source = pathlib.Path(__file__).parent / "clients" / "Jdbc.java"
    ran = subprocess.run(["java", "-cp", JDBC, str(source), f"jdbc:postgresql://127.0.0.1:{pooler.port}/postgres", "postgres", "x"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.count("ok ") == 11
