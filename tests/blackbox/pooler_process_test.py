"""The process around the pooler: its command line, signals, reload, daemon mode, what it leaves behind and what it finds."""
import contextlib
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

import psycopg
import pytest

from harness import ports, wire
from harness.cluster import PROGRAM
from harness.pooler import USER, Pooler, open_folder, running_postgres
from harness.processes import cpu_seconds
from harness.waiting import stays, wait_until
from harness.wire import Failed, Wire


@pytest.fixture(scope="module")
def postgres():
    """The port of a PostgreSQL of this file's own."""
    with running_postgres() as server:
        server.sql("create role app login")
        server.sql("create database other")
        yield server.port


def users(*names):
    return "".join(f'"{name}" "secret"\n' for name in names)


class Process(Pooler):
    """With a unix socket, a pid file and a log file of its own; what it prints beside that is in its folder, too."""

    def __init__(self, folder, postgres, name="p"):
        self.pid_file = f"{folder}/{name}.pid"
        target = f"host=127.0.0.1 port={postgres}"
        super().__init__(folder, {"postgres": target, "other": target}, users("postgres", "app"), name, unix_socket_dir=folder,
                         logfile=f"{folder}/{name}.logfile", pidfile=self.pid_file, pool_mode="transaction", admin_users="postgres")
        self.socket = f"{folder}/.s.PGSQL.{self.port}"
        self.printed, self.log = self.log, f"{folder}/{name}.logfile"

    def start(self, *options, **popen):
        return self.begin([PROGRAM, "pooler", "-q", *options, self.file], **popen)

    def begin(self, command, **popen):
        with open(self.printed, "ab") as out:
            self.child = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=out, **popen)
        wait_until("process up", 10, lambda: "process up:" in self.logged() or not self.running())
        assert self.running(), pathlib.Path(self.printed).read_text()
        return self


@pytest.fixture
def pooler(postgres):
    with open_folder() as folder:
        made = Process(folder, postgres)
        yield made
        made.stop()


# The command line.

def test_help_and_version(pooler):
    done = pooler.run("--help")
    assert done.returncode == 0 and "-d, --daemon" in done.stdout and "[databases]" in done.stdout and done.stderr == ""
    done = pooler.run("-V")
    assert done.returncode == 0 and re.match(r"PgBouncer 1\.2\d\.\d", done.stdout)


@pytest.mark.parametrize("options, part", [
    ([], "no configuration file"), (["-x", "f"], "-x"), (["--deamon", "f"], "--deamon"), (["a", "b"], "a, b"), (["-R", "f"], "so_reuseport"),
    (["/nonexistent/p.ini"], "/nonexistent/p.ini")])
def test_mistakes_on_the_command_line(pooler, options, part):
    done = pooler.run(*options)
    assert done.returncode == 1 and part in done.stderr and done.stdout == "", done


@pytest.mark.parametrize("changes, part", [
    ({"pool_mode": "sometimes"}, 'invalid value "sometimes" for parameter pool_mode in configuration (FILE:'),
    ({"pool_moed": "session"}, "did you mean pool_mode"), ({"auth_type": "any"}, "auth_type=any needs a user="),
    ({"auth_type": "hba"}, "auth_type=hba needs auth_hba_file"), ({"auth_file": "/nonexistent/u"}, "/nonexistent/u"),
    ({"cluster_dcs": "etcd://127.0.0.1:1"}, "cluster_scope"), ({"listen_addr": "", "unix_socket_dir": ""}, "nothing to listen on"),
    ({"listen_addr": "192.0.2.1"}, "192.0.2.1"), ({"unix_socket_group": "no-such-group"}, "no-such-group"),
    ({"unix_socket_dir": "/nonexistent"}, "/nonexistent"), ({"logfile": "/nonexistent/l"}, "/nonexistent/l")])
