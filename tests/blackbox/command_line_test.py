"""The command line itself: what it says to a mistake, to a script, to a terminal, and with which exit code it ends."""
import json
import os
import pty
import re
import select
import subprocess
import time

import pytest

from harness import ports
from harness.waiting import wait_until


def test_version(program):
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 0 and re.search(r"\d+\.\d+\.\d+", done.stdout) and done.stderr == ""


@pytest.mark.parametrize("arguments, hint", [
    (["stauts"], "status"), (["cluster", "swithover"], "switchover"), (["up", "--node", "3"], "--nodes"), ([], "up"),
    (["cluster", "status", "-o", "xml"], "json")])
def test_mistakes_are_usage_errors_that_say_what_was_meant(program, arguments, hint, folder):
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=10, env={"HOME": folder, "PATH": os.environ["PATH"]})
    assert done.returncode == 2, done
    assert hint in done.stderr and done.stdout == "", done


def test_unknown_cluster_names_the_next_command(program, folder):
    done = subprocess.run([program, "status", "--name", "nowhere"], capture_output=True, text=True, timeout=10,
                          env={"HOME": folder, "PATH": os.environ["PATH"]})
    assert done.returncode in (1, 2) and "nowhere" in done.stderr and "pgdba" in done.stderr, done


def test_action_without_terminal_and_without_yes_refuses(cluster):
    result = cluster.run("cluster", "switchover", "--name", cluster.name, code=None, seconds=20)
    assert result.code in (2, 3) and "--yes" in result.err, result
    result = cluster.run("down", "--purge", "--name", cluster.name, code=None, seconds=20)
    assert result.code in (2, 3) and "--yes" in result.err, result
    cluster.wait_healthy(10)


# Exit codes.

def test_exit_codes_of_a_cluster_that_is_down(make_cluster):
    cluster = make_cluster(nodes=1)
    cluster.up()
    cluster.down()
    assert "up" in cluster.run("status", "--name", cluster.name, code=5).err
    assert cluster.run("status", "--check", "--name", cluster.name, code=2).out.startswith("PGDBA CRITICAL")
    for words in (["switchover"], ["failover", "--candidate", "pg-primary"], ["restart"], ["reload"], ["reinit", "pg-primary"], ["pause"],
                  ["resume"], ["config", "show"], ["config", "set", "ttl=5"], ["history"]):
        result = cluster.run("cluster", *words, "--name", cluster.name, *([] if words[0] in ("config", "history") and words[-1] != "ttl=5" else ["--yes"]), code=5)
        assert "pgdba up" in result.err, result
    assert cluster.run("psql", "--name", cluster.name, "--", "-c", "select 1", code=None).code != 0
    cluster.run("down", "--name", cluster.name)  # nothing to do is done
    assert cluster.run("logs", "--name", cluster.name).out
    cluster.purge()


def test_check_of_an_unknown_cluster_is_nagios_unknown(program, folder):
    done = subprocess.run([program, "status", "--check", "--name", "nowhere"], capture_output=True, text=True, timeout=10,
                          env={"HOME": folder, "PATH": os.environ["PATH"]})
    assert done.returncode == 3 and done.stdout.startswith("PGDBA UNKNOWN") and done.stdout.count("\n") == 1, done


def test_timeout_is_told_from_failure(cluster):
    """What was ordered goes on; only the waiting ends."""
    replica = cluster.replicas()[0]
    result = cluster.run("cluster", "reinit", replica.name, "--name", cluster.name, "--yes", "--timeout", "0.05", code=4)
    assert "pgdba" in result.err
    cluster.wait_healthy(90)


# On a terminal.

def on_terminal(cluster, arguments, answer=None, **more):
    """Runs pgdba with a terminal on all three; types `answer` when it asks. (exit code, everything shown)"""
    parent, child = pty.openpty()
    process = subprocess.Popen([cluster.program, *arguments], stdin=child, stdout=child, stderr=child, cwd="/",
                               env=cluster.environment(TERM="xterm", **more), start_new_session=True)
    os.close(child)
    shown, end = "", time.monotonic() + 60
    try:
        while time.monotonic() < end:
            if select.select([parent], [], [], 0.1)[0]:
                try:
                    shown += os.read(parent, 65536).decode()
                except OSError:  # the last descriptor of the other side is closed
                    break
            if answer is not None and "[y/N]" in shown:
                os.write(parent, answer.encode())
                answer = None
        return process.wait(10), shown
    finally:
        process.kill()
        os.close(parent)


