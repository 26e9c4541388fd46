"""One deployment of deployments/docker on the engine of the environment, from a scratch copy of that folder: nothing in the
working tree changes, and what the guide calls `cd deployments/docker` and `../..` is there."""
import contextlib
import dataclasses
import json
import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

from harness.client import ask, ask_all
from harness.journal import Endpoints
from harness.waiting import wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("PGDBA_PROGRAM", ROOT / "bin" / "pgdba"))
NODES = {"pg-primary": (5432, 8008), "pg-replica-1": (5433, 8009), "pg-replica-2": (5434, 8010)}
ETCDS = ("etcd1", "etcd2", "etcd3")
REPLICATING = ("running", "streaming")  # Patroni 3 says running, 4 says streaming
PROJECTS = ("pgdba", "pgdba-spilo", "pgdba-packages")  # as the Compose files call themselves

# Acknowledged like any other write: by a replica, too, where that is the rule. A transaction that only takes a number is not: without WAL of
# its own there is nothing to wait for.
WRITE = "pg_logical_emit_message(true, 'pgdba.test', '')"


def password():
    """Strong by the rules of .env.example, another one for each deployment."""
    return "Aa1" + secrets.token_hex(12)


def docker(*arguments, seconds=120, check=True):
    """Runs docker; its output, or an AssertionError with what it said."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=seconds)
    assert not check or done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def somebodys():
    """What this engine has of a deployment already: containers, and volumes, which outlive them. `down -v` of these tests would delete them."""
    names = docker("ps", "-a", "--format", "{{.Names}}").split()
    found = [f"container {name}" for name in names if name in {"check-env", *ETCDS, *NODES, "pgbouncer", "pgdba-pooler"}]
    for project in PROJECTS:
        found += [f"volume {name}" for name in docker("volume", "ls", "-q", "--filter", f"label=com.docker.compose.project={project}").split()]
    return found


def http(url, body=None, credentials=None, method=None, seconds=5):
    """(status, text) of one request; a body makes it a POST."""
    request = urllib.request.Request(url, data=None if body is None else json.dumps(body).encode(), method=method)
    if body is not None:
        request.add_header("Content-Type", "application/json")
    if credentials:
        manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        manager.add_password(None, url, *credentials)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
    else:
        opener = urllib.request.build_opener()
    try:
        with opener.open(request, timeout=seconds) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@dataclasses.dataclass(frozen=True)
class Shell:
    """What a command printed and how it ended."""

    code: int
    out: str
    err: str


class Stack:
    """`files`: Compose files below deployments/docker; `settings`: further lines of .env."""

    ENTRY = 6432  # where clients come in

    def __init__(self, files=("docker-compose.yml",), settings=None):
        self.files = files
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pgdba-compose-"))
        self.work = self.folder / "deployments" / "docker"
        shutil.copytree(ROOT / "deployments" / "docker", self.work, ignore=shutil.ignore_patterns(".env"))
        (self.folder / "bin").mkdir()
        shutil.copy2(PROGRAM, self.folder / "bin" / "pgdba")
        (self.folder / "home").mkdir()
        self.passfile = self.folder / "passfile"
        self.settings = {"POSTGRES_PASSWORD": password(), "REPLICATION_PASSWORD": password(), **images(), **(settings or {})}
        self.write_env()

    def write_settings(self, **changes):
        self.settings.update(changes)
        (self.work / ".env").write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def write_env(self, **changes):
        self.write_settings(**changes)
        self.passfile.write_text(f"*:*:*:*:{self.settings['POSTGRES_PASSWORD']}\n")
        self.passfile.chmod(0o600)

    def environment(self):
        """For commands of a user of this deployment: a home of its own, psql's password from a file."""
        return {**os.environ, "HOME": str(self.folder / "home"), "XDG_CONFIG_HOME": "", "PGPASSFILE": str(self.passfile), "LC_ALL": "C.UTF-8"}

    def sh(self, command, folder=None, seconds=120, check=True, environment=None):
        """A command line as the guide has it, in deployments/docker (or `folder` of the scratch copy)."""
        done = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=folder or self.work, capture_output=True, text=True, timeout=seconds,
                              stdin=subprocess.DEVNULL, env=environment or self.environment())
        assert not check or done.returncode == 0, f"{command}: status {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return Shell(done.returncode, done.stdout, done.stderr)

    def compose(self, arguments, seconds=240, check=True):
        """docker compose ARGUMENTS, on this stack's files."""
        chosen = "" if self.files == ("docker-compose.yml",) else "".join(f"-f {name} " for name in self.files)
        return self.sh(f"docker compose {chosen}{arguments}", seconds=seconds, check=check)

    def up(self):
        """Returns when the health checks say so; then a write is acknowledged at once, not after a while in the pooler's queue."""
        self.compose("up -d --wait", seconds=300)
        self.sql(f"select {WRITE}", seconds=3)

    def remove(self):
        """Containers, volumes and the scratch copy."""
        try:
            self.compose("down -v --remove-orphans --timeout 5", check=False)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def endpoints(self, ports=None, **options):
        return Endpoints(tuple(ports or (port for port, _ in NODES.values())), passfile=str(self.passfile), **options)

    def pooled(self):
        return self.endpoints([self.ENTRY])

    def sql(self, statement, port=None, seconds=10.0):
        """The first row, as texts."""
        return ask(self.endpoints([port or self.ENTRY]).conninfo(), statement, seconds)

    def column(self, statement, port=6432):
        return ask_all(self.endpoints([port]).conninfo(), statement)

    def members(self):
        """/cluster's members by name, from the first node that answers."""
        last = None
        for _, rest in NODES.values():
            try:
                status, text = http(f"http://127.0.0.1:{rest}/cluster", seconds=2)
                if status == 200:
                    return {member["name"]: member for member in json.loads(text)["members"]}
                last = (status, text)
            except OSError as error:
                last = error
        raise AssertionError(f"no node answers: {last}")

    def leader(self):
        """The name of the one leader that runs."""
        leaders = [name for name, member in self.members().items() if member["role"] == "leader" and member["state"] == "running"]
        assert len(leaders) == 1, leaders
        return leaders[0]

    def healthy(self, entry=None):
        """One leader, every other node replicates without lag, and a write through `entry` (a port) is acknowledged. Asserts, or returns True."""
        members = self.members()
        leader = self.leader()
        assert set(members) == set(NODES), members
        for name, member in members.items():
            assert name == leader or (member["state"] in REPLICATING and member["role"] != "leader" and member.get("lag", 1) == 0), members
        port = NODES[leader][0]
        assert self.sql("select count(*) from pg_stat_replication where state = 'streaming'", port) == ("2",)
        assert self.sql(f"select pg_is_in_recovery(), {WRITE}", entry or self.ENTRY)[0] == "f"
        return True

    def wait_healthy(self, seconds=120):
        wait_until("a leader, two replicas and a write through 6432", seconds, self.healthy, every=0.2)
        return self

    def switchover(self, candidate, seconds=60):
        """POST /switchover on the leader; returns its answer when the candidate leads."""
        leader = self.leader()
        status, text = http(f"http://127.0.0.1:{NODES[leader][1]}/switchover", {"leader": leader, "candidate": candidate}, seconds=seconds)
        assert status == 200, (status, text)
        wait_until(f"{candidate} leads", seconds, lambda: self.leader() == candidate)
        return text

    def go_home(self):
        """pg-primary leads, as the guide's commands expect."""
        self.wait_healthy()
        if self.leader() != "pg-primary":
            self.switchover("pg-primary")
            self.wait_healthy()

    def health(self, name):
        """What Docker's health check says of a container."""
        return docker("inspect", "-f", "{{.State.Health.Status}}", name).strip()

    def keeps_quiet(self, secrets):
        """None of them is in a container's command line, label or log, nor in PostgreSQL's own log, which lies beside the data."""
        for name in ["check-env", *ETCDS, *NODES, "pgbouncer"]:
            said = docker("inspect", "-f", "{{json .Config.Cmd}} {{json .Config.Entrypoint}} {{json .Args}} {{json .Config.Labels}}", name)
            said += self.sh(f"docker logs {name} 2>&1").out
            if name != "check-env":  # which has ended
                said += docker("top", name)
            if name in NODES:
                log = docker("exec", name, "cat", "/var/lib/postgresql/data.pgdba/postgresql.log")
                assert "ready to accept" in log
                said += log
            assert not any(secret in said for secret in secrets), name

    def describe(self):
        """For a failed test: containers and the end of each one's log."""
        names = [*ETCDS, *NODES, "pgbouncer"]
        logs = [f"--- {name}\n{self.sh(f'docker logs --tail 40 {name} 2>&1', check=False).out}" for name in names]
        return "\n".join([self.compose("ps -a", check=False).out, *logs])


@contextlib.contextmanager
def deployed(stack):
    """For as long as this lasts; what its containers said is printed when it ends by an error."""
    try:
        yield stack
    except BaseException:
        print(stack.describe())
        raise
    finally:
        stack.remove()


def images():
    """The images that tools/docker-images made, where the default one of etcd is not here."""
    have = docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    return {} if "quay.io/coreos/etcd:v3.5.9" in have else {"ETCD_IMAGE": "pgdba-etcd:latest"}


def refuse_somebodys():
    """Ends this program where there is a deployment already."""
    if found := somebodys():
        sys.exit(f"there is a deployment already, which this would delete: {', '.join(found)}")


if __name__ == "__main__":  # tools/docker-images, before it builds
    refuse_somebodys()
