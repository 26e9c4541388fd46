#!/usr/bin/python3
"""Random traffic through `pgdba pooler` for a long time: make soak.

    tests/soak.py [--minutes 60] [--load 0.4] [--clients 24] [--workers 2] [--seed N] [--growth 4096]

Every answer is checked to be the asker's own (unique tags), every commit to be there and every rollback not to be. Meanwhile clients vanish
in every state, backends are terminated, and the administrator reloads, pauses and reconnects. Every half minute all clients hold still:
then nothing may be lent, waiting or left over (clients, servers, descriptors), and RssAnon is measured. --load is the processor time that
pooler, PostgreSQL and this program take together, in cores; --growth how many KiB RssAnon may grow after the warm-up (a tenth of the time).
"""
import argparse
import collections
import contextlib
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "blackbox"))
import psycopg  # noqa: E402

from harness import processes, wire  # noqa: E402
from harness.pooler import Pooler, Postgres, console  # noqa: E402
from harness.wire import SYNC, Failed, Wire  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
POOL = 6
# What a client may be told when its backend is terminated, or when the administrator has closed its server.
LOST = {"57P01", "08006", "08007", "08P01", ""}


def say(text):
    print(f"soak: {text}", file=sys.stderr, flush=True)


class Wrong(Exception):
    """An answer that is somebody else's, or no answer at all."""


class Soak:
    def __init__(self, options, folder):
        self.options = options
        below = tempfile.mkdtemp(dir=folder)
        os.chmod(below, 0o755)
        self.postgres = Postgres(below, "max_connections=60", "log_min_messages=fatal")
        self.pooler = Pooler(folder, {"postgres": f"host=127.0.0.1 port={self.postgres.port}"}, '"postgres" ""\n"admin" ""\n', pool_mode="transaction",
                             default_pool_size=POOL, workers=options.workers, max_client_conn=500, max_prepared_statements=20, server_lifetime=45,
                             server_idle_timeout=20, server_login_retry=1, client_login_timeout=5, admin_users="admin", log_connections=0,
                             log_disconnections=0, log_pooler_errors=0, stats_period=10)
        self.lock = threading.Lock()
        self.counts = collections.Counter()  # what was done
        self.excused = collections.Counter()  # SQLSTATEs after terminations
        self.failures = []
        self.pause = 0.05  # between two actions of one client; the governor changes it
        self.quiet = threading.Event()  # everybody is to hold still
        self.go_on = threading.Event()
        self.go_on.set()
        self.resting = threading.Semaphore(0)
        self.over = False
        self.terminated_at = -100.0

    def fail(self, text):
        with self.lock:
            self.failures.append(text)
        say(f"FAILED: {text}")

    def did(self, what):
        with self.lock:
            self.counts[what] += 1

    def console(self, command):
        return console(self.pooler, command)


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