def test_mistakes_in_the_file(pooler, changes, part):
    pooler.write(**changes)
    done = pooler.run(pooler.file)
    assert done.returncode == 1 and part.replace("FILE", pooler.file) in done.stderr, done
    assert not os.path.exists(pooler.pid_file) and not os.path.exists(pooler.socket)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root(pooler):
    pooler.write(user=None)
    done = pooler.run(pooler.file)
    assert done.returncode == 1 and "PgBouncer should not run as root" in done.stderr
    done = pooler.run("-u", "root", pooler.file)
    assert done.returncode == 1 and "PgBouncer should not run as root" in done.stderr
    done = pooler.run("-u", "no-such-user", pooler.file)
    assert done.returncode == 1 and "no-such-user" in done.stderr
    pooler.start("-u", USER)
    status = pathlib.Path(f"/proc/{pooler.pid}/status").read_text()
    assert not re.search(r"^[UG]id:.*\b0\b", status, re.M), status
    assert pathlib.Path(pooler.socket).owner() == USER and pathlib.Path(pooler.log).owner() == USER
    pooler.send(signal.SIGTERM)
    assert pooler.ended() == 0 and not os.path.exists(pooler.socket)


# The log, the socket, systemd.

def test_log_lines_and_the_unix_socket(pooler):
    pooler.write(unix_socket_mode="0750", stats_period=1)
    pooler.start("-v")
    assert stat.S_IMODE(os.stat(pooler.socket).st_mode) == 0o750
    assert pooler.value() == 1 and pooler.value(host=pooler.folder) == 1
    with pytest.raises(psycopg.OperationalError):
        pooler.connect("nowhere")
    head = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \w+ \[%d\] " % pooler.pid
    for line in (r"LOG kernel file descriptor limit: \d+ \(hard: \d+\); max_client_conn: 100, max expected fd use: \d+", r"LOG process up: PgBouncer 1\.",
                 r"LOG listening on 127\.0\.0\.1:%d" % pooler.port, r"LOG listening on unix:",
                 r"LOG C-0x[0-9a-f]+: postgres/postgres@127\.0\.0\.1:\d+ login attempt: db=postgres user=postgres tls=no replication=no",
                 r"LOG C-0x[0-9a-f]+: postgres/postgres@unix\(%d\) login attempt" % os.getpid(),
                 r"LOG C-0x[0-9a-f]+: postgres/postgres@127\.0\.0\.1:\d+ closing because: client close request \(age=\d+s\)",
                 r"LOG S-0x[0-9a-f]+: postgres/postgres@127\.0\.0\.1:\d+ new connection to server \(from 127\.0\.0\.1:\d+\)",
                 r"WARNING C-0x[0-9a-f]+: nowhere/postgres@127\.0\.0\.1:\d+ pooler error: no such database: nowhere",
                 r"LOG stats: \d+ xacts/s, \d+ queries/s, .* wait \d+ us"):
        pooler.wait_logged("(?m)^" + head + line)
    assert not re.search(r"(?m)^(?!%s)." % head, pooler.logged()), pooler.logged()


def test_quiet_connections(pooler):
    pooler.write(log_connections=0, log_disconnections=0, log_pooler_errors=0)
    pooler.start()
    assert pooler.value() == 1
    with pytest.raises(psycopg.OperationalError):
        pooler.connect("nowhere")
    pooler.send(signal.SIGQUIT)
    assert pooler.ended() == 0
    assert not re.search("login attempt|new connection|closing because|pooler error", pooler.logged()), pooler.logged()


def test_systemd(pooler):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard, socket.socket() as listener:
        heard.bind(f"{pooler.folder}/notify")
        os.chmod(f"{pooler.folder}/notify", 0o777)
        heard.settimeout(5)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        environment = {**os.environ, "NOTIFY_SOCKET": f"{pooler.folder}/notify", "LISTEN_FDS": "1"}
        # It becomes the pooler, and so knows its number beforehand.
        starter = ("import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
                   "os.execv(sys.argv[2], sys.argv[2:])")
        pooler.begin([sys.executable, "-c", starter, str(listener.fileno()), PROGRAM, "pooler", "-q", pooler.file], env=environment,
                     pass_fds=[listener.fileno()])
        assert heard.recv(1000) == b"READY=1"
        assert not os.path.exists(pooler.socket)  # what systemd has opened is all
        with psycopg.connect(host="127.0.0.1", port=listener.getsockname()[1], user="postgres", dbname="postgres", connect_timeout=5) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        pooler.send(signal.SIGHUP)
        assert heard.recv(1000).startswith(b"RELOADING=1\nMONOTONIC_USEC=") and heard.recv(1000) == b"READY=1"
        pooler.send(signal.SIGTERM)
        assert heard.recv(1000) == b"STOPPING=1" and pooler.ended() == 0


