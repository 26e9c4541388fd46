"""`pgdba up --docker`: the same deployment, driven by pgdba, and every command that then knows it."""
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pytest

from harness.waiting import wait_until
from stack import ETCDS, NODES, WRITE, Stack, docker, http, images, password

NAMES = {*NODES, *ETCDS, "pgbouncer"}


def pgdba(stack, arguments, code=0, environment=None, seconds=180):
    """A command of bin/pgdba in the scratch copy."""
    done = stack.sh(f"../../bin/pgdba {arguments}", check=False, environment=environment, seconds=seconds)
    assert code is None or done.code == code, f"pgdba {arguments}: {done}"
    return done


def containers():
    """{service: id} of the project; all of them, whether they run or not."""
    lines = docker("ps", "-a", "--no-trunc", "--filter", "label=com.docker.compose.project=pgdba", "--format",
                   '{{.Label "com.docker.compose.service"}} {{.ID}}').splitlines()
    return dict(line.split() for line in lines)


def env_of(stack):
    lines = (stack.work / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def forget_env(stack):
    """As after a clone: no .env. What this engine cannot pull is said in the example, of which `up` makes one."""
    (stack.work / ".env").unlink()
    with open(stack.work / ".env.example", "a") as file:
        file.writelines(f"{name}={value}\n" for name, value in images().items())


def of_session(leader):
    """Processes of the session that this one opened."""
    out = subprocess.run(["ps", "-s", str(leader), "-o", "pid=,stat=,args="], capture_output=True, text=True).stdout
    return [line for line in out.splitlines() if line.split()[1][0] != "Z"]


class CommandLines:
    """Everything that any process had as an argument meanwhile."""

    def __enter__(self):
        self.seen, self.stop = set(), threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.stop.wait(0.005):
            for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:
                    pass

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


@pytest.fixture(scope="module")
def first():
    """(stack, what the first `up` printed, command lines of that time, mode and text of the .env that it made)."""
    made = Stack()
    try:
        forget_env(made)
        with CommandLines() as lines:
            done = pgdba(made, "up --docker")
        env = made.work / ".env"
        mode, text = stat.S_IMODE(env.stat().st_mode), env.read_text()
        made.settings = env_of(made)
        made.write_env()
        yield made, done, lines.seen, mode, text
    finally:
        made.remove()


@pytest.fixture
def copy():
    """copy(settings=…) → another folder of the same deployment, of which nothing is to start. Only files are removed: `down` there
    would be of the shared cluster's containers."""
    made = []

    def make(**options):
        made.append(Stack(**options))
        return made[-1]

    yield make
    for one in made:
        shutil.rmtree(one.folder)


@pytest.fixture
def cluster(first):
    """The cluster, up and healthy."""
    stack = first[0]
    pgdba(stack, "up --docker")
    stack.wait_healthy()
    return stack


def test_up_makes_passwords_starts_everything_and_proves_a_write(first):
    stack, done, command_lines, mode, text = first
    assert re.search(r"\d\.\d\d s  .*a write through the pooler was acknowledged: ready", done.err), done.err
    assert "pg-primary leads" in done.err and "2 nodes stream from it" in done.err
    assert "postgresql://postgres@127.0.0.1:6432/postgres" in done.out and "healthy" in done.out and "pgdba env" in done.out
    assert f"made {stack.work}/.env with two random passwords" in done.err
    assert mode == 0o600 and "#SYNCHRONOUS_MODE=quorum" in text and "password_here" not in text
    secrets = [stack.settings[name] for name in ("POSTGRES_PASSWORD", "REPLICATION_PASSWORD")]
    assert len(set(secrets)) == 2 and all(len(secret) >= 12 for secret in secrets)
    assert set(containers()) >= NAMES
    logs = pgdba(stack, "logs -n 0").out
    for secret in secrets:
        assert secret not in done.out + done.err + logs
        assert not any(secret.encode() in line for line in command_lines), "a password is the argument of a process"
    assert len(command_lines) > 10, "nothing was watched"
    assert stack.sql(f"select pg_is_in_recovery(), {WRITE}")[0] == "f"


def test_up_again_changes_nothing(cluster):
    before, env = containers(), (cluster.work / ".env").read_bytes()
    done = pgdba(cluster, "up --docker")
    assert "already; nothing was changed" in done.err, done
    after = containers()
    assert {name: after[name] for name in NAMES} == {name: before[name] for name in NAMES}
    assert (cluster.work / ".env").read_bytes() == env
    # Its name says what it is: nothing else has to be repeated.
    assert "already; nothing was changed" in pgdba(cluster, "up").err
    told = json.loads(pgdba(cluster, "up -o json").out)
    assert told["healthy"] and told["managed"] and [member["name"] for member in told["members"]] == list(NODES)


def test_commands_know_it_without_further_options(cluster):
    listed = json.loads(pgdba(cluster, "cluster list -o json").out)["clusters"]
    assert [(entry["name"], entry["kind"], entry["compose_dir"]) for entry in listed] == [("local-ha", "docker", str(cluster.work))]
    status = json.loads(pgdba(cluster, "cluster status -o json").out)
    assert status["healthy"] and status["problems"] == []
    assert {(member["host"], member["port"]) for member in status["members"]} == {("127.0.0.1", port) for port, _ in NODES.values()}
    assert [(member["name"], member["healthy"]) for member in status["etcd"]] == [(name, True) for name in ETCDS]
    assert status["pooler"] == {"pid": None, "state": "running", "port": 6432, "restarts": None}
    assert pgdba(cluster, "psql -- -Atc 'select pg_is_in_recovery()'").out == "f\n"
    assert pgdba(cluster, "psql --replica -- -Atc 'select pg_is_in_recovery()'").out == "t\n"
    script = pgdba(cluster, "env").out
    assert "PGPASSWORD" not in script and "PGPASSFILE" in script
    passfile = re.search(r"PGPASSFILE='(.*)'", script)[1]
    assert stat.S_IMODE(os.stat(passfile).st_mode) == 0o600 and passfile.startswith(str(cluster.folder / "home"))
    plain = {name: value for name, value in cluster.environment().items() if name != "PGPASSFILE"}
    run = cluster.sh('eval "$(../../bin/pgdba env)" && psql -Atc "select pg_is_in_recovery()" && psql "$PGDBA_POOLER_URL" -Atc "select 42"',
                     environment=plain)
    assert run.out == "f\n42\n"


def test_logs_are_one_stream_ordered_by_time(cluster):
    lines = [json.loads(line) for line in pgdba(cluster, "logs -n 50 -o json").out.splitlines()]
    assert {line["source"] for line in lines} >= {"pg-primary", "etcd1", "pgbouncer"}
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    only = pgdba(cluster, "logs pooler -n 3").out.splitlines()
    assert only and all(line.startswith("pgbouncer | ") for line in only)
    assert len({line.split(" | ")[0].strip() for line in pgdba(cluster, "logs etcd -n 1").out.splitlines()}) == 3
    assert "did you mean pg-primary" in pgdba(cluster, "logs pg-primar", code=2).err


def test_logs_follow_what_is_written_from_now_on(cluster):
    follower = subprocess.Popen(["../../bin/pgdba", "logs", "-f", "-n", "1", "pooler"], cwd=cluster.work, env=cluster.environment(),
                                stdout=subprocess.PIPE, start_new_session=True)
    try:
        os.set_blocking(follower.stdout.fileno(), False)
        seen = b""

        def follows():
            nonlocal seen
            cluster.sql("select 1")  # the pooler logs each client that comes
            try:
                seen += os.read(follower.stdout.fileno(), 1 << 20)
            except BlockingIOError:
                pass
            assert seen.count(b"login attempt") >= 2, seen
            return True

        wait_until("two logins in the log that is followed", 30, follows, every=0.3)
    finally:
        follower.send_signal(signal.SIGTERM)
        follower.wait()
    wait_until("docker, which it had started, has ended, too", 10, lambda: not of_session(follower.pid) or None, every=0.1)


def test_switchover_and_restart_wait_for_their_effect(cluster):
    before = cluster.leader()
    done = pgdba(cluster, "cluster switchover --yes")
    assert re.search(r"leads; writes were away for [\d.]+ s", done.err), done
    assert cluster.leader() != before
    assert f"{before} restarted" in pgdba(cluster, f"cluster restart {before} --yes").err


def test_rest_credentials_of_env_are_used_and_up_applies_what_changed_there(cluster):
    secret = password()
    try:
        cluster.write_env(RESTAPI_USERNAME="operator", RESTAPI_PASSWORD=secret)
        pgdba(cluster, "up --docker")
        leader = cluster.leader()
        assert http(f"http://127.0.0.1:{NODES[leader][1]}/switchover", {"leader": leader})[0] == 401
        pgdba(cluster, "cluster switchover --yes")
        assert cluster.leader() != leader
        assert secret not in (cluster.folder / "home" / ".pgdba" / "clusters.json").read_text()
    finally:
        del cluster.settings["RESTAPI_USERNAME"], cluster.settings["RESTAPI_PASSWORD"]
        cluster.write_env()
        pgdba(cluster, "up --docker")
    leader = cluster.leader()
    assert http(f"http://127.0.0.1:{NODES[leader][1]}/reload", {})[0] == 202, "open again"


def test_faults_by_name(cluster):
    before = cluster.leader()
    done = pgdba(cluster, "kill primary")
    assert f"killed {before}: its container" in done.err and "leads now; writes were away for" in done.err
    status = json.loads(pgdba(cluster, "status -o json").out)
    assert f"{before} is stopped" in status["problems"] and status["leader"] != before
    assert f"{before} is back in: it streams" in pgdba(cluster, "start").err
    stopped = re.search(r"stopped (etcd\d)", pgdba(cluster, "stop etcd-leader").err)[1]
    assert f"{stopped} is stopped" in json.loads(pgdba(cluster, "status -o json").out)["problems"]
    pgdba(cluster, f"start {stopped}")
    replica = next(name for name in NODES if name != cluster.leader())
    pgdba(cluster, f"freeze {replica}")
    assert f"{replica} is frozen" in json.loads(pgdba(cluster, "status -o json").out)["problems"]
    assert f"{replica} was frozen: thawed" in pgdba(cluster, "up").err
    assert "everything runs already" in pgdba(cluster, "start").err
    assert pgdba(cluster, "stop pooler --dry-run").out == "would stop pgbouncer\n", "by what it is called among processes, too"


def test_down_keeps_data_and_purge_leaves_nothing(cluster):
    cluster.sql("create table if not exists kept as select 42 as answer")
    before = cluster.sql("select system_identifier from pg_control_system()")
    done = pgdba(cluster, "down")
    assert "its data is in Docker's volumes" in done.err and containers() == {}
    assert "was down already" in pgdba(cluster, "down").err
    assert "no member answers" in pgdba(cluster, "status", code=5).err
    pgdba(cluster, "up")
    assert cluster.sql("select answer from kept") == ("42",) and cluster.sql("select system_identifier from pg_control_system()") == before
    assert "nothing was changed" in pgdba(cluster, "down --purge", code=3).err
    assert "is gone" in pgdba(cluster, "down --purge --yes").err
    assert containers() == {}
    for kind in ("volume", "network"):
        assert docker(kind, "ls", "-q", "--filter", "label=com.docker.compose.project=pgdba") == ""
    assert (cluster.work / ".env").exists()
    assert json.loads(pgdba(cluster, "cluster list -o json").out)["clusters"] == []
    assert not (cluster.folder / "home" / ".pgdba" / "docker" / "local-ha").exists()
    (cluster.work / ".env").rename(cluster.work / "env")
    would = pgdba(cluster, "up --docker --dry-run").out
    assert would.startswith("would make cluster local-ha in containers of ") and "a .env with two random passwords" in would
    assert containers() == {} and not (cluster.work / ".env").exists() and not (cluster.folder / "home" / ".pgdba" / "docker" / "local-ha").exists()
    (cluster.work / "env").rename(cluster.work / ".env")
    pgdba(cluster, "up --docker")
    assert cluster.sql("select to_regclass('kept')") == ("",), "another cluster, with the passwords of the same .env"


def test_what_cluster_connect_registered_is_taken_over(cluster):
    home = cluster.folder / "other-home"
    home.mkdir(exist_ok=True)
    environment = {**cluster.environment(), "HOME": str(home)}
    pgdba(cluster, "cluster connect --name local-ha --patroni-url http://localhost:8008 --pg-host localhost", environment=environment)
    pgdba(cluster, "up --docker", environment=environment)
    assert json.loads(pgdba(cluster, "cluster list -o json", environment=environment).out)["clusters"][0]["kind"] == "docker"
    pgdba(cluster, "cluster connect --name elsewhere --patroni-url http://localhost:8008", environment=environment)
    assert "several clusters are known" in pgdba(cluster, "status", code=2, environment=environment).err


@pytest.mark.parametrize("entry, says", [
    ({"kind": "external", "scope": "s", "members": [{"name": "a", "endpoint": "http://192.0.2.1:8008"}]},
     "local-ha is the name of an external cluster"),
    ({"kind": "managed", "data_dir": "/nonexistent"}, "local-ha is the name of a cluster of processes"),
])
def test_name_of_another_cluster_is_refused(cluster, entry, says):
    home = cluster.folder / "third-home"
    (home / ".pgdba").mkdir(parents=True, exist_ok=True)
    text = json.dumps({"schema_version": 1, "clusters": [{"name": "local-ha", "added": "2026-01-02T03:04:05Z", **entry}]})
    (home / ".pgdba" / "clusters.json").write_text(text)
    done = pgdba(cluster, "up --docker", code=3, environment={**cluster.environment(), "HOME": str(home)})
    assert says in done.err and "--name OTHER" in done.err, done
    assert (home / ".pgdba" / "clusters.json").read_text() == text


@pytest.mark.parametrize("arguments, says", [
    ("up --docker --nodes 3", "--nodes is for clusters of processes"),
    ("up --docker --data-dir /tmp/x --profile fast", "--data-dir, --profile are for clusters of processes"),
    ("up --nodes 3", "--nodes is for clusters of processes"),
    ("up --docker --compose-dir /nonexistent", "there is no docker-compose.yml in /nonexistent"),
    ("up --name fresh --compose-dir .", "--compose-dir goes with --docker"),
    ("up --docker --name two", "are cluster local-ha already"),
])
def test_refused_options(cluster, arguments, says):
    before = containers()
    done = pgdba(cluster, arguments, code=None)
    assert done.code in (2, 3) and says in done.err and "next:" in done.err, done
    assert containers() == before


@pytest.mark.parametrize("settings, says", [
    ({"POSTGRES_PASSWORD": "your_strong_password_here"}, "POSTGRES_PASSWORD is still the sample of .env.example"),
    ({"REPLICATION_PASSWORD": "Short1"}, "REPLICATION_PASSWORD has fewer than 12 characters"),
    ({"POSTGRES_PASSWORD": "nouppercase12345"}, "POSTGRES_PASSWORD has no upper case letter"),
    ({"POSTGRES_PASSWORD": ""}, "POSTGRES_PASSWORD is not set"),
    ({"RESTAPI_USERNAME": "operator"}, "RESTAPI_USERNAME and RESTAPI_PASSWORD belong together"),
])
def test_broken_rule_of_env_is_one_line_before_anything_starts(copy, settings, says):
    stack = copy(settings=settings)
    before, env = containers(), (stack.work / ".env").read_bytes()
    done = pgdba(stack, "up --docker", code=None)
    assert done.code != 0 and says in done.err and f"{stack.work}/.env" in done.err, done
    assert containers() == before and (stack.work / ".env").read_bytes() == env
    assert not (stack.folder / "home" / ".pgdba" / "clusters.json").exists(), "it was registered"


def test_rule_that_only_the_containers_check_is_told_too(cluster):
    try:
        cluster.write_env(TTL="1")
        done = pgdba(cluster, "up --docker", code=3)
        assert "TTL is 1, but it has to be at least 2 seconds" in done.err, done
    finally:
        del cluster.settings["TTL"]
        cluster.write_env()


def test_password_that_the_database_does_not_have_is_refused_while_it_runs_and_named_when_it_did_not(cluster):
    own = dict(cluster.settings)
    before = containers()
    try:
        for variable, role in (("POSTGRES_PASSWORD", "postgres"), ("REPLICATION_PASSWORD", "replicator")):
            cluster.write_env(**{**own, variable: password()})
            done = pgdba(cluster, "up --docker", code=3)
            assert f"{variable} of .env is not what role {role} has" in done.err, done
            assert containers() == before
        cluster.passfile.write_text(f"*:*:*:*:{own['POSTGRES_PASSWORD']}\n")
        cluster.wait_healthy()
        pgdba(cluster, "down")
        cluster.write_env(**{**own, "POSTGRES_PASSWORD": password()})
        done = pgdba(cluster, "up --docker", code=1)
        assert "does not take POSTGRES_PASSWORD of .env" in done.err, done
    finally:
        cluster.write_env(**own)
        pgdba(cluster, "down")


def test_data_without_its_env_and_another_folder_are_refused(cluster, copy):
    other = copy()
    before = containers()
    done = pgdba(other, "up --docker", code=3)
    assert f"runs from {cluster.work} already" in done.err, done
    forget_env(other)
    done = pgdba(other, "up --docker", code=3)
    assert "data of an earlier cluster" in done.err and not (other.work / ".env").exists(), done
    assert containers() == before


def test_taken_port_names_holder_and_variable(cluster):
    before = containers()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        try:
            cluster.write_env(PGBOUNCER_PORT=port)
            done = pgdba(cluster, "up --docker", code=1)
            assert str(port) in done.err and str(os.getpid()) in done.err and "PGBOUNCER_PORT=" in done.err, done
            assert containers() == before
        finally:
            del cluster.settings["PGBOUNCER_PORT"]
            cluster.write_env()


def test_project_to_which_the_environment_points_is_another_one(cluster):
    """With it `up` would make a cluster there, and `down --purge` would delete that project's volumes."""
    foreign = cluster.folder / "foreign.yml"
    foreign.write_text("services: {x: {image: 'pgdba:latest'}}\n")
    before = containers()
    for name, value in (("COMPOSE_PROJECT_NAME", "web"), ("COMPOSE_FILE", foreign), ("COMPOSE_ENV_FILES", "/dev/null")):
        done = pgdba(cluster, "up --docker", environment={**cluster.environment(), name: str(value)})
        assert "already; nothing was changed" in done.err, (name, done)
    assert containers() == before


def test_moved_folder_keeps_its_cluster(cluster):
    before, moved = containers(), cluster.work.with_name("moved")
    cluster.work.rename(moved)
    try:
        done = cluster.sh(f"bin/pgdba up --docker --compose-dir {moved}", folder=cluster.folder)
        assert "already; nothing was changed" in done.err, done
    finally:
        moved.rename(cluster.work)
    pgdba(cluster, f"up --docker --compose-dir {cluster.work}")
    assert {name: containers()[name] for name in NAMES} == {name: before[name] for name in NAMES}


def test_passwords_of_the_environment_beat_env_and_that_is_said(cluster, copy):
    own = {name: cluster.settings[name] for name in ("POSTGRES_PASSWORD", "REPLICATION_PASSWORD")}
    done = pgdba(cluster, "up --docker", environment={**cluster.environment(), **own})
    assert "POSTGRES_PASSWORD, REPLICATION_PASSWORD of the environment counts, not that of .env" in done.err
    # One of two would be a .env whose other password never counts.
    stack = copy()
    forget_env(stack)
    done = pgdba(stack, "up --docker", code=3, environment={**stack.environment(), "POSTGRES_PASSWORD": password()})
    assert "the environment has POSTGRES_PASSWORD" in done.err and not (stack.work / ".env").exists(), done


def test_without_an_engine_it_says_what_docker_said(cluster):
    environment = {**cluster.environment(), "DOCKER_HOST": "unix:///nonexistent"}
    done = pgdba(cluster, "up --docker", code=5, environment=environment)
    assert "Cannot connect to the Docker daemon at unix:///nonexistent" in done.err and "next:" in done.err
    # What does not need it works on; what does says so.
    status = pgdba(cluster, "status", environment=environment)
    assert "the containers cannot be looked at" in status.out and "pg-primary" in status.out
    assert pgdba(cluster, "psql -- -Atc 'select 1'", environment=environment).out == "1\n"
    pgdba(cluster, "down", code=5, environment=environment)
    done = cluster.sh("PATH=/nonexistent ../../bin/pgdba up --docker", check=False)
    assert done.code == 1 and "no program `docker`" in done.err and "next: install Docker" in done.err, done
    assert set(containers()) >= NAMES


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_ordinary_user_in_the_docker_group_and_outside(cluster):
    path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    if "PGDBA_DOCKER_ENGINE" in os.environ:  # mktemp's folder, ours; the socket in it decides who may
        os.chmod(os.environ["PGDBA_DOCKER_ENGINE"], 0o711)
    group = os.stat(path).st_gid
    cluster.folder.chmod(0o755)
    home = cluster.folder / "nobody"
    home.mkdir(exist_ok=True)
    shutil.chown(home, "nobody")
    # What leads to the socket may be closed to others; the socket itself decides here.
    closed = subprocess.run(["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "test", "-e", path]).returncode != 0

    def run(groups, arguments):
        return cluster.sh(f"env -u PGPASSFILE HOME={home} setpriv --reuid nobody --regid nogroup {groups} ../../bin/pgdba {arguments}", check=False)

    outside = run("--clear-groups", "up --docker")
    assert outside.code != 0 and (closed or "usermod -aG docker" in outside.err and "permission denied" in outside.err), outside
    if closed or group == 0:
        return
    (cluster.work / ".env").chmod(0o600)
    denied = run(f"--groups {group}", "up --docker")
    assert denied.code == 1 and f"cannot read {cluster.work}/.env" in denied.err and "chown" in denied.err, denied
    (cluster.work / ".env").chmod(0o644)
    assert "already; nothing was changed" in run(f"--groups {group}", "up --docker").err
    assert run(f"--groups {group}", "psql -- -Atc 'select 42'").out == "42\n"
    assert run(f"--groups {group}", "logs -n 1 pooler").code == 0
    kept = home / ".pgdba" / "docker" / "local-ha" / "pgpass"
    assert kept.owner() == "nobody" and stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_dry_run_changes_nothing(cluster, copy):
    before = containers()
    assert pgdba(cluster, "up --docker --dry-run").out.startswith("would start cluster local-ha in containers of ")
    assert pgdba(cluster, "down --dry-run").out == "would stop local-ha and remove its containers\n"
    stack = copy()
    (stack.work / ".env").unlink()
    pgdba(stack, "up --docker --dry-run", code=3)  # that cluster's data is in the way
    assert containers() == before and not (stack.work / ".env").exists() and not (stack.folder / "home" / ".pgdba").exists()
