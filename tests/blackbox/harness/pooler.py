"""A PostgreSQL and a pooler of its own in front of it, for tests of the pooler."""
import contextlib
import os
import pwd
import socket
import subprocess

from . import ports, tree
from .cluster import PROGRAM
from .servers import Server, as_user, kill_everything_below
from .waiting import wait_until

BIN = max((path for path in [f"/usr/lib/postgresql/{major}/bin" for major in range(13, 19)] if os.path.exists(f"{path}/postgres")),
          default="")
USER = "postgres" if os.geteuid() == 0 else None
SUPERUSER = "postgres"
# For [pgbouncer]. Root starts the pooler, which then gives it up: the clone may lie where this user may not read.
OWNER = f"user = {USER}\n" if USER else ""


def answers(port):
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


class Postgres:
    """Trust on loopback; a user `postgres` and a database of the same name."""

    def __init__(self, folder, settings=()):
        self.folder, [self.port] = folder, ports.free_ports(1)
        os.chmod(folder, 0o777)
        subprocess.run([f"{BIN}/initdb", "-D", f"{folder}/data", "-U", SUPERUSER, "-A", "trust", "-N", "--no-locale", "-E", "UTF8"],
                       check=True, capture_output=True, cwd="/", **as_user(USER))
        options = ["listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "shared_buffers=16MB", "fsync=off", "max_connections=120", *settings]
        self.server = Server("postgres", [f"{BIN}/postgres", "-D", f"{folder}/data", "-p", self.port, *[word for option in options for word in ("-c", option)]],
                             f"{folder}/postgres.log", USER)

    def start(self):
        self.server.start()
        wait_until("PostgreSQL answers", 30, lambda: subprocess.run([f"{BIN}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode == 0)
        return self

    def stop(self):
        self.server.kill()
        kill_everything_below(self.folder)


class Pooler:
    """`pgdba pooler` with this text for [pgbouncer], beside listen_addr, listen_port and auth_file; `databases` the lines of [databases]."""

    def __init__(self, folder, databases, settings="", users=f'"{SUPERUSER}" ""\n', name="pooler"):
        self.folder, [self.port] = folder, ports.free_ports(1)
        self.ini, self.users = f"{folder}/{name}.ini", f"{folder}/{name}.users"
        self.databases, self.settings, self.user_lines = databases, settings, users
        self.write()
        self.server = Server(name, self.command(), f"{folder}/{name}.log")

    def command(self):
        return [PROGRAM, "pooler", self.ini]

    def write(self):
        common = f"[pgbouncer]\n{OWNER}listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_file = {self.users}\n"
        trust = "" if "auth_type" in self.settings else "auth_type = trust\n"
        for path, text in ((self.users, self.user_lines), (self.ini, f"[databases]\n{self.databases}\n{common}{trust}{self.settings}\n")):
            with open(path, "w") as file:
                file.write(text)
            os.chmod(path, 0o600)
            if USER:
                os.chown(path, pwd.getpwnam(USER).pw_uid, -1)

    def start(self):
        self.server.start()
        wait_until("the pooler answers", 20, lambda: answers(self.port) or not self.server.running())
        assert self.server.running(), self.server.tail()
        return self

    def conninfo(self, database=SUPERUSER, user=SUPERUSER, **more):
        return " ".join(f"{key}={value}" for key, value in dict(host="127.0.0.1", port=self.port, dbname=database, user=user, **more).items())

    def stop(self):
        self.server.kill()


class PgBouncer(Pooler):
    """The real one of a Debian tree, with the same files. It gives up no user, it is started as one."""

    def __init__(self, folder, release, databases, settings="", users=f'"{SUPERUSER}" ""\n', name="pgbouncer"):
        self.release = release
        super().__init__(folder, databases, settings, users, name)

    def command(self):
        return tree.command(self.release, ["/usr/sbin/pgbouncer", self.ini], USER, [self.folder])

    def write(self):
        super().write()
        with open(self.ini) as file:
            text = file.read().replace(OWNER, "")
        with open(self.ini, "w") as file:
            file.write(text)