# The pid file, daemon mode, and what a killed process leaves.

def test_daemon(pooler):
    for missing, part in (("pidfile", "pidfile"), ("logfile", "logfile")):
        kept = pooler.settings[missing]
        pooler.write(**{missing: None})
        done = pooler.run("-d", pooler.file)
        assert done.returncode == 1 and part in done.stderr, done
        pooler.write(**{missing: kept})
    done = pooler.run("-d", pooler.file)
    assert done.returncode == 0, done
    pid = int(pathlib.Path(pooler.pid_file).read_text())  # it is up when the command returns
    try:
        assert pooler.value() == 1
        assert os.getsid(pid) not in (os.getsid(0), pid) and os.readlink(f"/proc/{pid}/fd/2") == "/dev/null"
        again = pooler.run("-d", pooler.file)
        assert again.returncode == 1 and "another instance running?" in again.stderr
        assert int(pathlib.Path(pooler.pid_file).read_text()) == pid
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until("the end", 5, lambda: not os.path.exists(f"/proc/{pid}") or "Z" in pathlib.Path(f"/proc/{pid}/stat").read_text().split(")")[1][:3])
    assert not os.path.exists(pooler.pid_file) and not os.path.exists(pooler.socket)


def test_daemon_that_cannot_start(pooler):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", pooler.port))
        taken.listen()
        done = pooler.run("-d", pooler.file)
    assert done.returncode == 1 and "Address already in use" in done.stderr, done
    assert not os.path.exists(pooler.pid_file)


def test_kill_and_start_again(pooler):
    pooler.start()
    pooler.kill()
    assert os.path.exists(pooler.socket) and os.path.exists(pooler.pid_file)
    os.unlink(pooler.log)
    pooler.start()
    assert pooler.value(host=pooler.folder) == 1
    pooler.settings["pidfile"] = None
    pooler.write(listen_addr="")
    second = pooler.run(pooler.file)
    assert second.returncode == 1 and "unix socket is in use, cannot continue" in second.stderr
    assert pooler.value(host=pooler.folder) == 1  # the first one still has it


# Signals.

def refused(pooler, host="127.0.0.1"):
    try:
        pooler.connect(host=host).close()
    except psycopg.OperationalError as error:
        return str(error)
    return ""


def test_term_waits_for_clients(pooler):
    pooler.start()
    client = pooler.connect()
    client.execute("select 1")
    pooler.send(signal.SIGTERM)
    pooler.wait_logged("got SIGTERM, shutting down, waiting for all clients disconnect")
    wait_until("TCP is closed", 5, lambda: "refused" in refused(pooler))
    assert "server shutting down" in refused(pooler, pooler.folder)
    stays("the client goes on", 0.5, lambda: client.execute("select 1").fetchone() == (1,))
    client.close()
    assert pooler.ended() == 0
    assert "client connections dropped, exiting" in pooler.logged()
    assert not os.path.exists(pooler.socket) and not os.path.exists(pooler.pid_file)


def test_int_waits_for_servers(pooler):
    pooler.start()
    # By hand: libpq takes an error that comes right behind the COMMIT's answer for a notice.
    with Wire(pooler.port) as busy, pooler.connect() as idle:
        busy.sql("begin")
        pooler.send(signal.SIGINT)
        pooler.wait_logged("got SIGINT, shutting down, waiting for all servers connections to be released")
        with pytest.raises(psycopg.OperationalError, match="server shutting down"):
            idle.execute("select 1")
        stays("the transaction goes on", 0.5, lambda: busy.value("select 1") == "1")
        busy.sql("commit")
        assert pooler.ended() == 0
        assert "server connections dropped, exiting" in pooler.logged()
        with pytest.raises(Failed, match="server shutting down"):
            busy.finish()


