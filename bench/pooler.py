#!/usr/bin/python3
"""The pooler beside PgBouncer 1.24.1 on the same PostgreSQL, in one run. See bench/README.md.

    bench/pooler.py [--only syscalls,instructions,cpu,workers,latency,memory,connect] [--repeat 3] [--seconds 5] [--json FILE]

Needs root (the rival runs in the Debian 13 tree), strace and valgrind. Counts are exact; times are medians with their spread.
"""
import argparse
import json
import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "blackbox"))
from harness import tree  # noqa: E402

PG = "/usr/lib/postgresql/15/bin"
POOL = 16
GOALS = {
    "syscalls": "≤ 4.2", "instructions simple": "≤ 1,800", "instructions prepared": "≤ 3,000", "cpu simple": "≤ 0.8 × PgBouncer",
    "cpu prepared": "≤ 0.65 × PgBouncer", "workers": "within 10 % of one worker", "latency": "≤ PgBouncer",
    "memory idle": "≤ 1.1 kB", "memory later": "within 20 %", "connect": "≤ PgBouncer",
}


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """PostgreSQL 15 of its own, trust on loopback, without fsync: it must not be what is measured."""

    def __init__(self, folder):
        self.port = free_port()
        self.data = folder / "data"
        self.data.mkdir()
        shutil.chown(self.data, "postgres", "postgres")
        self.run(f"{PG}/initdb", "-D", str(self.data), "-A", "trust", "-U", "postgres", "--no-sync")
        with open(self.data / "postgresql.conf", "a") as conf:
            conf.write(f"listen_addresses='127.0.0.1'\nport={self.port}\nunix_socket_directories=''\nfsync=off\nmax_connections=200\n")
        self.run(f"{PG}/pg_ctl", "-D", str(self.data), "-l", str(self.data / "log"), "-w", "start")
        self.run(f"{PG}/pgbench", "-i", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "postgres")

    def run(self, *command):
        subprocess.run(["runuser", "-u", "postgres", "--", *command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")

    def stop(self):
        self.run(f"{PG}/pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")


class Pooler:
    """One of the two, with the same file."""

    def __init__(self, name, folder, postgres, workers=1, valgrind=False):
        self.name, self.port = name, free_port()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        users = self.folder / "users"
        users.write_text('"postgres" ""\n')
        ini = self.folder / "pooler.ini"
        ini.write_text(f"""[databases]
postgres = host=127.0.0.1 port={postgres.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = transaction
default_pool_size = {POOL}
max_client_conn = 20000
log_connections = 0
log_disconnections = 0
log_stats = 0
{f"workers = {workers}" if workers > 1 else ""}
""")
        for path in (self.folder, users, ini):
            shutil.chown(path, "postgres", "postgres")
        self.callgrind = self.folder / "callgrind.out"
        wrap = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={self.callgrind}"] if valgrind else []
        who = {}
        if name == "pgdba":
            # Not as root, and from where postgres may read it.
            program = folder / "pgdba"
            if not program.exists():
                shutil.copy(os.environ.get("PGDBA_PROGRAM", ROOT / "bin" / "pgdba"), program)
            command = [*wrap, str(program), "pooler", str(ini)]
            account = pwd.getpwnam("postgres")
            who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        else:
            command = tree.command("13", [*wrap, "/usr/sbin/pgbouncer", str(ini)], user="postgres", bind=[folder])
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(self.folder / "log", "w"), preexec_fn=self.limits, **who)
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{name} did not start: {(self.folder / 'log').read_text()[-2000:]}") from None
                time.sleep(0.05)
        time.sleep(0.3)

    @staticmethod
    def limits():
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    @property
    def pid(self):
        return self.process.pid

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.pid}/status").read_text()).group(1)) * 1024

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGQUIT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def pgbench(port, mode, clients, *more):
    return subprocess.Popen([f"{PG}/pgbench", "-h", "127.0.0.1", "-p", str(port), "-U", "postgres", "-S", "-n", "-M", mode, "-c", str(clients), "-j", "1", *more,
                             "postgres"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def transactions(process):
    out, _ = process.communicate()
    found = re.search(r"number of transactions actually processed: (\d+)", out)
    failed = re.search(r"number of failed transactions: (\d+)", out)
    if not found or (failed and int(failed.group(1))):
        raise SystemExit(f"pgbench failed: {out}")
    return int(found.group(1))


def syscalls(pooler, mode, clients):
    """Per transaction: all calls, over the number of answers sent to clients (half of all sends)."""
    load = pgbench(pooler.port, mode, clients, "-T", "6")
    time.sleep(2)
    out = pooler.folder / "strace"
    subprocess.run(["timeout", "-s", "INT", "2", "strace", "-c", "-f", "-p", str(pooler.pid), "-o", str(out)], stderr=subprocess.DEVNULL)
    transactions(load)
    counts = {}
    for line in out.read_text().splitlines():
        fields = line.split()
        if len(fields) >= 5 and fields[-1] not in ("total", "syscall") and fields[3].isdigit():
            counts[fields[-1]] = int(fields[3])
    # Every transaction is received twice and has a send of its own to the client; a rewritten one may be sent in pieces.
    received = counts.get("recvfrom", 0) + counts.get("read", 0) + counts.get("recvmsg", 0)
    return counts, received


def exact_syscalls(name, folder, postgres, mode, clients, workers=1):
    """The slope between two numbers of transactions, so that start and logins cancel out."""
    points = []
    for per_client in (20, 120) if clients > 100 else (200, 1200):
        with Pooler(name, folder, postgres, workers) as pooler:
            warm = pgbench(pooler.port, mode, POOL, "-t", "5")
            transactions(warm)
            out = pooler.folder / "strace"
            trace = subprocess.Popen(["strace", "-c", "-f", "-p", str(pooler.pid), "-o", str(out)], stderr=subprocess.DEVNULL)
            time.sleep(0.5)
            done = transactions(pgbench(pooler.port, mode, clients, "-t", str(per_client)))
            trace.send_signal(signal.SIGINT)
            trace.wait()
            total = 0
            for line in out.read_text().splitlines():
                fields = line.split()
                if len(fields) >= 5 and fields[-1] not in ("total", "syscall") and fields[3].isdigit():
                    total += int(fields[3])
            points.append((done, total))
    return (points[1][1] - points[0][1]) / (points[1][0] - points[0][0])


def instructions(name, folder, postgres, mode, workers=1):
    points = []
    for per_client in (50, 350):
        with Pooler(name, folder, postgres, workers, valgrind=True) as pooler:
            done = transactions(pgbench(pooler.port, mode, POOL, "-t", str(per_client)))
            pooler.stop()
            found = re.search(r"^(?:summary|totals): (\d+)", pooler.callgrind.read_text(), re.M)
            points.append((done, int(found.group(1))))
    return (points[1][1] - points[0][1]) / (points[1][0] - points[0][0])


def cpu_per_transaction(pooler, mode, clients, seconds):
    load = pgbench(pooler.port, mode, clients, "-T", str(seconds))
    time.sleep(1)
    before = pooler.cpu()
    done = transactions(load)
    return (pooler.cpu() - before) / done * 1e6


def latency(pooler, folder, seconds):
    """p50 and p99 in microseconds at 2,000 transactions a second."""
    logs = pathlib.Path(tempfile.mkdtemp(prefix="log-", dir=folder))
    load = subprocess.Popen([f"{PG}/pgbench", "-h", "127.0.0.1", "-p", str(pooler.port), "-U", "postgres", "-S", "-n", "-M", "prepared", "-c", "32", "-j", "1", "-R", "2000",
                             "-T", str(seconds), "-l", f"--log-prefix={logs}/l", "postgres"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    transactions(load)
    # transaction log: client, number, latency with the schedule's lag, script, seconds, microseconds, lag: the lag is pgbench's own.
    times = sorted(int(fields[2]) - int(fields[6]) for path in logs.iterdir() for fields in map(str.split, path.read_text().splitlines()))
    return times[len(times) // 2], times[len(times) * 99 // 100]


def startup_packet():
    body = struct.pack("!I", 196608) + b"user\0postgres\0database\0postgres\0\0"
    return struct.pack("!I", len(body) + 4) + body


def read_ready(connection):
    data = b""
    while data[-6:-1] != b"Z\0\0\0\5":
        more = connection.recv(65536)
        if not more:
            raise SystemExit("a client was turned away")
        data += more


def memory(pooler, clients=5000):
    """RSS per idle client, and the growth that a burst of all of them leaves a minute later, as a ratio to before."""
    warm = pgbench(pooler.port, "simple", POOL, "-t", "100")
    transactions(warm)
    before = pooler.rss()
    held = []
    for _ in range(clients):
        connection = socket.create_connection(("127.0.0.1", pooler.port), 30)
        connection.sendall(startup_packet())
        read_ready(connection)
        held.append(connection)
    idle = pooler.rss()
    query = b"Q" + struct.pack("!I", 4 + 9) + b"SELECT 1\0"
    for connection in held:
        connection.sendall(query)
    for connection in held:
        read_ready(connection)
    burst = pooler.rss()
    time.sleep(60)
    later = pooler.rss()
    for connection in held:
        connection.close()
    return {"per idle client": (idle - before) / clients, "after the burst": (burst - before) / clients, "60 s later": (later - before) / clients}


def connect_cost(pooler):
    before = pooler.cpu()
    done = transactions(pgbench(pooler.port, "simple", 4, "-C", "-T", "5"))
    return (pooler.cpu() - before) / done * 1e6


def spread(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="syscalls,instructions,cpu,workers,latency,memory,connect")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--systems", default="pgdba,pgbouncer")
    parser.add_argument("--json")
    options = parser.parse_args()
    only, systems = options.only.split(","), options.systems.split(",")
    if os.geteuid() != 0:
        raise SystemExit("this needs root: PostgreSQL runs as postgres, PgBouncer in the Debian 13 tree")
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgdba-pooler-bench-"))
    folder.chmod(0o755)
    pwd.getpwnam("postgres")
    postgres = Postgres(folder)
    results = {}

    def row(title, system, value):
        results.setdefault(title, {})[system] = value
        say(f"{title}: {system} {value}")

    try:
        if "syscalls" in only:
            for mode in ("simple", "prepared"):
                for clients in (16, 200):
                    for system in systems:
                        row(f"system calls per transaction, {mode}, {clients} clients", system, f"{exact_syscalls(system, folder, postgres, mode, clients):.2f}")
        if "instructions" in only:
            for mode in ("simple", "prepared"):
                for system in systems:
                    row(f"user instructions per transaction, {mode}", system, f"{instructions(system, folder, postgres, mode):.0f}")
        if "workers" in only and "pgdba" in systems:
            for mode in ("simple", "prepared"):
                row(f"two workers: system calls, {mode}, 200 clients", "pgdba", f"{exact_syscalls('pgdba', folder, postgres, mode, 200, workers=2):.2f}")
                row(f"two workers: user instructions, {mode}", "pgdba", f"{instructions('pgdba', folder, postgres, mode, workers=2):.0f}")
        poolers = {system: Pooler(system, folder, postgres) for system in systems}
        try:
            if "cpu" in only:
                for mode in ("simple", "prepared"):
                    found = {system: [] for system in systems}
                    for _ in range(options.repeat):  # in turns, so that the machine's moods hit both
                        for system in systems:
                            found[system].append(cpu_per_transaction(poolers[system], mode, 200, options.seconds))
                    for system in systems:
                        row(f"CPU per transaction in µs, {mode}, 200 clients", system, spread(found[system]))
            if "latency" in only:
                found = {system: ([], []) for system in systems}
                for _ in range(options.repeat):
                    for system in systems:
                        p50, p99 = latency(poolers[system], folder, options.seconds)
                        found[system][0].append(p50)
                        found[system][1].append(p99)
                for system in systems:
                    row("latency at 2,000/s, p50 in µs", system, spread(found[system][0]))
                    row("latency at 2,000/s, p99 in µs", system, spread(found[system][1]))
            if "connect" in only:
                found = {system: [] for system in systems}
                for _ in range(options.repeat):
                    for system in systems:
                        found[system].append(connect_cost(poolers[system]))
                for system in systems:
                    row("CPU per new connection with one query in µs", system, spread(found[system]))
        finally:
            for pooler in poolers.values():
                pooler.stop()
        if "memory" in only:
            for system in systems:
                with Pooler(system, folder, postgres) as pooler:
                    for what, value in memory(pooler).items():
                        row(f"memory per client, {what}, bytes", system, f"{value:.0f}")
    finally:
        postgres.stop()
        shutil.rmtree(folder, ignore_errors=True)
    width = max(map(len, results), default=10)
    print(f"| {'what':{width}} | " + " | ".join(systems) + " |")
    print("|" + "---|" * (len(systems) + 1))
    for title, values in results.items():
        print(f"| {title:{width}} | " + " | ".join(values.get(system, "") for system in systems) + " |")
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
