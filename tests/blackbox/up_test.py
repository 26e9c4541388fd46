"""`pgdba up`, `down` and what belongs to them, as a person and as a script see them."""
import json
import os
import re
import socket
import stat
import subprocess

import pytest

from harness import ports, processes
from harness.client import ask
from harness.servers import as_user, http
from harness.waiting import wait_until


def test_from_up_over_down_to_purge(make_cluster, user):
    cluster = make_cluster(user=user)
    told = cluster.up().json()
    assert told["schema_version"] >= 1 and told["healthy"]
    # "Ready" was claimed: a write is acknowledged at once, and both replicas stream, without waiting for anything.
    leader = cluster.primary(seconds=1)
    assert ask(cluster.endpoints.conninfo(read_write=True), "create table kept as select 42 as answer", 2) == ()
    assert leader.sql("select count(*) from pg_stat_replication where state = 'streaming' and sync_state = 'quorum'") == ("2",)
    status = cluster.status()
    assert [member["name"] for member in status["members"]] == ["pg-primary", "pg-replica-1", "pg-replica-2"]
    assert [member["sync_state"] for member in status["members"]].count("quorum") == 2, "nobody could take over yet"
    if os.geteuid() == 0:
        owner = os.stat(f"/proc/{leader.postmaster().pid}").st_uid
        assert owner != 0, "PostgreSQL runs as root"
    system = leader.sql("select system_identifier from pg_control_system()")
    cluster.down()
    assert processes.below(cluster.data_dir) == []
    assert os.path.isdir(cluster.data_dir)
    cluster.up()
    assert cluster.primary(seconds=1).sql("select answer from kept") == ("42",)
    assert cluster.primary().sql("select system_identifier from pg_control_system()") == system
    assert all(node.sql("select answer from kept") == ("42",) for node in cluster.nodes.values())
    cluster.purge()


def test_up_again_says_that_it_runs(cluster):
    before = {process.pid for process in processes.below(cluster.data_dir)}
    result = cluster.run("up", "--name", cluster.name)
    assert re.search(r"already|runs|running", result.err + result.out), result
    assert before - {process.pid for process in processes.below(cluster.data_dir)} == set()


@pytest.mark.long
@pytest.mark.parametrize("nodes", [2, 5, 7])
def test_number_of_nodes(make_cluster, nodes):
    cluster = make_cluster(nodes=nodes)
    cluster.up()
    cluster.wait_healthy()
    assert len(cluster.etcds()) == 3
    assert ask(cluster.endpoints.conninfo(read_write=True), "create table t as select 1 as n") == ()


@pytest.mark.parametrize("nodes", ["0", "8", "three"])
def test_impossible_number_of_nodes_is_a_usage_error(program, make_cluster, nodes):
    cluster = make_cluster()
    result = cluster.run("up", "--name", cluster.name, "--data-dir", cluster.data_dir, "--nodes", nodes, code=2)
    assert "--nodes" in result.err
    assert not os.path.exists(cluster.data_dir)


@pytest.mark.parametrize("whose", ["pg-replica-1", "pooler"])
def test_taken_port_names_port_holder_flag_and_a_free_offset(make_cluster, whose):
    cluster = make_cluster()
    port = cluster.pooler_port if whose == "pooler" else cluster[whose].port
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", port))
        holder.listen()
        result = cluster.up(code=None)
        assert result.code == 1, result
        assert str(port) in result.err
        assert str(os.getpid()) in result.err and "python" in result.err, f"the holder is not named: {result}"
        found = re.search(r"--port-offset[= ](\d+)", result.err)
        assert found, f"no flag that helps: {result}"
        assert all(ports.is_free(base + int(found[1])) for base in ports.BASES[:3])
    assert processes.below(cluster.data_dir) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs two users")
def test_holder_of_a_taken_port_that_this_user_may_not_see(make_cluster):
    cluster = make_cluster(user="nobody")
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", cluster["pg-primary"].port))
        holder.listen()
        result = cluster.up(code=1)
    assert re.search(rf"sudo .*ss .*{cluster['pg-primary'].port}", result.err), result


def test_clusters_side_by_side(make_cluster):
    one, two = make_cluster(nodes=1), make_cluster(nodes=1)
    two.home = one.home  # one user, one registry
    two.environment = one.environment
    one.up()
    two.up()
    names = {entry["name"] for entry in one.run("cluster", "list", "-o", "json").json()["clusters"]}
    assert {one.name, two.name} <= names
    # With two of them a command has to be told which.
    assert one.run("status", code=None).code == 2
    two.purge()
    one.wait_healthy(20)


