"""The pooler under load and among those who behave badly: ten thousand idle clients, fifty for each server, slow readers and writers,
clients and servers that vanish in every state of the protocol."""
import collections
import contextlib
import resource
import select
import struct
import threading
import time

import pytest

from harness import wire
from harness.pooler import Pooler, console, open_folder, running_postgres
from harness.processes import memory_kib
from harness.proxy import TO_CLIENT, TO_SERVER, Proxy
from harness.waiting import stays, wait_until
from harness.wire import SYNC, Failed, Wire

HOWS = ["fin", "rst"]


@pytest.fixture(scope="module")
def postgres():
    with running_postgres() as server:
        for database in ("vanish", "cut"):
            server.sql(f"create database {database}")
            server.sql("create unlogged table copied (line text); create unlogged table written (n int)", database)
        yield server


@contextlib.contextmanager
def pooler_before(port, databases=None, wrap=(), **settings):
    with open_folder() as folder:
        pooler = Pooler(folder, databases or {"*": f"host=127.0.0.1 port={port}"}, '"postgres" ""\n"admin" ""\n"guarded" "secret"\n', wrap=wrap,
                        **{"pool_mode": "transaction", "admin_users": "admin", **settings})
        try:
            yield pooler.start()
            assert pooler.running(), pooler.logged()
        finally:
            pooler.stop()


def pools(pooler, *names):
    """These columns of SHOW POOLS, added up over its pools."""
    rows = [row for row in console(pooler, "SHOW POOLS") if row["database"] != "pgbouncer"]
    return tuple(sum(int(row[name]) for row in rows) for name in names)


