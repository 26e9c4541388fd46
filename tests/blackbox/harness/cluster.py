"""A cluster made by `pgdba up`, driven by its command line and observed from outside: processes by /proc, roles by SQL. What the
product says about itself is compared with that, never trusted for it."""
import base64
import dataclasses
import glob
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import tempfile

from . import ports, processes
from .client import Session, Unreachable, ask
from .journal import Endpoints, same_everywhere
from .promises import promise
from .servers import as_user, http, kill_everything_below
from .tree import ROOT
from .waiting import TimedOut, wait_until

PROGRAM = os.environ.get("PGDBA_PROGRAM", str(ROOT / "bin" / "pgdba"))


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished command."""

    arguments: tuple
    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return f"`{' '.join(self.arguments)}` ended with {self.code}\n--- stdout\n{self.out}--- stderr\n{self.err}"


class Node:
    """One PostgreSQL node of a cluster. Its processes are looked up each time: they change."""

    def __init__(self, cluster, name, port, rest_port):
        self.cluster, self.name, self.port, self.rest_port = cluster, name, port, rest_port
        self.folder = os.path.join(cluster.data_dir, name)
        self.data = os.path.join(self.folder, "data")

    def postmaster(self):
        """The postmaster, or None."""
        try:
            with open(os.path.join(self.data, "postmaster.pid")) as file:
                process = processes.read(int(file.readline()))
        except (OSError, ValueError):
            return None
        return process if process and process.state != "Z" and "postgres" in process.command else None

    def backends(self):
        master = self.postmaster()
        return [process for process in processes.descendants(master.pid) if process.pid != master.pid] if master else []

    def agent(self):
        for process in processes.below(self.folder):
            if len(process.arguments) > 2 and process.arguments[1] == "agent" and process.arguments[2].startswith(self.folder + "/"):
                return process
        return None

    def guardian(self):
        """The parent of the postmaster, which is never the agent itself."""
        master = self.postmaster()
        parent = processes.read(master.parent) if master else None
        return parent if parent and parent.arguments[1:2] == ("guardian",) else None

    def processes(self):
        """All of the node: what a frozen or lost machine takes with it."""
        found = {}
        for root in (self.agent(), self.guardian(), self.postmaster()):
            if root:
                found.update((process.pid, process) for process in processes.descendants(root.pid))
        return list(found.values())

    def signal_all(self, number):
        """Parents first, so that nobody sees a child die and acts on it."""
        for process in sorted(self.processes(), key=lambda process: process.started):
            process.send(number)

    def sql(self, statement, seconds=5.0):
        return ask(self.cluster.endpoints.conninfo([self.port], name="test"), statement, seconds)

    def is_primary(self):
        try:
            return self.sql("select pg_is_in_recovery()", 1.0)[0] == "f"
        except (Unreachable, RuntimeError):
            return False

    def rest(self, path, method="GET", body=None, headers=None, login=True, seconds=10.0):
        """(status, text). `login`: with the credentials that `up` made, as `curl -K` would."""
        headers = dict(headers or {})
        if login:
            with open(os.path.join(self.cluster.data_dir, "curlrc")) as file:
                account = re.search(r'user = "(.*)"', file.read())[1]
            headers["Authorization"] = "Basic " + base64.b64encode(account.encode()).decode()
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        return http(f"http://127.0.0.1:{self.rest_port}{path}", method, body, headers, seconds)


class Cluster:
    def __init__(self, base, user=None, nodes=3, offset=0, name="test", profile="fast"):
        self.base = base  # a fresh folder with a short path, deleted by the fixture
        self.user = user  # None: whoever runs the tests
        self.name = name
        self.nodes_wanted = nodes
        self.offset = offset
        self.profile = profile
        self.ttl = {"fast": 3.0, "standard": 10.0}[profile]
        self.data_dir = os.path.join(base, "data")
        self.home = os.path.join(base, "home")
        self.nodes = {}
        for number in range(nodes):
            member = f"pg-replica-{number}" if number else "pg-primary"
            self.nodes[member] = Node(self, member, 5432 + offset + number, 8008 + offset + number)
        self.pooler_port = 6432 + offset
        self.endpoints = None
        os.makedirs(self.home, exist_ok=True)
        self.program = PROGRAM
        os.chmod(base, 0o755)
        if user and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            for path in (base, self.home):
                os.chown(path, entry.pw_uid, entry.pw_gid)
            # The clone may lie below a folder that this user cannot enter.
            self.program = os.path.join(base, "pgdba")
            shutil.copy(PROGRAM, self.program)

    # The command line.
    def environment(self, **more):
        kept = {key: value for key, value in os.environ.items() if key in ("PATH", "TERM", "ASAN_OPTIONS", "TSAN_OPTIONS")}
        return {**kept, "HOME": self.home, "LANG": "C.UTF-8", **more}

    def popen(self, *arguments, **more):
        return subprocess.Popen([self.program, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True, env=self.environment(), cwd="/", **as_user(self.user), **more)

    def run(self, *arguments, seconds=60, code=0, environment=None):
        """Runs `pgdba ARGUMENTS` and asserts its exit code (None: any)."""
        command = [self.program, *map(str, arguments)]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, cwd="/",
                                  env=environment or self.environment(), **as_user(self.user))
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"`{' '.join(command)}` still ran after {seconds} s\n{error.stdout}\n{error.stderr}\n"
                                 + (self.describe() if arguments[0] not in ("status", "logs") else "")) from None
        result = Run(("pgdba", *map(str, arguments)), done.returncode, done.stdout, done.stderr)
        assert code is None or result.code == code, f"expected exit code {code}: {result}"
        return result

    def up(self, *more, seconds=120, code=0):
        result = self.run("up", "--name", self.name, "--data-dir", self.data_dir, "--port-offset", self.offset, "--nodes",
                          self.nodes_wanted, "--profile", self.profile, "-o", "json", *more, seconds=seconds, code=code)
        if code == 0:
            self.endpoints = self._endpoints()
        return result

    def _endpoints(self):
        script = self.run("env", "--name", self.name).out
        found = re.search(r"PGPASSFILE=(.*)", script)
        assert found, f"`pgdba env` sets no PGPASSFILE:\n{script}"
        passfile = found[1].strip().strip("'\"")
        # libpq ignores a passfile of another user; the tests read through a copy of their own.
        copy = os.path.join(self.base, "passfile")
        with open(passfile) as source, open(os.open(copy, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as target:
            target.write(source.read())
        users = re.findall(r"^[^:\n]*:[^:\n]*:[^:\n]*:([^:\n]+):", open(copy).read(), re.M)
        return Endpoints(tuple(node.port for node in self.nodes.values()), user="postgres" if "postgres" in users else users[0],
                         passfile=copy)

    def down(self, *more, code=0):
        return self.run("down", "--name", self.name, *more, code=code)

    def act(self, verb, target, wait=False, code=0):
        """stop, start, kill, freeze or thaw. Without `wait` it returns when the processes are down or up; the test itself
        watches what the cluster makes of it."""
        return self.run(verb, target, "--name", self.name, *([] if wait else ["--no-wait"]), code=code)

    def purge(self):
        """`down --purge`, and the proof that nothing is left."""
        result = self.run("down", "--name", self.name, "--purge", "--yes")
        assert self.leftovers() == []
        return result

    def leftovers(self):
        found = [f"process {process.pid}: {process.command}" for process in processes.below(self.data_dir)]
        if os.path.exists(self.data_dir):
            found.append(f"{self.data_dir} is still there")
        found += glob.glob(f"/tmp/.s.PGSQL.{self.pooler_port}*")
        for node in self.nodes.values():
            found += [f"port {port} is taken" for port in (node.port, node.rest_port) if not ports.is_free(port)]
            found += glob.glob(f"/tmp/.s.PGSQL.{node.port}*")
        found += [f"port {self.pooler_port} is taken"] if not ports.is_free(self.pooler_port) else []
        registry = os.path.join(self.home, ".pgdba", "clusters.json")
        if os.path.exists(registry) and f'"{self.name}"' in open(registry).read():
            found.append(f"{registry} still has {self.name}")
        return found

    def status(self, *more, code=0):
        return self.run("status", "--name", self.name, "-o", "json", *more, code=code).json()

    # What is true.
    def __getitem__(self, name):
        return self.nodes[name]

    def primaries(self):
        return [node for node in self.nodes.values() if node.is_primary()]

    def primary(self, seconds=30):
        """The one node that is out of recovery."""
        return wait_until("exactly one primary", seconds, lambda: (lambda found: found[0] if len(found) == 1 else None)(self.primaries()))

    def replicas(self):
        leader = self.primary()
        return [node for node in self.nodes.values() if node is not leader]

    def wait_healthy(self, seconds=60):
        """All nodes back in: one primary, every other node streams from it as a quorum standby, `status` says the same."""
        def healthy():
            leaders = self.primaries()
            if len(leaders) != 1:
                return False
            leader = leaders[0]
            row = leader.sql("select count(*) filter (where state = 'streaming'), count(*) filter (where sync_state = 'quorum'),"
                             " coalesce(string_agg(application_name, ' ' order by application_name), '') from pg_stat_replication")
            others = sorted(name for name in self.nodes if name != leader.name)
            if int(row[0]) != len(others) or row[2].split() != others or (others and int(row[1]) != len(others)):
                return False
            if not all(node.sql("select pg_is_in_recovery()")[0] == "t" for node in self.nodes.values() if node is not leader):
                return False  # one that shuts clients out raises
            told = self.status(code=None)
            roles = {member["name"]: member["role"] for member in told["members"]}
            return told["leader"] == leader.name and all(
                ("leader" in role or "primary" in role) == (name == leader.name) for name, role in roles.items()) and leader
        try:
            return wait_until("every node is back in and status says so", seconds, healthy, every=0.2)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.describe()}") from None

    def wait_same_everywhere(self, seconds=20):
        try:
            return wait_until("all nodes have the same rows", seconds, lambda: same_everywhere(self.endpoints))
        except TimedOut as error:
            promise("the nodes differ" not in str(error), str(error))
            raise

    def describe(self):
        """For a failed test: what the product says, what runs, the ends of its logs."""
        parts = [str(self.run("status", "--name", self.name, code=None))]
        parts += [f"{process.pid} {process.state} {process.command}" for process in processes.below(self.data_dir)]
        logs = self.run("logs", "--name", self.name, "-n", "300", code=None)
        parts.append((logs.out or logs.err)[-40000:])
        return "\n".join(parts)

    # etcd.
    def etcd(self, name):
        """The process of one etcd member ("etcd1"), or None."""
        for process in processes.below(self.data_dir):
            if process.arguments and os.path.basename(process.arguments[0]) == "etcd" and re.search(rf"--name[= ]{name}\b", process.command):
                return process
        return None

    def etcds(self):
        return [process for process in (self.etcd(f"etcd{number}") for number in (1, 2, 3)) if process]

    def etcd_endpoints(self):
        found = []
        for process in self.etcds():
            found += re.findall(r"--listen-client-urls[= ](http://127\.0\.0\.1:\d+)", process.command)
        return found

    def etcdctl(self, *arguments):
        done = subprocess.run(["etcdctl", "--endpoints", ",".join(self.etcd_endpoints()), *arguments], capture_output=True, text=True,
                              timeout=20, env={**os.environ, "ETCDCTL_API": "3"})
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pooler(self):
        """The process of the pooler that `up` started, or None."""
        for process in processes.below(os.path.join(self.data_dir, "pooler")):
            if process.arguments[1:2] == ("pooler",):
                return process
        return None

    def pooled(self, database="postgres", port=None):
        """As an application connects."""
        return dataclasses.replace(self.endpoints, ports=(port or self.pooler_port,), database=database)

    def supervisor(self):
        for process in processes.below(self.data_dir):
            if len(process.arguments) > 1 and process.arguments[1] == "supervisor":
                return process
        return None


def fresh_folder():
    """Short, so that unix sockets fit in 107 bytes below it."""
    return tempfile.mkdtemp(prefix="pg", dir="/tmp")


def destroy(cluster):
    """Whatever happened: nothing of a test survives it."""
    for process in processes.below(cluster.data_dir):
        process.send(signal.SIGCONT)
    try:
        if cluster.endpoints is not None:
            cluster.run("down", "--name", cluster.name, "--purge", "--yes", code=None, seconds=60)
    finally:
        kill_everything_below(cluster.data_dir)
        shutil.rmtree(cluster.base, ignore_errors=True)


__all__ = ["Cluster", "Node", "Run", "Session", "destroy", "fresh_folder", "PROGRAM"]