def test_one_node_and_the_environment_of_the_caller_does_not_matter(make_cluster):
    cluster = make_cluster(nodes=1)
    cluster.environment = lambda **more: {**type(cluster).environment(cluster, **more), "LANG": "de_DE.ISO-8859-1", "LC_ALL": "POSIX",
                                          "PGPORT": "1", "PGHOST": "nowhere.invalid", "PGUSER": "nobody",
                                          "PGOPTIONS": "-c work_mem=1", "PGPASSWORD": "wrong"}
    cluster.up()
    cluster.wait_healthy()
    assert len(cluster.etcds()) == 3
    assert ask(cluster.endpoints.conninfo(read_write=True), "create table t as select 1 as n") == ()
    row = cluster.primary().sql("select pg_encoding_to_char(encoding), datcollate from pg_database where datname = 'postgres'")
    assert row[0] == "UTF8" and row[1] in ("C.UTF-8", "C.utf8")


def test_defaults_of_the_servers(cluster):
    leader = cluster.primary()
    assert leader.sql("show data_checksums") == ("on",)
    assert leader.sql("show wal_log_hints") == ("on",)
    assert leader.sql("show password_encryption") == ("scram-sha-256",)
    assert leader.sql("show listen_addresses")[0] in ("127.0.0.1", "localhost")
    assert leader.sql("show synchronous_standby_names")[0].upper().startswith("ANY 1")
    assert leader.sql("select count(*) from pg_hba_file_rules where auth_method in ('trust', 'password', 'md5') or error is not null") == ("0",)


def test_everything_listens_on_loopback_only(cluster):
    ours = {process.pid for process in processes.below(cluster.data_dir)}
    out = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    mine = [line for line in out.splitlines() if any(f"pid={pid}," in line for pid in ours)]
    assert len(mine) >= 3 + 3 + 6, out
    assert all(line.split()[3].startswith(("127.0.0.1:", "[::1]:")) for line in mine), mine


def test_env_and_the_printed_urls_work_when_pasted(cluster, folder):
    text = cluster.run("up", "--name", cluster.name).out  # a no-op prints its block again
    script = cluster.run("env", "--name", cluster.name).out
    assert "PGPASSFILE" in script and "PGPASSWORD" not in script
    passfile = re.search(r"PGPASSFILE=(\S+)", script)[1].strip("'\"")
    assert stat.S_IMODE(os.stat(passfile).st_mode) == 0o600
    uris = re.findall(r"(?<!jdbc:)\bpostgres(?:ql)?://[^\s'\"]+", text)
    assert uris, f"no URI to copy:\n{text}"
    for uri in uris:
        assert ":" not in uri.split("@")[0].split("//")[1] or "@" not in uri, f"a password in {uri}"
        done = subprocess.run(["sh", "-c", f"{script}\npsql -X -A -t -c 'select 1' '{uri}'"], capture_output=True, text=True, timeout=20,
                              env=cluster.environment(), **as_user(cluster.user))
        assert done.stdout.strip() == "1", (uri, done.stderr)
    rest = re.findall(r"http://127\.0\.0\.1:\d+", text)
    assert rest and all(http(url + "/liveness")[0] == 200 for url in rest), rest
    assert re.search(r"jdbc:postgresql://127\.0\.0\.1:\d+(,127\.0\.0\.1:\d+)+/\S*targetServerType=primary", text), text


def secrets_of(cluster):
    with open(cluster.endpoints.passfile) as file:
        return {line.rstrip("\n").rsplit(":", 1)[1] for line in file if line.strip() and not line.startswith("#")}


