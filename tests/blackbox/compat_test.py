"""Patroni's own tools and HAProxy on a cluster of ours: patronictl 3.0.2 from Debian 12 in every run, 4.0.7 from the Debian 13 tree
as a peer test."""
import json
import os
import subprocess

import pytest
import yaml

from harness import ports, tree
from harness.client import ask
from harness.journal import Endpoints
from harness.servers import Server
from harness.waiting import wait_until


class Ctl:
    """patronictl, configured as its users do: from a node's own patroni.yml."""

    def __init__(self, cluster, command):
        self.cluster = cluster
        self.command = command
        with open(os.path.join(cluster["pg-primary"].folder, "patroni.yml")) as file:
            config = yaml.safe_load(file)
        self.path = os.path.join(cluster.base, "patronictl.yml")
        with open(os.open(self.path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w") as file:
            yaml.safe_dump(config, file)

    def __call__(self, *arguments, text="", code=0, seconds=90):
        trees = os.environ.get("PGDBA_TREES") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "pgdba/trees")
        environment = {**os.environ, "HOME": self.cluster.home, "PGDBA_TREES": trees, "LC_ALL": "C.UTF-8", "EDITOR": "true", "COLUMNS": "300"}
        done = subprocess.run([*self.command(["patronictl", "-c", self.path, *arguments])], input=text, capture_output=True, text=True,
                              timeout=seconds, env=environment, cwd="/")
        assert code is None or done.returncode == code, f"patronictl {arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def members(self):
        return {row["Member"]: row for row in json.loads(self("list", "-f", "json"))}


@pytest.fixture
def ctl3(cluster):
    if not os.path.exists("/usr/bin/patronictl"):
        pytest.skip("patronictl is not installed: tools/setup test")
    return Ctl(cluster, lambda arguments: arguments)


@pytest.fixture
def ctl4(cluster, tree13):
    return Ctl(cluster, lambda arguments: tree.command(tree13, arguments, None, [cluster.base]))


def check_list(cluster, ctl):
    leader = cluster.primary().name
    members = ctl.members()
    assert set(members) == set(cluster.nodes)
    assert members[leader]["Role"] == "Leader" and members[leader]["State"] == "running"
    assert all(row["State"] in ("streaming", "running") for row in members.values())


def check_switchover(cluster, ctl):
    leader, candidate = cluster.primary(), cluster.replicas()[0]
    flag = "--leader" if "--leader" in ctl("switchover", "--help") else "--master"
    out = ctl("switchover", flag, leader.name, "--candidate", candidate.name, "--force")
    assert "Successfully" in out, out
    assert cluster.wait_healthy() is candidate


def check_edit_config(cluster, ctl):
    ctl("edit-config", "--force", "-p", "work_mem=9MB")
    wait_until("the setting is everywhere", 20, lambda: all(node.sql("show work_mem") == ("9MB",) for node in cluster.nodes.values()))
    assert "9MB" in ctl("show-config")
    ctl("edit-config", "--force", "-p", "work_mem=null")


def test_patronictl_3_list(cluster, ctl3):
    check_list(cluster, ctl3)


def test_patronictl_3_switchover(cluster, ctl3):
    check_switchover(cluster, ctl3)


def test_patronictl_3_edit_config(cluster, ctl3):
    check_edit_config(cluster, ctl3)


@pytest.mark.peer
class TestPatronictl4:
    def test_list_and_topology(self, cluster, ctl4):
        check_list(cluster, ctl4)
        out = ctl4("topology")
        assert all(name in out for name in cluster.nodes)
        rows = ctl4.members()
        assert sum(row["Role"] == "Quorum Standby" for row in rows.values()) == 2

    def test_history(self, cluster, ctl4):
        check_switchover(cluster, ctl4)
        lines = json.loads(ctl4("history", "-f", "json"))
        assert lines and lines[-1]["New Leader"] == cluster.primary().name

    def test_show_and_edit_config(self, cluster, ctl4):
        check_edit_config(cluster, ctl4)

    def test_switchover(self, cluster, ctl4):
        check_switchover(cluster, ctl4)

    def test_failover(self, cluster, ctl4):
        candidate = cluster.replicas()[0]
        ctl4("failover", "--candidate", candidate.name, "--force")
        assert cluster.wait_healthy() is candidate

    def test_restart(self, cluster, ctl4):
        replica = cluster.replicas()[0]
        before = replica.postmaster().pid
        out = ctl4("restart", cluster.name, replica.name, "--force")
        assert "Success" in out, out
        cluster.wait_healthy()
        assert replica.postmaster().pid != before

    def test_reload(self, cluster, ctl4):
        assert "Reload request received" in ctl4("reload", cluster.name, "--force")

    def test_reinit(self, cluster, ctl4):
        replica = cluster.replicas()[0]
        mark = os.path.join(replica.data, "made_by_the_test")
        with open(mark, "w"):
            pass
        ctl4("reinit", cluster.name, replica.name, "--force", "--wait", seconds=180)
        cluster.wait_healthy()
        assert not os.path.exists(mark)

    def test_pause_and_resume(self, cluster, ctl4):
        ctl4("pause", "--wait")
        assert "Maintenance mode: on" in ctl4("list")
        ctl4("resume", "--wait")
        assert "Maintenance mode" not in ctl4("list")


HAPROXY = """
global
    maxconn 200
defaults
    mode tcp
    timeout connect 1s
    timeout client 60s
    timeout server 60s
listen primary
    bind 127.0.0.1:{write}
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server inter 300ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
listen replicas
    bind 127.0.0.1:{read}
    option httpchk OPTIONS /replica?lag=10MB
    http-check expect status 200
    default-server inter 300ms fall 2 rise 1 on-marked-down shutdown-sessions
{servers}
"""


def test_haproxy_routes_to_the_primary_and_follows_a_switchover(cluster, folder):
    write, read = ports.free_ports(2)
    servers = "\n".join(f"    server {node.name} 127.0.0.1:{node.port} check port {node.rest_port}" for node in cluster.nodes.values())
    with open(os.path.join(folder, "haproxy.cfg"), "w") as file:
        file.write(HAPROXY.format(write=write, read=read, servers=servers))
    proxy = Server("haproxy", ["/usr/sbin/haproxy", "-db", "-f", f"{folder}/haproxy.cfg"], f"{folder}/log").start()
    try:
        def through(port):
            ends = cluster.endpoints
            return ask(Endpoints((port,), ends.user, ends.database, passfile).conninfo(),
                       "select pg_is_in_recovery(), current_setting('port')", 2)
        # The passfile names the nodes' ports; HAProxy's are others.
        passfile = os.path.join(folder, "passfile")
        with open(cluster.endpoints.passfile) as file, open(os.open(passfile, os.O_CREAT | os.O_WRONLY, 0o600), "w") as copy:
            secret = next(line for line in file if line.strip() and not line.startswith("#")).rstrip("\n").split(":")
            copy.write(":".join(["*", "*", "*", *secret[3:]]) + "\n")
        leader = cluster.primary()
        wait_until("the write port reaches the primary", 20, lambda: through(write) == ("f", str(leader.port)))
        wait_until("the read port reaches a replica", 20, lambda: through(read)[0] == "t")
        candidate = cluster.replicas()[0]
        cluster.run("cluster", "switchover", "--candidate", candidate.name, "--name", cluster.name, "--yes")
        wait_until("the write port reaches the new primary", 20, lambda: through(write) == ("f", str(candidate.port)))
    finally:
        proxy.kill()