def test_colours_on_a_terminal_unless_no_color(cluster):
    words = ["status", "--name", cluster.name]
    assert "\x1b[" in on_terminal(cluster, words)[1]
    assert "\x1b[" not in on_terminal(cluster, words, NO_COLOR="1")[1]
    assert "\x1b[" not in on_terminal(cluster, [*words, "--color", "never"])[1]
    code, text = on_terminal(cluster, ["status", "--name", cluster.name, "-o", "json"])
    assert code == 0 and json.loads(text)["leader"] == cluster.primary().name


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"], ids=["no", "return", "end-of-file"])
def test_anything_but_yes_changes_nothing(cluster, answer):
    leader = cluster.primary()
    code, text = on_terminal(cluster, ["cluster", "switchover", "--name", cluster.name], answer)
    assert code == 3 and "nothing was changed" in text, text
    assert cluster.primary() is leader


def test_yes_on_a_terminal_does_it(cluster):
    replica = cluster.replicas()[0]
    before = replica.postmaster().pid
    code, text = on_terminal(cluster, ["cluster", "restart", replica.name, "--name", cluster.name], "y\n")
    assert code == 0, text
    assert replica.postmaster().pid != before


# For scripts.

def test_json_of_every_reading_command_has_a_schema_version_and_nothing_else_on_stdout(cluster):
    for words in (["status"], ["cluster", "status"], ["cluster", "list"], ["cluster", "history"], ["cluster", "config", "show"], ["env"],
                  ["up"]):
        names = [] if words[-1] == "list" else ["--name", cluster.name]
        assert cluster.run(*words, *names, "-o", "json").json()["schema_version"] == 1, words
    first = cluster.run("logs", "-n", "1", "--name", cluster.name, "-o", "json").out.splitlines()[0]
    assert json.loads(first)["schema_version"] == 1


def test_json_of_every_changing_command_is_one_object(cluster):
    """Whoever asked for JSON gets it: of what was done, of what would be done, and of a refusal."""
    names = ["--name", cluster.name]
    done = cluster.run("cluster", "reload", *names, "--yes", "-o", "json").json()
    assert done["schema_version"] == 1 and done["done"] is True
    plan = cluster.run("down", *names, "--dry-run", "-o", "json").json()
    assert plan["dry_run"] is True and cluster.name in plan["plan"], plan
    refused = cluster.run("down", "--purge", *names, "-o", "json", code=None)
    told = json.loads(refused.out)
    assert told["done"] is False and told["exit"] == refused.code and "--yes" in told["next"], told
    cluster.wait_healthy(10)


def test_reader_that_goes_away_is_no_error(cluster):
    done = subprocess.run(["sh", "-c", f"{cluster.program} logs -n 0 --name {cluster.name} | head -n 1"], capture_output=True, text=True,
                          env=cluster.environment(), cwd="/", timeout=20)
    assert done.returncode == 0 and done.stdout.count("\n") == 1 and done.stderr == "", done


@pytest.mark.parametrize("words", [["cluster", "restart"], ["cluster", "reload"], ["cluster", "pause"], ["cluster", "failover", "--candidate", "REPLICA"],
                                   ["cluster", "reinit", "REPLICA"], ["cluster", "config", "set", "postgresql.parameters.work_mem=5MB"],
                                   ["kill", "primary"], ["stop", "all"], ["freeze", "REPLICA"], ["down", "--purge"], ["down"]], ids=" ".join)
def test_dry_run_says_what_it_would_do_and_does_nothing(cluster, words):
    replica = cluster.replicas()[0].name
    before = {node.name: (node.postmaster().pid, node.agent().pid) for node in cluster.nodes.values()}
    config = cluster.etcdctl("get", f"/service/{cluster.name}/config", "--print-value-only")
    result = cluster.run(*[replica if word == "REPLICA" else word for word in words], "--dry-run", "--name", cluster.name)
    assert "would" in result.out, result
    assert {node.name: (node.postmaster().pid, node.agent().pid) for node in cluster.nodes.values()} == before
    assert cluster.etcdctl("get", f"/service/{cluster.name}/config", "--print-value-only") == config


