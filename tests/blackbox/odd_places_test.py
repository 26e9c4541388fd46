"""`up` where it is not comfortable: a clone that others may not read, a deep folder, hard deaths before a purge, a log that fills."""
import glob
import os
import pwd
import shutil
import subprocess

import pytest

from harness import ports, processes
from harness.servers import kill_everything_below
from harness.waiting import wait_until


def closed_clone(cluster, owner):
    """The program below a folder that only its owner may enter, as a clone in a home folder is."""
    folder = os.path.join(cluster.base, "clone")
    os.makedirs(os.path.join(folder, "bin"))
    cluster.program = shutil.copy(cluster.program, os.path.join(folder, "bin", "pgdba"))
    os.chmod(cluster.program, 0o755)
    if owner:
        entry = pwd.getpwnam(owner)
        for path in (folder, os.path.join(folder, "bin"), cluster.program):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    os.chmod(folder, 0o700)


def test_clone_below_a_folder_that_only_its_owner_may_enter(make_cluster, user):
    cluster = make_cluster(nodes=1, user=user)
    closed_clone(cluster, user)
    cluster.up()
    agent = cluster["pg-primary"].agent()
    agent.kill()
    # The supervisor, too, has to start what it cannot reach by its path.
    wait_until("the agent is back", 20, lambda: (cluster["pg-primary"].agent() or agent).pid != agent.pid)
    cluster.wait_healthy()
    cluster.purge()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the cluster as somebody else")
def test_up_from_a_folder_that_the_clusters_user_may_not_enter(program, folder):
    """What `make up` does in a clone below root's own folder."""
    closed = os.path.join(folder, "closed")
    os.mkdir(closed, 0o700)
    with ports.offset() as offset:
        done = subprocess.run([program, "up", "--dry-run", "--name", "closed", "--port-offset", str(offset)], cwd=closed, capture_output=True,
                              text=True, timeout=30, env={**os.environ, "HOME": folder})
    assert done.returncode == 0 and "would" in done.stdout, done


def test_folder_too_deep_for_a_unix_socket(make_cluster):
    cluster = make_cluster(nodes=1)
    before = set(glob.glob("/tmp/pgdba-*"))
    cluster.data_dir = os.path.join(cluster.base, *["deep" * 5] * 5, "data")
    for node in cluster.nodes.values():
        node.folder = os.path.join(cluster.data_dir, node.name)
        node.data = os.path.join(node.folder, "data")
    cluster.up()
    assert cluster.run("psql", "--name", cluster.name, "--", "-XAtc", "select 1").out == "1\n"
    cluster.down()
    cluster.up()
    cluster.purge()
    assert set(glob.glob("/tmp/pgdba-*")) - before == set(), "purge left its sockets' folder"


@pytest.mark.parametrize("name", ["it's", "a,b", "100%", "$HOME"])
def test_folder_that_postgresql_cannot_name_is_a_usage_error(make_cluster, name):
    cluster = make_cluster()
    path = os.path.join(cluster.base, name)
    result = cluster.run("up", "--name", cluster.name, "--data-dir", path, "--port-offset", cluster.offset, code=2)
    assert path in result.err and "--data-dir" in result.err
    assert not os.path.exists(path)


def test_folder_behind_a_link(make_cluster):
    """A big disk is often reached by a link; everything is made where it points to, and purge removes it there."""
    cluster = make_cluster(nodes=1)
    real = os.path.join(cluster.base, "disk")
    os.mkdir(real)
    os.symlink(real, os.path.join(cluster.base, "link"))
    cluster.data_dir = os.path.join(cluster.base, "link", "data")
    cluster.up()
    cluster.data_dir = os.path.join(real, "data")
    assert os.path.exists(os.path.join(cluster.data_dir, "cluster.json"))
    cluster.wait_healthy()
    cluster.purge()


def test_file_in_place_of_the_folder_is_a_usage_error(make_cluster):
    cluster = make_cluster()
    with open(cluster.data_dir, "w"):
        pass
    assert "not a folder" in cluster.up(code=2).err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the cluster as somebody else")