class Client(threading.Thread):
    """One client after another: each does a number of random things, then ends in a random way."""

    def __init__(self, soak, number):
        super().__init__(daemon=True)
        self.soak, self.number = soak, number
        self.random = random.Random(f"{soak.options.seed} {number}")
        self.serial = 0
        self.wire = None
        self.names = {}  # prepared statements of this connection
        self.actions = [(10, self.simple), (5, self.several), (8, self.extended), (14, self.prepared), (6, self.pipeline), (8, self.transaction),
                        (4, self.mistake), (4, self.copy_in), (4, self.copy_out), (3, self.large), (3, self.cancelled), (3, self.setting),
                        (2, self.slow_reader), (3, self.reconnect), (4, self.vanish), (1, self.library)]

    def tag(self):
        self.serial += 1
        return f"{self.number}-{self.serial}-{self.random.getrandbits(32):08x}"

    def run(self):
        weights, actions = zip(*self.actions)
        while not self.soak.over:
            if not self.soak.go_on.is_set():
                self.soak.resting.release()
                self.soak.go_on.wait()
            action = self.random.choices(actions, weights)[0]
            try:
                if self.wire is None:
                    self.connect()
                action()
                self.soak.did(action.__name__)
            except Failed as error:
                self.drop()
                # A server that was terminated, and nothing else, excuses the end of a connection.
                if error.sqlstate not in LOST or time.monotonic() - self.soak.terminated_at > 15:
                    self.soak.fail(f"client {self.number}, {action.__name__}: {error}")
                else:
                    with self.soak.lock:
                        self.soak.excused[error.sqlstate or "closed"] += 1
            except Exception as error:  # a wrong answer, a timeout, a broken message
                self.drop()
                self.soak.fail(f"client {self.number}, {action.__name__}: {type(error).__name__}: {error}")
            time.sleep(self.soak.pause * self.random.uniform(0.2, 1.8))
        self.drop()

    def connect(self):
        self.names = {}
        self.application = f"soak {self.number} {self.random.randrange(3)}"
        self.wire = Wire(self.soak.pooler.port, application_name=self.application)

    def drop(self):
        if self.wire is not None:
            self.wire.close()
        self.wire = None

    def expect(self, got, wanted):
        if got != wanted:
            raise Wrong(f"got {str(got)[:200]!r} instead of {str(wanted)[:200]!r}")

    def expect_failure(self, sqlstate, *messages):
        try:
            rows = self.wire.rows(*messages)
        except Failed as error:
            if error.sqlstate == sqlstate:
                return
            raise
        raise Wrong(f"got {rows!r} instead of {sqlstate}")

    # What a client does.

    def simple(self):
        tag = self.tag()
        self.expect(self.wire.sql(f"select '{tag}'"), [(tag,)])

    def several(self):
        tags = [self.tag() for _ in range(self.random.randrange(2, 6))]
        self.expect(self.wire.sql("; ".join(f"select '{tag}'" for tag in tags)), [(tag,) for tag in tags])

    def extended(self):
        tag, rows = self.tag(), self.random.randrange(0, 30)
        got = self.wire.rows(wire.parse("", "select $1 || n from generate_series(1, $2::int) n"), wire.bind("", tag, rows), wire.execute(), SYNC)
        self.expect(got, [(f"{tag}{n}",) for n in range(1, rows + 1)])

    def prepared(self):
        """Forty texts that all clients share, more than a server keeps, and one of the client's own."""
        number = self.random.randrange(41)
        own = number == 40
        name, tag = f"s{number}", self.tag()
        text = f"select $1 || ':{self.number if own else number}'"
        messages = []
        if name in self.names and self.random.random() < 0.1:
            messages.append(wire.close(name))
            del self.names[name]
        if name not in self.names:
            messages.append(wire.parse(name, text))
            self.names[name] = True
        try:
            got = self.wire.rows(*messages, wire.bind(name, tag), wire.execute(), SYNC)
        except Failed:
            self.names = {}
            raise
        self.expect(got, [(f"{tag}:{self.number if own else number}",)])

    def pipeline(self):
        """Sent at once, with a mistake in it now and then."""
        tags = [self.tag() for _ in range(self.random.randrange(5, 40))]
        bad = self.random.randrange(len(tags)) if self.random.random() < 0.3 else None
        messages, wanted = [], []
        for index, tag in enumerate(tags):
            text = "select $1 || 1/0" if index == bad else "select $1 || ''"
            messages += [wire.parse("", text), wire.bind("", tag), wire.execute(), SYNC]
            wanted.append("22012" if index == bad else tag)
        self.wire.send(*messages)
        got = []
        for _ in tags:
            found = self.wire.until("Z")
            errors = [wire.fields_of(body)["C"] for kind, body in found if kind == "E"]
            got.append(errors[0] if errors else next(wire.values_of(body)[0].decode() for kind, body in found if kind == "D"))
        self.expect(got, wanted)

    def transaction(self):
        """A commit that was answered is there, a rollback is not, and what is not known is one of both."""
        tag, commits = self.tag(), self.random.random() < 0.7
        ended = False
        try:
            self.wire.sql("begin")
            self.expect(self.wire.status, "T")
            self.wire.sql(f"insert into journal values ('{tag}')")
            self.wire.sql("create temp table if not exists mine (tag text) on commit drop")
            self.wire.sql(f"insert into mine values ('{tag}')")
            self.expect(self.wire.sql("select tag from mine"), [(tag,)])
            self.expect(self.wire.sql(f"select count(*) from journal where tag = '{tag}'"), [("1",)])
            ended = True
            self.wire.sql("commit" if commits else "rollback")
        except Failed as error:
            if error.sqlstate in LOST:
                self.drop()
                self.connect()
                there = self.wire.sql(f"select count(*) from journal where tag = '{tag}'") == [("1",)]
                # 57P01, and a connection that ends, say nothing about a COMMIT that was sent.
                if there and (not ended or not commits or error.sqlstate == "08006"):
                    raise Wrong(f"{error} for a transaction that was committed") from None
            raise
        self.expect(self.wire.status, "I")
        self.expect(self.wire.sql(f"select count(*) from journal where tag = '{tag}'"), [("1" if commits else "0",)])

    def mistake(self):
        how = self.random.randrange(5)
        if how == 0:
            self.expect_failure("42601", wire.query("no sql"))
        elif how == 1:
            self.expect_failure("26000", wire.bind("nobody", "x"), wire.execute(), SYNC)
        elif how == 2:
            self.wire.sql("begin")
            self.expect_failure("22012", wire.query("select 1/0"))
            self.expect_failure("25P02", wire.query("select 1"))
            self.wire.sql("rollback")
        elif how == 3:
            self.expect_failure("22012", wire.query(f"select '{self.tag()}'; select 1/0; select 2"))
        else:
            self.expect_failure("22P02", wire.parse("", "select $1::int"), wire.bind("", "one"), wire.execute(), SYNC)
        self.simple()

    def copy_in(self):
        tag, rows, bad = self.tag(), self.random.randrange(1, 2000), self.random.random() < 0.2
        self.wire.send(wire.query("copy copied from stdin"))
        self.wire.until("G", "Z")
        half = rows // 2
        self.wire.send(wire.data("".join(f"{tag}\t{n}\n" for n in range(half)).encode()))
        if bad:
            self.wire.send(wire.data(b"x\ty\n"))
        self.wire.send(wire.data("".join(f"{tag}\t{n}\n" for n in range(half, rows)).encode()), wire.COPY_DONE)
        try:
            self.wire.finish()
            self.expect(bad, False)
        except Failed as error:
            if not bad or error.sqlstate != "22P02":
                raise
        there = self.wire.sql(f"with gone as (delete from copied where tag = '{tag}' returning n) select * from gone order by n")
        self.expect(there, [] if bad else [(str(n),) for n in range(rows)])

    def copy_out(self):
        tag, rows = self.tag(), self.random.randrange(1, 3000)
        self.wire.send(wire.query(f"copy (select '{tag}', n from generate_series(1, {rows}) n) to stdout"))
        got = b"".join(body for kind, body in self.wire.finish() if kind == "d")
        self.expect(got, "".join(f"{tag}\t{n}\n" for n in range(1, rows + 1)).encode())

    def large(self):
        tag, times = self.tag(), self.random.randrange(1, 30_000)
        self.expect(self.wire.rows(wire.parse("", "select repeat($1, $2::int), $3::text"), wire.bind("", tag, times, tag * times), wire.execute(), SYNC),
                    [(tag * times, tag * times)])

    def cancelled(self):
        if self.random.random() < 0.3:
            self.wire.cancel()  # nothing runs: nothing happens
            return self.simple()
        tag = self.tag()
        self.wire.send(wire.query(f"select '{tag}', pg_sleep(5)"))
        time.sleep(self.random.choice([0, 0.01, 0.05]))
        self.wire.cancel()
        try:
            self.wire.finish()
            # A request that comes while the query waits for its turn ends it too; only before the query it is lost.
            self.soak.did("cancelled too early")
        except Failed as error:
            if error.sqlstate != "57014":
                raise
        self.simple()

    def setting(self):
        zone = self.random.choice(["UTC", "Asia/Tokyo", "Europe/Berlin", "America/New_York"])
        self.wire.sql(f"set timezone = '{zone}'")
        for _ in range(3):
            self.expect(self.wire.sql("select current_setting('timezone'), current_setting('application_name')"), [(zone, self.application)])
        self.expect(self.wire.parameters["TimeZone"], zone)

    def slow_reader(self):
        tag = self.tag()
        with Wire(self.soak.pooler.port, room=4096) as slow:
            slow.send(wire.query(f"select repeat('{tag}', 5000), n from generate_series(1, 10) n"))
            for _ in range(10):
                time.sleep(0.05)
                with contextlib.suppress(BlockingIOError):
                    slow.more(5000)
            self.expect([tuple(value.decode() for value in wire.values_of(body)) for kind, body in slow.finish() if kind == "D"],
                        [(tag * 5000, str(n)) for n in range(1, 11)])

    def reconnect(self):
        if self.random.random() < 0.5:
            self.wire.send(wire.TERMINATE)
        self.drop()

    def vanish(self):
        """Somebody goes away without a word, in whatever state."""
        state = self.random.randrange(9)
        other = Wire(self.soak.pooler.port, login=state > 1)
        try:
            if state == 1:
                other.send(wire.startup()[:20])
            elif state == 2:
                other.sql("begin")
            elif state == 3:
                other.send(wire.query("select pg_sleep(0.2)"))
            elif state == 4:
                other.send(wire.query("copy copied from stdin"), wire.data(b"nobody\t1\n"))
            elif state == 5:
                other.send(wire.query("copy (select repeat('x', 1000) from generate_series(1, 20000)) to stdout"))
                other.until("H")
            elif state == 6:
                other.send(wire.parse("gone", "select 1"), wire.bind("gone"), wire.execute())
            elif state == 7:
                other.send(wire.query("select repeat('x', 1000) from generate_series(1, 20000)"))
            elif state == 8:
                other.sql("begin")
                other.sql("create temp table if not exists left_over (n int)")
                other.send(wire.query("select 1")[:7])
            time.sleep(self.random.choice([0, 0, 0.02]))
        finally:
            other.reset() if self.random.random() < 0.5 else other.close()
        self.expect(self.wire.sql("select to_regclass('pg_temp.left_over')"), [(None,)])

    def library(self):
        tag = self.tag()
        try:
            with psycopg.connect(self.soak.pooler.conninfo(), autocommit=True, connect_timeout=20) as db:
                for _ in range(7):  # prepares it by itself at the sixth
                    self.expect(db.execute("select %s || %s::text", (tag, self.number)).fetchone(), (f"{tag}{self.number}",))
                with db.transaction():
                    db.execute("insert into journal values (%s)", (tag,))
                self.expect(db.execute("delete from journal where tag = %s returning tag", (tag,)).fetchone(), (tag,))
        except psycopg.Error as error:
            raise Failed(error.sqlstate or "", str(error)) from None


