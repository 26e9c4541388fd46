"""A PostgreSQL and a pooler of its own in front of it, for tests of the pooler."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess

import psycopg
from psycopg.conninfo import make_conninfo

from . import ports, tree
from .cluster import PROGRAM, fresh_folder
from .servers import Server, as_user, kill_everything_below
from .waiting import wait_until
from .wire import Wire

BIN = max((path for path in [f"/usr/lib/postgresql/{major}/bin" for major in range(13, 19)] if os.path.exists(f"{path}/postgres")),
          default="")
USER = "postgres" if os.geteuid() == 0 else None
SUPERUSER = "postgres"
# For [pgbouncer]. Root starts the pooler, which then gives it up: the clone may lie where this user may not read.
OWNER = f"user = {USER}\n" if USER else ""


def give(path):
    """To whom PostgreSQL and the pooler run as."""
    if USER:
        shutil.chown(path, USER, USER)


def answers(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


def console(pooler, command):
    """The rows of this command, by column; the pooler has a user `admin`."""
    with Wire(pooler.port, "admin", "pgbouncer") as admin:
        return admin.table(command)


class Postgres(Server):
    """Trust on loopback and on a unix socket in its folder; a user `postgres` and a database of the same name."""

    def __init__(self, folder, *settings):
        self.folder, self.data, [self.port] = str(folder), f"{folder}/data", ports.free_ports(1)
        give(folder)
        subprocess.run([f"{BIN}/initdb", "-D", self.data, "-U", SUPERUSER, "-A", "trust", "-N", "--no-locale", "-E", "UTF8"],
                       check=True, capture_output=True, cwd="/", **as_user(USER))
        options = ["listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "shared_buffers=16MB", "fsync=off", "max_connections=120", *settings]
        super().__init__("postgres", [f"{BIN}/postgres", "-D", self.data, "-p", self.port, *[word for option in options for word in ("-c", option)]],
                         f"{folder}/postgres.log", USER)

    def start(self):
        super().start()
        wait_until("PostgreSQL answers", 30, lambda: subprocess.run([f"{BIN}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode == 0)
        return self

    def stop(self):
        self.kill()
        kill_everything_below(self.folder)

    def sql(self, text, database=SUPERUSER):
        """By its unix socket: whatever the rules for hosts are."""
        with psycopg.connect(host=self.folder, port=self.port, user=SUPERUSER, dbname=database, autocommit=True) as connection:
            cursor = connection.execute(text)
            return cursor.fetchall() if cursor.description else None

    def rules(self, *lines):
        """For hosts, in pg_hba.conf; they hold when this returns."""
        pathlib.Path(f"{self.data}/pg_hba.conf").write_text("\n".join(["local all all trust", *lines, ""]))
        before = self.sql("select pg_conf_load_time()")
        self.child.send_signal(signal.SIGHUP)
        wait_until("the new rules", 10, lambda: self.sql("select pg_conf_load_time()") != before)


@contextlib.contextmanager
def open_folder():
    """One that others may enter: servers give up root, and find their files below it."""
    folder = fresh_folder()
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running_postgres(*settings):
    with open_folder() as folder:
        server = Postgres(folder, *settings)
        try:
            yield server.start()
        finally:
            server.stop()


class Pooler(Server):
    """`pgdba pooler` with these [databases] and [pgbouncer], both as dictionaries; a setting that is None is left out. `more`
    follows them in the file; `login` says who connects where if nothing else is said."""

    def __init__(self, folder, databases, users=f'"{SUPERUSER}" ""\n', name="pooler", wrap=(), more="", login=(), **settings):
        self.folder, [self.port] = str(folder), ports.free_ports(1)
        self.file, self.auth_file = f"{folder}/{name}.ini", f"{folder}/{name}.users"
        super().__init__(name, [*wrap, PROGRAM, "pooler", self.file], f"{folder}/{name}.log")
        self.databases, self.more, self.login = databases, more, {"user": SUPERUSER, "dbname": SUPERUSER, **dict(login)}
        self.settings = {"user": USER, "listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": "", "auth_type": "trust",
                         "auth_file": self.auth_file, **settings}
        give(folder)
        self.write_users(users)
        self.write()

    def write_users(self, users):
        self.put(self.auth_file, users)

    def write(self, **changes):
        self.settings |= changes
        lines = [f"{name} = {value}" for name, value in self.settings.items() if value is not None]
        databases = [f"{name} = {text}" for name, text in self.databases.items()]
        self.put(self.file, "\n".join(["[databases]", *databases, "[pgbouncer]", *lines, self.more, ""]))

    @staticmethod
    def put(path, text):
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o600)
        give(path)

    def start(self, **changes):
        if changes:
            self.write(**changes)
        super().start()
        wait_until("the pooler answers", 20, lambda: answers(self.port) or not self.running())
        assert self.running(), self.logged()
        return self

    def stop(self):
        self.kill()

    def run(self, *options):
        """To its end, which is not far."""
        return subprocess.run([PROGRAM, "pooler", *options], cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)

    def send(self, number):
        self.child.send_signal(number)

    def ended(self, seconds=5):
        return self.child.wait(seconds)

    def logged(self):
        with contextlib.suppress(FileNotFoundError):
            return pathlib.Path(self.log).read_text(errors="replace")
        return ""

    def wait_logged(self, pattern, seconds=10, times=1):
        wait_until(f"log: {pattern}", seconds, lambda: len(re.findall(pattern, self.logged())) >= times)

    def where(self, database=None, **more):
        named = {} if database is None else {"dbname": database}
        return {"host": "127.0.0.1", "port": self.port, "connect_timeout": 10, **self.login, **named, **more}

    def conninfo(self, database=None, **more):
        return make_conninfo(**self.where(database, **more))

    def connect(self, database=None, **more):
        return psycopg.connect(**{"autocommit": True, **self.where(database, **more)})

    def value(self, sql="select 1", **where):
        with self.connect(**where) as connection:
            return connection.execute(sql).fetchone()[0]


class PgBouncer(Pooler):
    """The real one of a Debian tree, with the same file. It gives up no user, it is started as one."""

    def __init__(self, folder, release, databases, **more):
        super().__init__(folder, databases, **{"name": "pgbouncer", **more, "user": None})
        self.arguments = tree.command(release, ["/usr/sbin/pgbouncer", self.file], USER, [self.folder])