def test_folder_that_postgres_may_not_enter_is_explained(make_cluster):
    cluster = make_cluster()
    closed = os.path.join(cluster.base, "closed")
    os.mkdir(closed, 0o700)
    cluster.data_dir = os.path.join(closed, "data")
    result = cluster.up(code=1)
    assert "postgres" in result.err and "--data-dir" in result.err
    assert not os.path.exists(cluster.data_dir)


def test_up_killed_at_any_moment_is_finished_by_the_next(make_cluster):
    cluster = make_cluster(nodes=1)
    words = ["up", "--name", cluster.name, "--data-dir", cluster.data_dir, "--port-offset", cluster.offset, "--nodes", 1]
    for step in range(12):
        child = cluster.popen(*words)
        try:
            child.communicate(timeout=0.02 * 1.5 ** step)  # the moment of its death, not a wait for something
            break
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
    cluster.up()
    cluster.wait_healthy()
    cluster.purge()


def test_purge_of_what_a_killed_up_left(make_cluster):
    cluster = make_cluster(nodes=1)
    words = ["up", "--name", cluster.name, "--data-dir", cluster.data_dir, "--port-offset", cluster.offset, "--nodes", 1]
    child = cluster.popen(*words)
    wait_until("it is registered", 10, lambda: cluster.name in open(os.path.join(cluster.home, ".pgdba", "clusters.json")).read())
    child.kill()
    child.communicate()
    cluster.purge()


def test_down_without_etcd_stops_cleanly(make_cluster):
    """The agents waited for an etcd that could not answer until they were killed."""
    cluster = make_cluster(nodes=2)
    cluster.up()
    for name in ("etcd1", "etcd2", "etcd3"):
        cluster.act("kill", name)
    result = cluster.down("--timeout", "40")
    assert "killed" not in result.err, result
    cluster.up()
    cluster.wait_healthy()
    cluster.purge()


def shared_memory():
    """System V segments and /dev/shm files of PostgreSQL, by name."""
    out = subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=True).stdout
    return {line.split()[1] for line in out.splitlines() if line.startswith("0x")} | set(glob.glob("/dev/shm/PostgreSQL.*"))


def test_purge_after_kill_9_of_everything_leaves_nothing(make_cluster):
    cluster = make_cluster(nodes=1)
    cluster.up()
    ours = {process.pid for process in processes.below(cluster.data_dir)}
    out = subprocess.run(["ipcs", "-mp"], capture_output=True, text=True, check=True).stdout
    segments = {line.split()[0] for line in out.splitlines() if line.split()[2:3] and line.split()[2].isdigit() and int(line.split()[2]) in ours}
    assert segments, f"which segment is the cluster's cannot be told: {out}"
    kill_everything_below(cluster.data_dir)
    cluster.purge()
    assert not segments & shared_memory(), "a segment of shared memory is left"


def test_a_log_that_fills_is_cut(cluster):
    """The log of PostgreSQL has no rotation of its own; with log_statement a busy day would fill the disk."""
    node = cluster.primary()
    paths = [path for path in glob.glob(f"{node.folder}/**/*.log", recursive=True) if "database system is ready" in open(path).read()]
    assert len(paths) == 1, f"where PostgreSQL logs is not clear: {paths}"
    with open(paths[0], "a") as file:
        file.write("2026-01-01 00:00:00.000 UTC [1] LOG:  a long line of no use to anybody\n" * 200_000)
    assert os.path.getsize(paths[0]) > 12 << 20
    wait_until("the log is cut", 30, lambda: os.path.getsize(paths[0]) < 1 << 20)
    node.sql("select pg_reload_conf()")
    wait_until("PostgreSQL goes on in it", 10, lambda: "received SIGHUP" in open(paths[0]).read())
    cluster.wait_healthy()


def test_logs_have_what_postgresql_says(cluster):
    node = cluster.replicas()[0]
    marker = "relation_of_the_log_test"
    with pytest.raises(RuntimeError):
        node.sql(f"select * from {marker}")
    wait_until("the error is in its log", 10, lambda: marker in cluster.run("logs", node.name, "--name", cluster.name).out)