class Administrator(threading.Thread):
    """Every few seconds something that clients must not notice, or only by an honest error."""

    def __init__(self, soak):
        super().__init__(daemon=True)
        self.soak = soak
        self.random = random.Random(f"{soak.options.seed} administrator")

    def run(self):
        backends = "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"
        while not self.soak.over:
            self.soak.go_on.wait()
            action = self.random.choice(["reload", "reload", "pause", "reconnect", "terminate", "terminate one", "show"])
            try:
                if action == "reload":
                    if self.random.random() < 0.5:
                        self.soak.console("RELOAD")
                    else:
                        os.kill(self.soak.pooler.pid, signal.SIGHUP)
                elif action == "pause":
                    self.soak.console("PAUSE")
                    time.sleep(0.2)
                    self.soak.console("RESUME")
                elif action == "reconnect":
                    self.soak.console("RECONNECT")
                elif action == "show":
                    for table in ("POOLS", "CLIENTS", "SERVERS", "SOCKETS", "STATS", "TOTALS", "MEM", "LISTS"):
                        self.soak.console(f"SHOW {table}")
                else:
                    self.soak.terminated_at = time.monotonic()
                    most = "" if action == "terminate" else "limit 1"
                    with Wire(self.soak.postgres.port) as db:
                        db.sql(f"select pg_terminate_backend(pid) from ({backends} order by random() {most}) as victims")
                self.soak.did(action)
            except Exception as error:
                self.soak.fail(f"{action}: {type(error).__name__}: {error}")
            time.sleep(self.random.uniform(1, 6))


