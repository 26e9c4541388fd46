"""Servers that a test starts itself, each in a folder of its own, stopped by process number at the end."""
import contextlib
import os
import pwd
import signal
import subprocess
import urllib.error
import urllib.request

from . import ports, processes
from .waiting import wait_until


def as_user(user):
    """Popen arguments that make the child this user. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0 or user in (None, "root"):
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


class Server:
    """One process with a log. `stop` also ends what it left behind below `folder`."""

    def __init__(self, name, arguments, log, user=None, environment=None):
        self.name = name
        self.arguments = [str(argument) for argument in arguments]
        self.log = str(log)
        self.user = user
        self.environment = environment
        self.child = None

    def start(self):
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/",
                                          start_new_session=True, env=self.environment, **as_user(self.user))
        return self

    @property
    def pid(self):
        return self.child.pid

    def running(self):
        return self.child is not None and self.child.poll() is None

    def tail(self, lines=20):
        with contextlib.suppress(FileNotFoundError):
            with open(self.log, errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        return ""

    def kill(self):
        if self.running():
            self.child.send_signal(signal.SIGCONT)
            self.child.kill()
        if self.child is not None:
            self.child.wait()

    def stop(self, seconds=10):
        if not self.running():
            return
        self.child.send_signal(signal.SIGCONT)
        self.child.terminate()
        try:
            self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()


def http(url, method="GET", body=None, headers=None, seconds=3.0):
    """(status, body text); an HTTP error status is an answer, an unreachable server is an exception."""
    request = urllib.request.Request(url, data=body.encode() if isinstance(body, str) else body, method=method, headers=headers or {})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=seconds) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")


class Etcd:
    """Three members on free ports. `options` go to each of them: ("--heartbeat-interval", "50")."""

    def __init__(self, folder, members=3, user=None, options=(), program=("/usr/bin/etcd",)):
        found = ports.free_ports(2 * members)
        self.client_ports, peer_ports = found[:members], found[members:]
        self.endpoints = [f"127.0.0.1:{port}" for port in self.client_ports]
        peers = ",".join(f"etcd{number + 1}=http://127.0.0.1:{port}" for number, port in enumerate(peer_ports))
        self.members = []
        for number, (client, peer) in enumerate(zip(self.client_ports, peer_ports)):
            name = f"etcd{number + 1}"
            data = os.path.join(folder, name)
            self.members.append(Server(name, [
                *program, "--name", name, "--data-dir", data, "--logger", "zap", "--log-level", "warn",
                "--listen-client-urls", f"http://127.0.0.1:{client}", "--advertise-client-urls", f"http://127.0.0.1:{client}",
                "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                "--initial-cluster", peers, "--initial-cluster-token", os.path.basename(folder), *options,
            ], os.path.join(folder, f"{name}.log"), user))

    def start(self):
        for member in self.members:
            member.start()
        for port in self.client_ports:
            wait_until(f"etcd on {port} is healthy", 15, lambda port=port: http(f"http://127.0.0.1:{port}/health")[0] == 200)
        return self

    def stop(self):
        for member in self.members:
            member.kill()


def kill_everything_below(folder, seconds=10):
    """The last resort of a fixture: no process of a test survives it."""
    for process in processes.below(str(folder)):
        process.send(signal.SIGCONT)
        process.kill()
    wait_until(f"no process below {folder}", seconds, lambda: not processes.below(str(folder)))
