"""The systems behind one set of verbs, so that run.py does the same to both."""
import dataclasses
import os
import pathlib
import shutil
import signal
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "blackbox"))

from harness import ports, processes  # noqa: E402
from harness.cluster import Cluster, destroy, fresh_folder  # noqa: E402
from harness.patroni import PatroniCluster  # noqa: E402
from harness.pooler import PgBouncer, Pooler  # noqa: E402
from harness.waiting import wait_until  # noqa: E402


POOL = 20  # servers behind the port that clients use; what `pgdba up` writes


class Pgdba:
    def __init__(self, profile="fast"):
        self.label = f"pgdba {profile}"
        self.profile = profile
        self._offset = ports.offset()
        self.cluster = Cluster(fresh_folder(), offset=self._offset.__enter__(), name=f"bench{os.getpid()}", profile=profile)
        self.ttl = self.cluster.ttl

    def start(self):
        began = time.monotonic()
        self.cluster.up()
        return time.monotonic() - began

    def stop(self):
        destroy(self.cluster)
        self._offset.__exit__(None, None, None)

    @property
    def endpoints(self):
        return self.cluster.endpoints

    def pooled(self):
        return self.cluster.pooled()

    def go_home(self):
        self.wait_ready()

    def wait_ready(self):
        self.cluster.wait_healthy(120)

    def leader(self):
        return self.cluster.primary().name

    def port(self, name):
        return self.cluster[name].port

    def postmaster(self, name):
        return self.cluster[name].postmaster()

    def kill_postmaster(self, name):
        self.postmaster(name).kill()

    def kill_node(self, name):
        self.cluster.act("kill", name)

    def freeze_node(self, name):
        self.cluster.act("freeze", name)

    def thaw_node(self, name):
        self.cluster.act("thaw", name)

    def stop_node(self, name):
        self.cluster.act("stop", name)

    def start_node(self, name):
        self.cluster.act("start", name)

    def switchover(self, _leader, candidate):
        self.cluster.run("cluster", "switchover", "--candidate", candidate, "--name", self.cluster.name, "--yes")

    def others(self, leader):
        return [name for name in self.cluster.nodes if name != leader]

    def agents(self):
        return {name: node.agent() for name, node in self.cluster.nodes.items()}

    def stall_targets(self):
        """(label, process) for the stalls: agent, postgres and guardian of the leader, and each etcd member."""
        leader = self.cluster.primary()
        return [("agent", leader.agent()), ("postgres", leader.postmaster()), ("guardian", leader.guardian()),
                *((f"etcd{number}", self.cluster.etcd(f"etcd{number}")) for number in (1, 2, 3))]

    def status_seconds(self):
        began = time.monotonic()
        self.cluster.run("cluster", "status", "--name", self.cluster.name)
        return time.monotonic() - began


class Patroni:
    def __init__(self, ttl):
        self.label = f"Patroni ttl {ttl}"
        self.ttl = float(ttl)
        # ttl 30 with Patroni's defaults; ttl 20, its smallest, with loop_wait and retry_timeout scaled alike.
        self.timings = {30: (30, 10, 10), 20: (20, 6, 7)}[ttl]
        self._offset = ports.offset()
        self.folder = fresh_folder()
        self.cluster = PatroniCluster(self.folder, timings=self.timings, offset=self._offset.__enter__())

    def start(self):
        began = time.monotonic()
        self.cluster.start()
        return time.monotonic() - began

    def stop(self):
        self.cluster.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._offset.__exit__(None, None, None)

    @property
    def endpoints(self):
        return self.cluster.endpoints

    def wait_ready(self):
        self.cluster.wait_ready(240)

    def leader(self):
        return wait_until("a leader", 60, self.cluster.leader)

    def port(self, name):
        return self.cluster.ports[self.cluster.names.index(name)]

    def postmaster(self, name):
        try:
            process = self.cluster.postmaster(name)
        except (OSError, ValueError):
            return None
        return process if process and process.state != "Z" else None

    def kill_postmaster(self, name):
        self.postmaster(name).kill()

    def kill_node(self, name):
        self.cluster.kill_node(name)

    def freeze_node(self, name):
        self.frozen = self.cluster.signal_node(name, signal.SIGSTOP)

    def thaw_node(self, _name):
        for process in self.frozen:
            process.send(signal.SIGCONT)

    def stop_node(self, name):
        self.cluster.agents[name].stop(60)

    def start_node(self, name):
        self.cluster.agents[name].start()

    def switchover(self, leader, candidate):
        status, text = self.cluster.switchover(leader, candidate)
        if status != 200:
            raise RuntimeError(f"Patroni refused the switchover: {status} {text}")

    def others(self, leader):
        return [name for name in self.cluster.names if name != leader]

    def agents(self):
        return {name: processes.read(agent.pid) for name, agent in self.cluster.agents.items()}

    def stall_targets(self):
        leader = self.leader()
        return [("agent", processes.read(self.cluster.agents[leader].pid)), ("postgres", self.cluster.postmaster(leader)),
                *((member.name, processes.read(member.pid)) for member in self.cluster.etcd.members)]

    def status_seconds(self):
        from harness import tree
        import subprocess
        began = time.monotonic()
        subprocess.run(tree.command("13", ["patronictl", "-c", f"{self.folder}/pg-primary/patroni.yml", "list"], "postgres", [self.folder]),
                       check=True, capture_output=True)
        return time.monotonic() - began


class Pooled(Patroni):
    """Patroni with a pooler before it: PgBouncer 1.24.1 that leads to the host of the first primary, as people deploy it, or ours
    that follows the leader by Patroni's REST API. Either survives the loss of a node."""

    def __init__(self, ttl, front):
        super().__init__(ttl)
        self.label += {"pgbouncer": " + PgBouncer to one host", "pooler": " + pgdba pooler"}[front]
        self.front = front
        self.front_folder = fresh_folder()
        os.chmod(self.front_folder, 0o755)
        settings = {"pool_mode": "transaction", "default_pool_size": POOL, "max_client_conn": 200,
                    "users": f'"postgres" "{self.cluster.password}"\n'}
        if front == "pooler":
            urls = ",".join(f"http://127.0.0.1:{port}" for port in self.cluster.rest_ports)
            self.pooler = Pooler(self.front_folder, {"postgres": "role=primary"}, cluster_api=urls, failover_hold_timeout=2 * ttl, **settings)
        else:
            host = {"postgres": f"host=127.0.0.1 port={self.cluster.ports[0]}"}
            self.pooler = PgBouncer(self.front_folder, self.cluster.release, host, **settings)

    def start(self):
        took = super().start()
        self.go_home()
        self.pooler.start()
        return took

    def stop(self):
        self.pooler.stop()
        super().stop()
        shutil.rmtree(self.front_folder, ignore_errors=True)

    def pooled(self):
        return dataclasses.replace(self.endpoints, ports=(self.pooler.port,))

    def go_home(self):
        """PgBouncer leads to the first node, so a measurement begins with that one as primary."""
        self.wait_ready()
        if self.front == "pgbouncer" and self.leader() != self.cluster.names[0]:
            self.switchover(self.leader(), self.cluster.names[0])
            self.wait_ready()
