"""The two systems behind one set of verbs, so that run.py does the same to both."""
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
from harness.waiting import wait_until  # noqa: E402


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

    def _signal_node(self, name, number):
        # Parents first, so that nobody sees a child die and acts on it.
        found = sorted(self.cluster.node_processes(name), key=lambda process: process.started)
        for process in found:
            process.send(number)
        return found

    def kill_node(self, name):
        self._signal_node(name, signal.SIGKILL)
        self.cluster.agents[name].child.wait()
        wait_until("the node is gone", 10, lambda: not processes.below(os.path.join(self.folder, name)))

    def freeze_node(self, name):
        self.frozen = self._signal_node(name, signal.SIGSTOP)

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