@contextlib.contextmanager
def room_for_files(needed):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < needed:
        pytest.skip(f"the hard limit of open files is {hard}, this takes {needed}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def batches(everything, size):
    for at in range(0, len(everything), size):
        yield everything[at : at + size]


# Many clients.

class Active(threading.Thread):
    """A client that asks one thing after another, until it is told to stop."""

    def __init__(self, pooler, number):
        super().__init__(daemon=True)
        self.port, self.number, self.done, self.over, self.problem = pooler.port, number, 0, False, None
        self.start()

    def run(self):
        try:
            with Wire(self.port) as db:
                while not self.over:
                    assert db.sql(f"select {self.number}, {self.done}") == [(str(self.number), str(self.done))]
                    self.done += 1
        except Exception as error:
            self.problem = error


@contextlib.contextmanager
def active(pooler, count):
    clients = [Active(pooler, number) for number in range(count)]
    yield clients
    for client in clients:
        client.over = True
    for client in clients:
        client.join(30)
        assert client.problem is None, client.problem
        assert client.done > 0


def speed(clients, seconds):
    """Answers a second, of all of them."""
    before, began = sum(client.done for client in clients), time.monotonic()
    time.sleep(seconds)
    return (sum(client.done for client in clients) - before) / (time.monotonic() - began)


def test_ten_thousand_idle_clients(postgres):
    """It raises its own soft limit; whoever is active notices nothing of those who are not."""
    count = 10_000
    with contextlib.ExitStack() as stack:
        stack.enter_context(room_for_files(count + 500))
        limits = f"--nofile=1024:{resource.getrlimit(resource.RLIMIT_NOFILE)[1]}"
        pooler = stack.enter_context(pooler_before(postgres.port, wrap=["prlimit", limits], max_client_conn=12000, listen_backlog=2048, log_connections=0))
        clients = stack.enter_context(active(pooler, 8))
        wait_until("the active ones are in", 20, lambda: all(client.done for client in clients))
        alone = speed(clients, 2)
        before = memory_kib(pooler.pid)["RssAnon"]
        held = []
        for batch in batches(range(count), 250):
            fresh = [stack.enter_context(Wire(pooler.port, login=False)) for _ in batch]
            for client in fresh:
                client.send(wire.startup())
            for client in fresh:
                client.finish()
            held += fresh
        beside = max(speed(clients, 1) for _ in range(3))
        grown = (memory_kib(pooler.pid)["RssAnon"] - before) * 1024 / count
        print(f"\n{count} idle clients: {grown:.0f} bytes of RssAnon each; 8 active ones: {alone:.0f} answers/s before, {beside:.0f} beside them")
        assert grown < 2000
        assert beside > alone / 5  # the machine does other things, too
        assert pools(pooler, "cl_active", "cl_waiting")[0] >= count
        for batch in batches(held, 500):
            for number, client in enumerate(batch):
                client.send(wire.query(f"select {number}"))
            for number, client in enumerate(batch):
                assert [wire.values_of(body) for kind, body in client.finish() if kind == "D"] == [[str(number).encode()]]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_thousand_clients_on_twenty_servers(postgres, workers):
    """First come, first served: nobody is served twice while another one waits; the console tells the truth meanwhile."""
    count, pool = 1000, 20
    with contextlib.ExitStack() as stack:
        stack.enter_context(room_for_files(count + 500))
        pooler = stack.enter_context(pooler_before(postgres.port, max_client_conn=2000, listen_backlog=2048, log_connections=0, workers=workers,
                                                   default_pool_size=pool))
        poll, clients = select.epoll(), {}
        for _ in range(count):
            client = stack.enter_context(Wire(pooler.port))
            clients[client.socket.fileno()] = client
            poll.register(client.socket, select.EPOLLIN)
        served, seen = collections.Counter(), []
        request = wire.query("select pg_sleep(0.002)")

        def go_round(until, again):
            """Reads what comes; whoever is answered asks again at once."""
            while time.monotonic() < until and (again or sum(served.values()) < asked[0]):
                for fd, _ in poll.poll(0.1):
                    client = clients[fd]
                    client.more()
                    if client.received.endswith(b"Z\0\0\0\5I"):
                        assert b"E" != client.received[:1], client.received
                        client.received.clear()
                        served[fd] += 1
                        if again:
                            client.send(request)
                            asked[0] += 1

        asked = [count]
        for client in clients.values():
            client.send(request)
        columns = "cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_login"
        shower = threading.Thread(target=lambda: seen.extend(pools(pooler, *columns) for _ in range(20)))
        go_round(time.monotonic() + 1, True)
        shower.start()
        go_round(time.monotonic() + 4, True)
        shower.join(30)
        go_round(time.monotonic() + 60, False)
        counts = [served[fd] for fd in clients]
        waiting, lent = ([row[column] for row in seen] for column in (1, 2))
        print(f"\n{workers} workers: {sum(counts)} answers, {min(counts)} to {max(counts)} for each client; waiting {min(waiting)} to {max(waiting)}, "
              f"servers lent {min(lent)} to {max(lent)}")
        assert sum(counts) == asked[0] and min(counts) >= 2
        # With two workers each has a queue of its own, and servers move between them one by one.
        assert max(counts) - min(counts) <= (2 if workers == 1 else max(3, max(counts) // 2))
        assert len(seen) == 20
        for cl_active, cl_waiting, sv_active, sv_idle, sv_login in seen:
            assert cl_active + cl_waiting == count and cl_active >= sv_active
            assert sv_active + sv_idle + sv_login <= pool
        assert any(row[1] > count - 2 * pool for row in seen)
        wait_until("nobody waits", 10, lambda: pools(pooler, "cl_active", "cl_waiting", "sv_active", "sv_idle") == (count, 0, 0, pool))


# Slow ones.

LARGE = "select n, repeat('x', 1000) from generate_series(1, 50000) n"


def test_slow_readers_cost_nobody_else_anything(postgres):
    with contextlib.ExitStack() as stack:
        pooler = stack.enter_context(pooler_before(postgres.port, default_pool_size=4))
        clients = stack.enter_context(active(pooler, 6))
        wait_until("the active ones are in", 20, lambda: all(client.done for client in clients))
        before = memory_kib(pooler.pid)["RssAnon"]
        slow, never = (stack.enter_context(Wire(pooler.port, room=4096)) for _ in range(2))
        slow.send(wire.query(LARGE))
        never.send(wire.query(LARGE))
        wait_until("both have their servers", 10, lambda: pools(pooler, "sv_active")[0] >= 2)
        highest, done = before, [client.done for client in clients]
        for _ in range(30):
            time.sleep(0.1)
            slow.more(500)
            highest = max(highest, memory_kib(pooler.pid)["RssAnon"])
        assert all(client.done > then + 20 for client, then in zip(clients, done))
        print(f"\n50 MB for a slow reader and for one that never reads: RssAnon {before} KiB before, {highest} KiB at most")
        assert highest - before < 4096
        for client in clients:
            client.over = True
        # Each holds its own server and nothing else.
        wait_until("two servers are lent", 10, lambda: pools(pooler, "sv_active", "cl_waiting") == (2, 0))
        # Somebody slow gets everything nevertheless.
        rows = [wire.values_of(body)[0] for kind, body in slow.finish() if kind == "D"]
        assert rows == [str(n).encode() for n in range(1, 50_001)]
        never.reset()
        wait_until("all are free", 10, lambda: pools(pooler, "sv_active", "cl_waiting") == (0, 0))


def test_slow_writers_cost_nobody_else_anything(postgres):
    with contextlib.ExitStack() as stack:
        pooler = stack.enter_context(pooler_before(postgres.port, default_pool_size=2, client_login_timeout=2, max_client_conn=40))
        clients = stack.enter_context(active(pooler, 4))
        wait_until("the active ones are in", 20, lambda: all(client.done for client in clients))
        before = memory_kib(pooler.pid)["RssAnon"]
        # More halves of a startup packet than clients are allowed: who is not in yet takes nobody's place.
        halves = [stack.enter_context(Wire(pooler.port, login=False)) for _ in range(200)]
        for each in halves:
            each.send(wire.startup()[:11])
        half_parses = [stack.enter_context(Wire(pooler.port)) for _ in range(8)]
        for each in half_parses:
            each.send(wire.parse("", "select 'what comes of half a message'")[:20])
        bytewise = stack.enter_context(Wire(pooler.port))
        message = wire.parse("byte", "select $1 || 'wise'") + wire.bind("byte", "byte by byte, ") + wire.execute() + SYNC
        done = [client.done for client in clients]
        for at in range(len(message)):
            bytewise.send(message[at : at + 1])
            time.sleep(0.01)
        assert [wire.values_of(body) for kind, body in bytewise.finish() if kind == "D"] == [[b"byte by byte, wise"]]
        assert all(client.done > then + 20 for client, then in zip(clients, done))
        assert memory_kib(pooler.pid)["RssAnon"] - before < 4096
        for client in clients:
            client.over = True
        # Half a message holds no server.
        wait_until("no server is lent", 10, lambda: pools(pooler, "sv_active", "cl_waiting") == (0, 0))
        for each in half_parses:
            each.send(wire.parse("", "select 'what comes of half a message'")[20:], wire.bind(""), wire.execute(), SYNC)
            assert [wire.values_of(body) for kind, body in each.finish() if kind == "D"] == [[b"what comes of half a message"]]
        for each in halves:  # the login has a time limit, and there is room for so many only
            with pytest.raises(Failed, match="client_login_timeout|closed|have not logged in"):
                each.finish()


# Clients that vanish.

def before_startup(port, database, stack):
    return Wire(port, login=False)


def half_startup(port, database, stack):
    gone = Wire(port, login=False)
    gone.send(wire.startup(database=database)[:13])
    return gone


def asked_for_tls(port, database, stack):
    gone = Wire(port, login=False)
    gone.send(wire.SSL_REQUEST)
    assert gone.socket.recv(1) == b"N"
    return gone


def asked_for_proof(port, database, stack):
    gone = Wire(port, login=False)
    gone.send(wire.startup("guarded", database))
    assert gone.until("R")[-1][1][:4] == struct.pack("!i", 10)
    return gone


def half_scram(port, database, stack):
    gone = asked_for_proof(port, database, stack)
    first = b"n,,n=,r=0123456789abcdefghij"
    gone.send(wire.message(b"p", wire.text("SCRAM-SHA-256") + struct.pack("!i", len(first)) + first))
    assert gone.until("R")[-1][1][:4] == struct.pack("!i", 11)
    return gone


def logged_in(port, database, stack):
    return Wire(port, database=database)


def idle_in_transaction(port, database, stack):
    gone = Wire(port, database=database)
    gone.sql("begin; create temp table left_over (n int); set local work_mem = '1234kB'; insert into written values (1)")
    assert gone.status == "T"
    return gone


def in_failed_transaction(port, database, stack):
    gone = idle_in_transaction(port, database, stack)
    gone.send(wire.query("select 1/0"))
    gone.until("Z")
    assert gone.status == "E"
    return gone


def running(port, database, stack):
    gone = Wire(port, database=database)
    gone.sql("begin")
    gone.send(wire.query("insert into written select 1 from (select pg_sleep(0.5)) as later"))
    return gone


def in_copy_in(port, database, stack):
    gone = Wire(port, database=database)
    gone.send(wire.query("copy copied from stdin"))
    gone.until("G")
    gone.send(wire.data(b"one\n"), wire.data(b"half of the second")[:9])
    return gone


def in_copy_out(port, database, stack):
    gone = Wire(port, database=database, room=4096)
    gone.send(wire.query(f"copy ({LARGE}) to stdout"))
    gone.until("d")
    return gone


def between_parse_and_sync(port, database, stack):
    gone = Wire(port, database=database)
    gone.send(wire.parse("named", "insert into written values ($1::int)"), wire.bind("named", 1), wire.execute(), wire.FLUSH)
    gone.until("C")
    return gone


def half_parse(port, database, stack):
    gone = Wire(port, database=database)
    gone.send(wire.parse("named", "select 1"), wire.parse("half", "select " + "1" * 50_000)[:20_000])
    return gone


def unread_results(port, database, stack):
    gone = Wire(port, database=database, room=4096)
    gone.send(wire.query(LARGE))
    gone.until("D")
    return gone


def unread_answer(port, database, stack):
    gone = Wire(port, database=database)
    gone.send(*[wire.query("select 1")] * 100)
    select.select([gone.socket], [], [], 10)
    return gone


STATES = [before_startup, half_startup, asked_for_tls, asked_for_proof, half_scram, logged_in, idle_in_transaction, in_failed_transaction, running,
          in_copy_in, in_copy_out, between_parse_and_sync, half_parse, unread_results, unread_answer]


@pytest.fixture(scope="module")
def two_servers(postgres):
    """A pool of two in transaction mode, and one in session mode."""
    target = f"host=127.0.0.1 port={postgres.port} dbname=vanish pool_size=2"
    with open_folder() as rules:
        path = f"{rules}/hba"
        with open(path, "w") as file:
            file.write("host all guarded all scram-sha-256\nhost all all all trust\n")
        with pooler_before(postgres.port, {"transactions": f"{target} pool_mode=transaction", "sessions": f"{target} pool_mode=session"}, auth_type="hba",
                           auth_hba_file=path) as pooler:
            yield pooler


def whole(pooler, postgres, database):
    """Nobody is there who should not be, and nothing is lent."""
    shown = [row for row in console(pooler, "SHOW CLIENTS") if row["database"] != "pgbouncer"]
    servers = console(pooler, "SHOW SERVERS")
    backends = postgres.sql(f"select pid, state from pg_stat_activity where datname = '{database}' order by pid")
    names = ("cl_active", "cl_waiting", "cl_active_cancel_req", "cl_waiting_cancel_req", "sv_active", "sv_active_cancel", "sv_being_canceled", "sv_tested",
             "sv_login")
    return (not shown and not any(pools(pooler, *names)) and all(row["state"] in ("idle", "used") for row in servers)
            and sorted(int(row["remote_pid"]) for row in servers) == [pid for pid, _ in backends] and all(state == "idle" for _, state in backends))


def prove_clean(pooler, database):
    """Both servers: nothing of whoever had them before."""
    with Wire(pooler.port, database=database) as one, Wire(pooler.port, database=database) as two:
        for db in (one, two):
            assert db.value("select 1") == "1" and db.status == "I"
            db.sql("begin")
            assert db.value("select to_regclass('pg_temp.left_over')") is None
            assert db.value("show work_mem") == "4MB"
            assert db.value("select count(*) from written") == "0"
            assert db.value("select count(*) from copied") == "0"
        for db in (one, two):
            db.sql("rollback")
            db.send(wire.query("copy copied from stdin"))
            db.until("G")
            db.send(wire.data(b"row\n"), wire.message(b"f", wire.text("no")))
            with pytest.raises(Failed, match="57014"):
                db.finish()
            assert db.rows(wire.parse("named", "select $1 || ''"), wire.bind("named", "same"), wire.execute(), SYNC) == [("same",)]
            db.send(wire.TERMINATE)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("state", STATES, ids=lambda state: state.__name__)
def test_a_client_vanishes(two_servers, postgres, state, how):
    for database in ("transactions", "sessions"):
        for _ in range(2):
            with contextlib.ExitStack() as stack:
                gone = state(two_servers.port, database, stack)
                gone.close() if how == "fin" else gone.reset()
            wait_until("the pool is whole", 10, lambda: whole(two_servers, postgres, "vanish"))
        prove_clean(two_servers, database)
        wait_until("the pool is whole", 10, lambda: whole(two_servers, postgres, "vanish"))


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("waits", [True, False], ids=["that waits", "at once"])
def test_a_client_vanishes_from_the_queue(two_servers, postgres, how, waits):
    """Lost once: who went away right behind its query was waited for, and the query run."""
    for database in ("transactions", "sessions"):
        with Wire(two_servers.port, database=database) as one, Wire(two_servers.port, database=database) as two:
            for db in (one, two):
                db.sql("begin")
            for _ in range(5):
                gone = Wire(two_servers.port, database=database)
                gone.send(wire.query("insert into written values (1)"))
                if waits:
                    wait_until("it is in the queue", 10, lambda: pools(two_servers, "cl_waiting") == (1,))
                gone.close() if how == "fin" else gone.reset()
            wait_until("it is in the queue no more", 10, lambda: pools(two_servers, "cl_waiting", "cl_active", "sv_active") == (0, 2, 2))
            for db in (one, two):
                db.sql("rollback")
                db.send(wire.TERMINATE)
        prove_clean(two_servers, database)
    wait_until("the pool is whole", 10, lambda: whole(two_servers, postgres, "vanish"))


# Servers that vanish.

class Cut:
    """A pooler whose way to PostgreSQL may be cut."""

    def __init__(self, pooler, proxy):
        self.pooler, self.proxy = pooler, proxy

    def connect(self, **more):
        return Wire(self.pooler.port, database="cut", **more)

    def fails(self, client, sqlstates, *messages):
        """It is told one of these, and no answer that looks like success; "": the connection ends in the middle of a message."""
        with pytest.raises(Failed) as caught:
            client.send(*messages)
            client.finish()
        assert caught.value.sqlstate in sqlstates, caught.value
        with pytest.raises(Failed):
            client.more()


@pytest.fixture(scope="module")
def cut(postgres):
    proxy = Proxy(postgres.port)
    with pooler_before(proxy.port, {"cut": f"host=127.0.0.1 port={proxy.port}"}, default_pool_size=2, server_login_retry=0.5,
                       tcp_socket_buffer=131072) as pooler:
        yield Cut(pooler, proxy)
    proxy.stop()


def during_login(cut, how):
    """Whoever waits goes on waiting: nothing of what it asked has been sent."""
    console(cut.pooler, "RECONNECT")
    wait_until("no server is left", 10, lambda: not console(cut.pooler, "SHOW SERVERS"))
    trap = cut.proxy.set(TO_CLIENT, b"server_version", how)
    with cut.connect() as db:
        assert db.value("select 1") == "1"
    assert trap.sprung.is_set()


def idle_in_pool(cut, how):
    with cut.connect() as db:
        assert db.value("select 1") == "1"
        cut.proxy.cut(how)
        wait_until("it is gone", 10, lambda: not console(cut.pooler, "SHOW SERVERS"))
        assert db.value("select 2") == "2"


def in_transaction(cut, how):
    with cut.connect() as db:
        db.sql("begin; insert into written values (1)")
        cut.proxy.cut(how)
        cut.fails(db, ["08006"], wire.query("insert into written values (1)"))


def before_the_answer(cut, how):
    with cut.connect() as db:
        cut.proxy.set(TO_CLIENT, b"T\0\0\0", how)
        cut.fails(db, ["08007"], wire.query("select 'an answer'"))


def between_rows(cut, how):
    with cut.connect() as db:
        db.sql("begin")
        cut.proxy.set(TO_CLIENT, b"D\0\0\0\x15\0\x01\0\0\0\x0bxxxxxxxxx40", how)
        cut.fails(db, ["08006"], wire.query("select repeat('x', 9) || n from generate_series(10, 99) n"))


def in_the_middle_of_a_row(cut, how):
    """What follows would be taken for the rest of the row: it just ends."""
    with cut.connect() as db:
        cut.proxy.set(TO_CLIENT, b"xxxx", how, 2)
        cut.fails(db, [""], wire.query("select repeat('x', 100000)"))


def commit_sent(cut, how):
    with cut.connect() as db:
        db.sql("begin; insert into written values (1)")
        trap = cut.proxy.set(TO_CLIENT, b"COMMIT\0", how)
        cut.fails(db, ["08007"], wire.query("commit"))
        assert trap.sprung.is_set()
    with cut.connect() as db:  # it was committed indeed
        assert db.sql("delete from written returning n") == [("1",)]


def commit_tag_seen(cut, how):
    """The tag has come and ReadyForQuery has not: the client may take it for success, and it is one."""
    with cut.connect() as db:
        db.sql("begin; insert into written values (1)")
        cut.proxy.set(TO_CLIENT, b"C\0\0\0\x0bCOMMIT\0", how, 12)
        cut.fails(db, ["08007"], wire.query("commit"))
    with cut.connect() as db:
        assert db.sql("delete from written returning n") == [("1",)]


def commit_never_arrives(cut, how):
    with cut.connect() as db:
        db.sql("begin; insert into written values (1)")
        cut.proxy.set(TO_SERVER, b"commit\0", how)
        cut.fails(db, ["08007"], wire.query("commit"))


def behind_the_answer(cut, how):
    """A whole answer is no error, whatever becomes of the server behind it."""
    with cut.connect() as db:
        cut.proxy.set(TO_CLIENT, b"Z\0\0\0\5I", how, 6)
        pid = db.value("select pg_backend_pid()")
        wait_until("it is gone", 10, lambda: pid not in [row["remote_pid"] for row in console(cut.pooler, "SHOW SERVERS")])
        assert db.value("select 'and'") == "and"


def in_copy_from(cut, how):
    with cut.connect() as db:
        db.send(wire.query("copy copied from stdin"))
        db.until("G")
        cut.proxy.set(TO_SERVER, b"cut here", how, 4)
        cut.fails(db, ["08007"], wire.data(b"one\n"), wire.data(b"cut here\n"), wire.COPY_DONE)


def in_copy_from_in_a_block(cut, how):
    with cut.connect() as db:
        db.sql("begin")
        db.send(wire.query("copy copied from stdin"))
        db.until("G")
        cut.proxy.set(TO_SERVER, b"cut here", how, 4)
        cut.fails(db, ["08006"], wire.data(b"one\n"), wire.data(b"cut here\n"), wire.COPY_DONE)


def in_copy_to(cut, how):
    with cut.connect() as db:
        cut.proxy.set(TO_CLIENT, b"d\0\0\0\x0a54321\n", how)
        # RST overtakes what is on its way, so that it may come in the middle of a line.
        cut.fails(db, ["08007"] if how == "fin" else ["08007", ""], wire.query("copy (select generate_series(1, 99999)) to stdout"))


def between_parse_and_sync_of_a_server(cut, how):
    with cut.connect() as db:
        db.send(wire.parse("named", "insert into written values ($1::int)"), wire.bind("named", 1), wire.execute(), wire.FLUSH)
        db.until("C")
        cut.proxy.cut(how)
        cut.fails(db, ["08007"], SYNC)


def while_others_wait(cut, how):
    """The next in the queue gets a new server."""
    with cut.connect() as one, cut.connect() as two, cut.connect() as three:
        one.sql("begin")
        two.sql("begin")
        three.send(wire.query("select 'patience'"))
        wait_until("it waits", 10, lambda: pools(cut.pooler, "cl_waiting") == (1,))
        cut.proxy.cut(how)
        assert three.finish()[-1][0] == "Z"
        cut.fails(one, ["08006"])
        cut.fails(two, ["08006"])


CUTS = [during_login, idle_in_pool, in_transaction, before_the_answer, between_rows, in_the_middle_of_a_row, commit_sent, commit_tag_seen,
        commit_never_arrives, behind_the_answer, in_copy_from, in_copy_from_in_a_block, in_copy_to, between_parse_and_sync_of_a_server, while_others_wait]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("state", CUTS, ids=lambda state: state.__name__)
def test_a_server_vanishes(cut, postgres, state, how):
    try:
        state(cut, how)
    finally:
        cut.proxy.trap = None
    wait_until("the pool is whole", 10, lambda: whole(cut.pooler, postgres, "cut"))
    prove_clean(cut.pooler, "cut")


@pytest.mark.parametrize("kilobytes", range(200, 1500, 100))
def test_a_server_vanishes_behind_an_answer_that_is_read_slowly(cut, kilobytes):
    """Lost once: the rest of an answer lay in the socket while the client was slow, and the server's end was seen first."""
    with cut.connect(room=4096) as db:
        pid = db.value("select pg_backend_pid()")  # a server is there: its login is not what is cut
        trap = cut.proxy.set(TO_CLIENT, b"Z\0\0\0\5I", "fin", 6)
        db.send(wire.query(f"select repeat('x', 1000) from generate_series(1, {kilobytes})"))
        trap.sprung.wait(0.3)  # the larger ones do not get that far before the client reads
        stays("the client hears of no end", 0.2, lambda: not select.select([db.socket], [], [], 0)[2])
        assert sum(kind == "D" for kind, _ in db.finish()) == kilobytes
        assert trap.sprung.is_set()
        wait_until("it is gone", 10, lambda: pid not in [row["remote_pid"] for row in console(cut.pooler, "SHOW SERVERS")])
        assert db.value("select 'and on'") == "and on"


def test_a_backend_is_terminated(cut, postgres):
    with cut.connect() as busy, cut.connect() as idle:
        idle.sql("select 1")
        busy.sql("begin")
        pid = busy.value("select pg_backend_pid()")
        postgres.sql(f"select pg_terminate_backend({pid})")
        cut.fails(busy, ["57P01"])
        assert idle.value("select 1") == "1"