# Clusters that others run.

def test_external_cluster_wants_credentials_for_changes_only(cluster, folder):
    """What is registered by its address knows no password: reading works, changing says how to give one."""
    def run(*words, code, **environment):
        done = subprocess.run([cluster.program, *words], capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, cwd="/",
                              env={"HOME": folder, "PATH": os.environ["PATH"], **environment})
        assert done.returncode == code, (words, done)
        return done

    url = f"http://127.0.0.1:{cluster.replicas()[0].rest_port}"
    run("cluster", "connect", "--name", "far", "--patroni-url", url, code=0)
    assert json.loads(run("cluster", "status", "-o", "json", code=0).stdout)["leader"] == cluster.primary().name
    refused = run("cluster", "reload", "--yes", code=3)
    assert "PGDBA_REST_USER" in refused.stderr and "credentials" in refused.stderr
    with open(os.path.join(cluster.data_dir, "curlrc")) as file:
        account, secret = re.search(r'user = "(.*):(.*)"', file.read()).groups()
    run("cluster", "reload", "--yes", code=0, PGDBA_REST_USER=account, PGDBA_REST_PASSWORD=secret)
    path = os.path.join(folder, ".pgdba", "credentials")
    with open(path, "w") as file:
        file.write(f"# a comment\nfar:{account}:{secret}\n")
    os.chmod(path, 0o644)
    assert "chmod 600" in run("cluster", "reload", "--yes", code=3).stderr
    os.chmod(path, 0o600)
    run("cluster", "reload", "--yes", code=0)
    for name in os.listdir(os.path.join(folder, ".pgdba")):
        if name != "credentials":
            assert secret not in open(os.path.join(folder, ".pgdba", name)).read()
    run("cluster", "forget", "far", "--yes", code=0)
    assert json.loads(run("cluster", "list", "-o", "json", code=0).stdout)["clusters"] == []


def test_connect_refuses_the_addresses_of_two_clusters(cluster, make_cluster, folder):
    other = make_cluster(nodes=1)
    other.up()
    urls = f"http://127.0.0.1:{cluster.primary().rest_port},http://127.0.0.1:{other['pg-primary'].rest_port}"
    result = cluster.run("cluster", "connect", "--name", "both", "--patroni-url", urls, code=3)
    assert cluster.name in result.err and other.name in result.err
    other.purge()


def test_status_by_an_address_where_something_else_answers(cluster, program, folder):
    """An etcd is no Patroni; a port where nobody listens is unreachable. Both say so at once."""
    etcd = cluster.etcd_endpoints()[0]
    [free] = ports.free_ports(1)
    for url in (etcd, f"http://127.0.0.1:{free}", f"127.0.0.1:{free}"):
        done = subprocess.run([program, "cluster", "status", "--patroni-url", url], capture_output=True, text=True, timeout=20,
                              env={"HOME": folder, "PATH": os.environ["PATH"]})
        assert done.returncode == 5 and "answers" in done.stderr, (url, done)


def test_watch_goes_on_through_a_failure(cluster):
    """Whoever watches wants to see the end of an outage, not of the command."""
    watch = cluster.popen("status", "--watch=0.2", "--name", cluster.name, "-o", "tsv")
    try:
        os.set_blocking(watch.stdout.fileno(), False)
        wait_until("a first round", 10, lambda: watch.stdout.read())
        for name in cluster.nodes:
            cluster.act("stop", name)
        wait_until("a round without any member", 20, lambda: "stopped" in (watch.stdout.read() or ""))
        assert watch.poll() is None
        for name in cluster.nodes:
            cluster.act("start", name)
        wait_until("a round with a leader again", 60, lambda: "leader\trunning" in (watch.stdout.read() or ""))
    finally:
        watch.kill()
        watch.communicate()
    cluster.wait_healthy()