class Governor(threading.Thread):
    """Keeps the processor time of everybody together near --load."""

    def __init__(self, soak):
        super().__init__(daemon=True)
        self.soak = soak
        self.used = 0.0

    def spent(self):
        total = 0
        for process in [*processes.below(self.soak.pooler.folder), processes.read(os.getpid())]:
            with contextlib.suppress(OSError):
                fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
                # The postmaster's count of its children keeps what backends that have ended took.
                total += int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
        return total / TICKS

    def run(self):
        before, at = self.spent(), time.monotonic()
        while not self.soak.over:
            time.sleep(5)
            spent, now = self.spent(), time.monotonic()
            self.used = max(0.01, (spent - before) / (now - at))
            before, at = spent, now
            if self.soak.go_on.is_set():
                self.soak.pause = min(5.0, max(0.001, self.soak.pause * min(2.0, max(0.5, self.used / self.soak.options.load))))


def hold_still(soak, clients):
    """Everybody stops; what is there then has to be accounted for."""
    soak.go_on.clear()
    for _ in clients:
        if not soak.resting.acquire(timeout=90):
            soak.fail("a client does not come to rest within 90 s")
    problems = ["?"]
    deadline = time.monotonic() + 10
    while problems and time.monotonic() < deadline:
        time.sleep(0.2)
        problems = []
        here = sum(client.wire is not None for client in clients)
        try:
            shown = [row for row in soak.console("SHOW CLIENTS") if row["database"] != "pgbouncer"]
            servers = soak.console("SHOW SERVERS")
            pools = [row for row in soak.console("SHOW POOLS") if row["database"] != "pgbouncer"]
        except Exception as error:
            problems.append(f"the console: {error}")
            continue
        if len(shown) != here:
            problems.append(f"{len(shown)} clients are shown, {here} are there")
        for name, wanted in (("cl_active", here), ("cl_waiting", 0), ("sv_active", 0), ("sv_login", 0), ("sv_tested", 0), ("cl_waiting_cancel_req", 0),
                             ("cl_active_cancel_req", 0), ("sv_active_cancel", 0), ("sv_being_canceled", 0)):
            if (got := sum(int(row[name]) for row in pools)) != wanted:
                problems.append(f"{name} is {got} and not {wanted}")
        if len(servers) > POOL:
            problems.append(f"{len(servers)} servers in a pool of {POOL}")
        with Wire(soak.postgres.port) as db:
            backends = int(db.value("select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()"))
            open_blocks = db.value("select count(*) from pg_stat_activity where state like 'idle in transaction%'")
        if backends != len(servers):
            problems.append(f"PostgreSQL has {backends} backends, the pooler {len(servers)}")
        if open_blocks != "0":
            problems.append(f"{open_blocks} transactions are open")
        used = descriptors(soak.pooler.pid)
        if used > soak.descriptors_alone + here + len(servers):
            problems.append(f"{used} descriptors, {soak.descriptors_alone} of its own, {here} clients, {len(servers)} servers")
    for problem in problems:
        soak.fail(f"at rest: {problem}")
    memory = processes.memory_kib(soak.pooler.pid)["RssAnon"]
    soak.did("at rest")
    with Wire(soak.postgres.port) as db:
        db.sql("truncate journal; truncate copied")
    soak.go_on.set()
    return memory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--load", type=float, default=0.4)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--growth", type=int, default=4096)
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # ends what it has started, also when it runs in the background
        signal.signal(number, signal.default_int_handler)
    folder = tempfile.mkdtemp(prefix="pgdba-soak-")
    os.chmod(folder, 0o755)
    soak = Soak(options, folder)
    say(f"seed {options.seed}, {options.minutes:g} minutes, load {options.load:g}")
    try:
        soak.postgres.start()
        soak.pooler.start()
        with Wire(soak.postgres.port) as db:
            db.sql("create unlogged table journal (tag text primary key); create unlogged table copied (tag text, n int); create index on copied (tag)")
        soak.descriptors_alone = descriptors(soak.pooler.pid)
        clients = [Client(soak, number) for number in range(options.clients)]
        others = [Administrator(soak), Governor(soak)]
        began = time.monotonic()
        for thread in [*clients, *others]:
            thread.start()
        warm_until, end = began + options.minutes * 6, began + options.minutes * 60
        warm = memory = 0
        while time.monotonic() < end and soak.pooler.running() and len(soak.failures) < 50:
            time.sleep(min(30, max(1, end - time.monotonic())))
            memory = hold_still(soak, clients)
            if time.monotonic() < warm_until or warm == 0:
                warm = max(warm, memory)
            elif memory > warm + options.growth:
                soak.fail(f"RssAnon {memory} KiB, {warm} KiB after the warm-up")
            say(f"{(time.monotonic() - began) / 60:.1f} min: {sum(soak.counts.values())} actions, {len(soak.failures)} failures, RssAnon {memory} KiB "
                f"({warm} warm), load {others[1].used:.2f}, pause {soak.pause * 1000:.0f} ms, excused {dict(soak.excused)}")
        if not soak.pooler.running():
            soak.fail("the pooler has ended: " + soak.pooler.tail())
        soak.over = True
        for thread in clients:
            thread.join(60)
        others[0].join(30)
        for name, count in sorted(soak.counts.items()):
            say(f"{name}: {count}")
        print(f"RssAnon {warm} KiB after the warm-up, {memory} KiB at the end; excused after terminations: {dict(soak.excused)}")
    finally:
        soak.over = True
        soak.go_on.set()
        soak.pooler.stop()
        soak.postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{sum(soak.counts.values())} passed, {len(soak.failures)} failed")
    return 1 if soak.failures else 0


if __name__ == "__main__":
    sys.exit(main())