@pytest.mark.parametrize("first, second", [("SIGTERM", "SIGTERM"), ("SIGTERM", "SIGINT"), ("SIGINT", "SIGTERM")])
def test_second_signal_ends_at_once(pooler, first, second):
    pooler.start()
    client = pooler.connect()
    client.execute("begin")
    pooler.send(getattr(signal, first))
    pooler.wait_logged(f"got {first}, shutting down")
    pooler.send(getattr(signal, second))
    assert pooler.ended(3) == 0
    assert f"got {second} while shutting down, fast exit" in pooler.logged()
    assert not os.path.exists(pooler.socket) and not os.path.exists(pooler.pid_file)


def test_quit_ends_at_once(pooler):
    pooler.start()
    client = pooler.connect()
    client.execute("begin")
    pooler.send(signal.SIGQUIT)
    assert pooler.ended(3) == 0 and "got SIGQUIT, fast exit" in pooler.logged()
    assert not os.path.exists(pooler.socket) and not os.path.exists(pooler.pid_file)


def test_pause_and_resume(pooler):
    pooler.start()
    client = pooler.connect()
    pooler.send(signal.SIGUSR2)
    pooler.wait_logged("got SIGUSR2, but not paused/suspended")
    pooler.send(signal.SIGUSR1)
    pooler.wait_logged("got SIGUSR1, pausing all activity")
    pooler.send(signal.SIGUSR1)
    pooler.wait_logged("got SIGUSR1, but already paused/suspended")
    answers = []
    asker = threading.Thread(target=lambda: answers.append(client.execute("select 1").fetchone()))
    asker.start()
    stays("it waits", 1, lambda: not answers)
    pooler.send(signal.SIGUSR2)
    asker.join(5)
    assert answers == [(1,)]
    pooler.wait_logged("got SIGUSR2, continuing from PAUSE")
    pooler.send(signal.SIGTERM)
    pooler.wait_logged("got SIGTERM")
    pooler.send(signal.SIGUSR2)
    pooler.wait_logged("got SIGUSR2 while shutting down, ignoring")


# Reload.

def reload(pooler, times=1):
    pooler.send(signal.SIGHUP)
    pooler.wait_logged("got SIGHUP, re-reading config", times=times)


def test_a_reload_with_mistakes_changes_nothing(pooler):
    pooler.start()
    pooler.write(pool_mode="never", max_client_conn="many", query_timeout="soon")
    reload(pooler)
    pooler.wait_logged("ERROR config file loading failed")
    for name in ("pool_mode", "max_client_conn", "query_timeout"):
        assert re.search(rf"ERROR invalid value .* parameter {name} in configuration \({re.escape(pooler.file)}:\d+\)", pooler.logged())
    assert pooler.value() == 1


def test_reload_of_settings_databases_and_the_log(pooler, postgres):
    pooler.start()
    other, gone = pooler.connect("other"), pooler.connect()
    busy = pooler.connect("other")
    busy.execute("begin")
    pid = busy.execute("select pg_backend_pid()").fetchone()[0]
    assert other.execute("select current_database()").fetchone() == ("other",)
    assert gone.execute("select 1").fetchone() == (1,)
    os.rename(pooler.log, pooler.log + ".1")
    pooler.databases = {"other": f"host=127.0.0.1 port={postgres} dbname=template1", "new": f"host=127.0.0.1 port={postgres} dbname=other"}
    pooler.write(listen_port=1, max_client_conn=4)
    pooler.send(signal.SIGHUP)
    pooler.settings["listen_port"] = pooler.port
    pooler.wait_logged("listen_port cannot change while running")  # in a new file
    wait_until("the new database", 5, lambda: pooler.value(database="new") == 1)
    # A transaction keeps its server, and the next one has another.
    assert busy.execute("select pg_backend_pid()").fetchone() == (pid,)
    busy.execute("commit")
    assert busy.execute("select current_database()").fetchone() == ("template1",)
    assert other.execute("select current_database()").fetchone() == ("template1",)
    assert "database configuration changed" in pooler.logged()
    with pytest.raises(psycopg.OperationalError, match="no longer configured"):
        gone.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match="no such database"):
        pooler.connect()
    more = [wait_until("a place", 5, lambda: pooler.connect("new")) for _ in range(2)]
    with pytest.raises(psycopg.OperationalError, match="max_client_conn"):
        pooler.connect("new")
    for each in more:
        each.close()