def test_secrets_stay_in_files_of_mode_0600(cluster):
    secrets = secrets_of(cluster)
    assert secrets and all(len(secret) >= 16 for secret in secrets)
    for process in processes.below(cluster.data_dir):
        with open(f"/proc/{process.pid}/environ", "rb") as file:
            environment = file.read().decode(errors="replace")
        for secret in secrets:
            assert secret not in process.command, f"in argv of {process.pid}"
            assert secret not in environment, f"in the environment of {process.pid}: {process.command}"
    dump = cluster.etcdctl("get", "--prefix", "")
    told = [cluster.status(), cluster.run("up", "--name", cluster.name, "-o", "json").json()]
    logs = cluster.run("logs", "--name", cluster.name).out
    for secret in secrets:
        assert secret not in dump and secret not in json.dumps(told) and secret not in logs
    for top, _, names in os.walk(cluster.data_dir):
        for name in names:
            path = os.path.join(top, name)
            try:
                with open(path, "rb") as file:
                    content = file.read(4 << 20)
                mode = stat.S_IMODE(os.stat(path).st_mode)
            except OSError:
                continue
            if any(secret.encode() in content for secret in secrets):
                assert mode & 0o077 == 0, f"{path} has a password and mode {mode:o}"
                assert not path.endswith(".log"), f"{path} has a password"


# stop, start, kill, freeze, thaw.

@pytest.mark.parametrize("target", ["pg-replica-1", "replica"])
def test_stop_and_start_a_replica(cluster, target):
    if target == "pg-replica-1" and cluster.primary().name == target:
        target = "pg-replica-2"
    cluster.act("stop", target)
    down = [node for node in cluster.nodes.values() if node.postmaster() is None]
    assert len(down) == 1
    status = cluster.status(code=None)
    assert [member["name"] for member in status["members"]] == list(cluster.nodes), "an absent member must be shown as missing"
    # It stays down: whoever stopped it wants it so.
    wait_until("the agent is gone", 10, lambda: down[0].agent() is None)
    cluster.act("start", down[0].name)
    cluster.wait_healthy()


def test_stop_primary_hands_over_and_start_brings_it_back_as_replica(cluster):
    leader = cluster.primary()
    cluster.act("stop", "primary")
    other = wait_until("another primary", 30, lambda: cluster.primaries())
    assert other[0] is not leader
    cluster.act("start", leader.name)
    cluster.wait_healthy()
    assert cluster.primary() is other[0]


def test_freeze_and_thaw_stop_and_continue_the_whole_node(cluster):
    node = cluster.replicas()[0]
    cluster.act("freeze", node.name)
    frozen = [process for process in node.processes() if process.state != "Z"]  # the dead wait for a frozen parent
    assert len(frozen) > 5 and all(process.state == "T" for process in frozen), frozen
    cluster.act("thaw", node.name)
    assert all(process.state != "T" for process in node.processes())
    cluster.wait_healthy()


def test_unknown_target_is_a_usage_error_that_names_the_targets(cluster):
    result = cluster.run("stop", "pg-primray", "--name", cluster.name, code=2)
    assert "pg-primary" in result.err


@pytest.mark.parametrize("which", ["agent", "etcd1"])
def test_supervisor_restarts_what_died_and_says_so(cluster, which):
    node = cluster.replicas()[0]
    process = cluster.etcd("etcd1") if which == "etcd1" else node.agent()
    process.kill()
    again = wait_until("it is back", 20, lambda: cluster.etcd("etcd1") if which == "etcd1" else node.agent())
    assert again.pid != process.pid
    cluster.wait_healthy()
    text = cluster.run("status", "--name", cluster.name).out + cluster.run("logs", "--name", cluster.name).out
    assert re.search("restart", text), "nobody says that something was restarted"


def test_psql_reaches_primary_and_replica(cluster):
    primary = cluster.run("psql", "--name", cluster.name, "--", "-X", "-A", "-t", "-c", "select pg_is_in_recovery()")
    replica = cluster.run("psql", "--replica", "--name", cluster.name, "--", "-X", "-A", "-t", "-c", "select pg_is_in_recovery()")
    assert (primary.out.strip(), replica.out.strip()) == ("f", "t")


def test_logs_interleave_all_and_select_one(cluster):
    everything = cluster.run("logs", "--name", cluster.name).out
    assert all(name in everything for name in ("pg-primary", "pg-replica-1", "pg-replica-2", "etcd")), everything[-2000:]
    one = cluster.run("logs", "pg-replica-1", "--name", cluster.name).out
    assert one and "\x1b" not in one
    follower = cluster.popen("logs", "-f", "pg-primary", "--name", cluster.name)
    try:
        os.set_blocking(follower.stdout.fileno(), False)
        wait_until("what is there already", 10, lambda: follower.stdout.read())
        assert follower.poll() is None
    finally:
        follower.kill()
        follower.communicate()
