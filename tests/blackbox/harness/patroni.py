"""Three nodes of the real Patroni from a Debian tree, on this machine's loopback: peer of the compatibility tests, rival of
`make bench`. Real etcd beside it; passwords in a file of mode 0600."""
import json
import os
import pwd
import secrets
import signal
import subprocess

import yaml

from . import processes, tree
from .journal import Endpoints
from .servers import Etcd, Server, http, kill_everything_below
from .waiting import wait_until

PG_BIN = {"13": "/usr/lib/postgresql/17/bin", "testing": "/usr/lib/postgresql/18/bin"}


class PatroniCluster:
    """`folder` must be a fresh folder with a short path. `timings`: ttl, loop_wait, retry_timeout of Patroni."""

    USER = "postgres"

    def __init__(self, folder, release="13", nodes=3, timings=(30, 10, 10), offset=0, scope="rival", synchronous="quorum"):
        self.folder = str(folder)
        self.release = release
        self.scope = scope
        self.ttl = timings[0]
        entry = pwd.getpwnam(self.USER)
        os.chmod(self.folder, 0o755)
        os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self.etcd = Etcd(self._own("etcd"), user=self.USER, options=("--auto-compaction-retention", "1"))
        self.names = ["pg-primary"] + [f"pg-replica-{number}" for number in range(1, nodes)]
        self.ports = [5432 + offset + number for number in range(nodes)]
        self.rest_ports = [8008 + offset + number for number in range(nodes)]
        self.password = secrets.token_hex(12)
        self.passfile = os.path.join(self.folder, "pgpass")
        self._write(self.passfile, f"127.0.0.1:*:*:postgres:{self.password}\n", 0o600)
        self.endpoints = Endpoints(tuple(self.ports), passfile=os.path.join(self.folder, "pgpass.test"))
        with open(os.open(self.endpoints.passfile, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
            file.write(f"127.0.0.1:*:*:postgres:{self.password}\n")
        self.agents = {}
        for name, port, rest in zip(self.names, self.ports, self.rest_ports):
            config = self._config(name, port, rest, timings, synchronous)
            path = os.path.join(self._own(name), "patroni.yml")
            self._write(path, yaml.safe_dump(config), 0o600)
            self.agents[name] = Server(name, tree.command(release, ["patroni", path], self.USER, [self.folder]),
                                       os.path.join(self.folder, f"{name}.log"))

    def _own(self, name):
        path = os.path.join(self.folder, name)
        os.makedirs(path, exist_ok=True)
        entry = pwd.getpwnam(self.USER)
        os.chown(path, entry.pw_uid, entry.pw_gid)
        os.chmod(path, 0o700 if name.startswith("pg") else 0o755)
        return path

    def _write(self, path, text, mode):
        with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, mode), "w") as file:
            file.write(text)
        entry = pwd.getpwnam(self.USER)
        os.chown(path, entry.pw_uid, entry.pw_gid)

    def _config(self, name, port, rest, timings, synchronous):
        ttl, loop_wait, retry_timeout = timings
        folder = os.path.join(self.folder, name)
        dynamic = {
            "ttl": ttl, "loop_wait": loop_wait, "retry_timeout": retry_timeout, "maximum_lag_on_failover": 1048576,
            "postgresql": {"use_pg_rewind": True, "parameters": {
                "shared_buffers": "32MB", "max_connections": 100, "wal_log_hints": "on", "max_wal_size": "256MB"}},
        }
        if synchronous:
            dynamic["synchronous_mode"] = synchronous
        hba = ["local all all scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"]
        account = {"username": "postgres", "password": self.password}
        return {
            "scope": self.scope, "name": name,
            "restapi": {"listen": f"127.0.0.1:{rest}", "connect_address": f"127.0.0.1:{rest}"},
            "etcd3": {"hosts": self.etcd.endpoints},
            "bootstrap": {"dcs": dynamic, "initdb": [{"encoding": "UTF8"}, {"locale": "C.UTF-8"}, "data-checksums"]},
            "postgresql": {
                "listen": f"127.0.0.1:{port}", "connect_address": f"127.0.0.1:{port}", "data_dir": f"{folder}/data",
                "bin_dir": PG_BIN[self.release], "pgpass": f"{folder}/pgpass", "pg_hba": hba,
                "authentication": {"superuser": account, "replication": account, "rewind": account},
                "parameters": {"unix_socket_directories": folder, "password_encryption": "scram-sha-256"},
            },
        }

    def start(self, seconds=120):
        self.etcd.start()
        for agent in self.agents.values():
            agent.start()
        self.wait_ready(seconds)
        return self

    def stop(self):
        for agent in self.agents.values():
            if agent.running():
                agent.child.send_signal(signal.SIGCONT)
                agent.child.terminate()
        for agent in self.agents.values():
            agent.stop(15)
        self.etcd.stop()
        kill_everything_below(self.folder)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_):
        self.stop()

    # What Patroni says.
    def view(self):
        for port in self.rest_ports:
            try:
                return json.loads(http(f"http://127.0.0.1:{port}/cluster")[1])
            except OSError:
                continue
        raise OSError("no Patroni answers")

    def leader(self):
        return next((member["name"] for member in self.view()["members"] if member["role"] == "leader"), None)

    def ready(self):
        members = self.view()["members"]
        states = sorted((member["role"], member["state"]) for member in members)
        followers = [state for role, state in states if role != "leader"]
        synchronous = sum("standby" in role for role, _ in states)
        return len(members) == len(self.names) and ("leader", "running") in states and all(
            state == "streaming" for state in followers) and synchronous == len(followers)

    def wait_ready(self, seconds=120):
        try:
            wait_until("Patroni has a leader and streaming synchronous standbys", seconds, self.ready, every=0.2)
        except AssertionError as error:
            logs = "\n".join(f"--- {name}\n{agent.tail()}" for name, agent in self.agents.items())
            raise AssertionError(f"{error}\n{logs}") from None

    # What runs.
    def postmaster(self, name):
        with open(os.path.join(self.folder, name, "data", "postmaster.pid")) as file:
            return processes.read(int(file.readline()))

    def node_processes(self, name):
        """Agent and PostgreSQL of one node: all that a frozen or lost machine takes with it."""
        agent = self.agents[name]
        found = processes.descendants(agent.pid) if agent.running() else []
        known = {process.pid for process in found}
        try:
            found += [process for process in processes.descendants(self.postmaster(name).pid) if process.pid not in known]
        except (OSError, AttributeError):
            pass
        return found

    def signal_node(self, name, number):
        # Parents first, so that nobody sees a child die and acts on it.
        found = sorted(self.node_processes(name), key=lambda process: process.started)
        for process in found:
            process.send(number)
        return found

    def kill_node(self, name):
        self.signal_node(name, signal.SIGKILL)
        self.agents[name].child.wait()
        wait_until("the node is gone", 10, lambda: not processes.below(os.path.join(self.folder, name)))

    def configure(self, change, seconds=60):
        """A change of the dynamic configuration, once every member has seen it."""
        status, text = http(f"http://127.0.0.1:{self.rest_ports[0]}/config", "PATCH", json.dumps(change), {"Content-Type": "application/json"}, 10)
        assert status == 200, text
        def seen():
            return all(json.loads(http(f"http://127.0.0.1:{port}/config")[1]).items() >= change.items() for port in self.rest_ports)
        wait_until(f"{change} is the configuration", seconds, seen)

    def patronictl(self, *words, seconds=120):
        """As its operator types it; the output."""
        command = ["patronictl", "-c", os.path.join(self.folder, self.names[0], "patroni.yml"), *words]
        done = subprocess.run(tree.command(self.release, command, self.USER, [self.folder]), capture_output=True, text=True, timeout=seconds,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def switchover(self, leader, candidate):
        body = json.dumps({"leader": leader, "candidate": candidate})
        return http(f"http://127.0.0.1:{self.rest_ports[0]}/switchover", "POST", body, {"Content-Type": "application/json"}, 60)