def test_a_forced_user_stays(pooler, postgres):
    pooler.databases["postgres"] = f"host=127.0.0.1 port={postgres} user=app"
    pooler.write()
    pooler.start()
    pooler.databases["postgres"] = f"host=127.0.0.1 port={postgres}"
    pooler.write()
    reload(pooler)
    pooler.wait_logged('the user= of database "postgres" cannot be taken away')
    old = pooler.connect()
    assert old.execute("select current_user").fetchone() == ("app",)
    # Another one is fine; who is there under the old name has to come again.
    pooler.databases["postgres"] = f"host=127.0.0.1 port={postgres} user=postgres"
    pooler.write()
    reload(pooler, times=2)

    def moved():
        with pooler.connect() as connection:
            return connection.execute("select current_user").fetchone() == ("postgres",)

    wait_until("the new user", 5, moved)
    with pytest.raises(psycopg.OperationalError, match="connect again"):
        old.execute("select 1")


def test_auth_file_is_read_again_by_itself(pooler):
    pooler.write_users(users("postgres"))
    pooler.start()
    with pytest.raises(psycopg.OperationalError):
        pooler.connect(user="app")
    pooler.write_users(users("postgres", "app"))
    wait_until("the new user", 5, lambda: pooler.value(user="app") == 1)
    os.rename(pooler.auth_file, f"{pooler.folder}/away")
    assert pooler.value(user="app") == 1  # what is known stays known


# Sockets.

def test_tcp_options(pooler):
    pooler.write(tcp_keepidle=77, tcp_keepintvl=7, tcp_keepcnt=3, tcp_user_timeout=5000)
    pooler.start()
    with pooler.connect() as connection:
        connection.execute("begin")
        if not shutil.which("ss"):
            pytest.skip("no ss")

        def both():  # one to the client, one to the server
            shown = subprocess.run(["ss", "-tnopH"], capture_output=True, text=True, timeout=10).stdout
            return len(re.findall(rf"pid={pooler.pid},.*timer:\(keepalive,1min1\d", shown)) == 2

        wait_until("keepalive of both sides", 5, both)


def test_several_workers_share_everything(pooler):
    pooler.write(workers=3, max_client_conn=200)
    pooler.start()
    clients = [pooler.connect(host=host) for host in ["127.0.0.1", pooler.folder] * 30]
    assert all(client.execute("select 1").fetchone() == (1,) for client in clients)
    pooler.settings["pidfile"] = None
    pooler.write(unix_socket_dir="", logfile=None)
    second = pooler.run(pooler.file)  # the workers share the port, but not with another process
    assert second.returncode == 1 and "Address already in use" in second.stderr, second
    for client in clients:
        client.close()
    pooler.send(signal.SIGTERM)
    assert pooler.ended() == 0


def test_two_processes_share_a_port_when_told(pooler, postgres):
    pooler.write(so_reuseport=1)
    pooler.start()
    with open_folder() as folder:
        second = Process(folder, postgres)
        try:
            second.write(so_reuseport=1, listen_port=pooler.port)
            second.start()
            pooler.send(signal.SIGTERM)
            assert pooler.ended() == 0
            second.port = pooler.port
            assert second.value() == 1
        finally:
            second.stop()


def test_hosts_take_turns_or_not(pooler, postgres):
    wrong = ports.free_ports(1)[0]
    assert wrong != postgres
    # 127.0.0.2 refuses: PostgreSQL listens on 127.0.0.1 only.
    pooler.databases = {"one": f"host=127.0.0.2,127.0.0.1 port={postgres} dbname=postgres load_balance_hosts=disable",
                        "name": f"host=localhost port={postgres} dbname=postgres",
                        "unknown": f"host=not..a.name port={postgres} dbname=postgres"}
    pooler.write(server_login_retry="0.1", query_wait_timeout=3)
    pooler.start()
    assert wait_until("the second host", 10, lambda: pooler.value(database="one")) == 1
    failed = pooler.logged().count("connect failed")
    for _ in range(3):
        assert pooler.value(database="one") == 1
    assert pooler.logged().count("connect failed") == failed
    assert wait_until("localhost", 10, lambda: pooler.value(database="name")) == 1
    with pytest.raises(psycopg.OperationalError):
        pooler.connect("unknown")
    pooler.wait_logged("the name of its host is not known")


def test_an_unused_auto_database_is_forgotten(pooler, postgres):
    pooler.databases = {"*": f"host=127.0.0.1 port={postgres}"}
    pooler.write(autodb_idle_timeout=1, server_idle_timeout=1)
    pooler.start()
    for times in (1, 2):
        assert pooler.value() == 1
        pooler.wait_logged("registered new auto-database: db = postgres", times=times)
        pooler.wait_logged("is forgotten: db = postgres", seconds=10, times=times)


def test_names_of_databases_that_are_made_up_are_not_kept(pooler, postgres):
    """Each name made an entry that stayed for autodb_idle_timeout, an hour, also before the login. Those of strangers make none."""
    pooler.databases = {"*": f"host=127.0.0.1 port={postgres}"}
    pooler.write(admin_users="postgres")
    pooler.start()
    assert pooler.value() == 1

    def name(user, database):
        with socket.create_connection(("127.0.0.1", pooler.port), 10) as client:
            client.sendall(wire.startup(user, database))
            assert client.recv(1000).startswith((b"E", b"R"))

    for number in range(50):
        name("stranger", f"by_a_stranger_{number}")
    assert "auto-database: db = by_a_stranger" not in pooler.logged()
    for number in range(1300):
        name("app", f"made_up_{number}")
    pooler.wait_logged("auto-databases are unused", seconds=20)
    with pooler.connect(dbname="pgbouncer") as console:
        kept = wait_until("a thousand of them", 20, lambda: (
            shown := [row[0] for row in console.execute("show databases").fetchall()]) and len(shown) <= 1002 and shown)
    assert "postgres" in kept and "made_up_1299" in kept and "made_up_0" not in kept
    assert pooler.value() == 1


def test_2000_clients_with_a_soft_limit_of_256(pooler):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < 5000:
        pytest.skip("the hard limit is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (5000, hard))
    pooler.write(max_client_conn=3000, log_connections=0, log_disconnections=0, listen_backlog=1024)
    pooler.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Wire(pooler.port, login=False)) for _ in range(2000)]
        for client in clients:
            client.send(wire.startup())
        for client in clients:
            client.finish()
            client.send(wire.query("select 1"))
        for client in clients:
            client.finish()
    assert pooler.value() == 1


def test_who_does_not_log_in_makes_room(pooler):
    """Anybody can open connections and say next to nothing; they kept descriptors from those who had a password."""
    pooler.write(max_client_conn=20)
    pooler.start()
    silent = []
    try:
        for _ in range(130):
            silent.append(socket.create_connection(("127.0.0.1", pooler.port), timeout=20))
            silent[-1].sendall(b"\0")  # the kernel keeps those that say nothing at all (tcp_defer_accept)
        pooler.wait_logged("too many connections that have not logged in", times=30)
        with pooler.connect() as connection:
            assert connection.execute("select 1").fetchone()[0] == 1
        assert silent[0].recv(1000).startswith(b"E")  # the oldest ones went
        stays("the newest ones stay", 0.5, lambda: not any(readable(client) for client in silent[-90:]))
    finally:
        for client in silent:
            client.close()


def readable(client):
    return bool(select.select([client], [], [], 0)[0])


def test_without_descriptors_it_waits_and_goes_on(pooler):
    pooler.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)))
    clients = [socket.create_connection(("127.0.0.1", pooler.port), timeout=20) for _ in range(60)]
    try:
        for client in clients:
            client.sendall(wire.startup())
        pooler.wait_logged("accept failed: Too many open files; no new clients for 5 s")
        before = cpu_seconds(pooler.pid)
        time.sleep(2)
        assert cpu_seconds(pooler.pid) - before < 0.5  # it does not spin
        assert pooler.logged().count("accept failed") == 1
    finally:
        for client in clients:
            client.close()
    assert wait_until("a client again", 15, lambda: pooler.value()) == 1
