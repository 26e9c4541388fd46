"""Processes as /proc shows them, without asking the product. A process belongs to a cluster when its command line, its working
directory or its executable's arguments name the cluster's folder, or when it descends from such a process."""
import dataclasses
import os
import signal


@dataclasses.dataclass(frozen=True)
class Process:
    pid: int
    parent: int
    state: str  # as in /proc: R, S, D, T (stopped), Z …
    started: int  # clock ticks since boot: with pid, the identity of a process
    arguments: tuple
    folder: str

    @property
    def command(self):
        return " ".join(self.arguments)

    def alive(self):
        now = read(self.pid)
        return now is not None and now.started == self.started and now.state != "Z"

    def send(self, number):
        """Sends a signal if this very process still runs; tells whether it did."""
        if not self.alive():
            return False
        try:
            os.kill(self.pid, number)
            return True
        except ProcessLookupError:
            return False

    def kill(self):
        return self.send(signal.SIGKILL)


def read(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            text = file.read()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            arguments = tuple(part.decode(errors="replace") for part in file.read().split(b"\0") if part)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    fields = text[text.rindex(")") + 2 :].split()
    try:
        folder = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        folder = ""
    return Process(int(pid), int(fields[1]), fields[0], int(fields[19]), arguments, folder)


def everything():
    found = (read(name) for name in os.listdir("/proc") if name.isdigit())
    return {process.pid: process for process in found if process}


def below(folder):
    """Every living process of the cluster whose data is below this folder."""
    table = {pid: process for pid, process in everything().items() if process.state != "Z"}
    prefix = folder.rstrip("/")

    def names_it(process):
        inside = process.folder == prefix or process.folder.startswith(prefix + "/")
        return inside or any(f"{prefix}/" in argument or argument.endswith(prefix) for argument in process.arguments)

    chosen = {pid for pid, process in table.items() if names_it(process)}
    while True:
        children = {pid for pid, process in table.items() if process.parent in chosen} - chosen
        if not children:
            break
        chosen |= children
    ours = ancestors(table, os.getpid())
    return [table[pid] for pid in sorted(chosen - ours)]


def ancestors(table, pid):
    chain = set()
    while pid in table and pid not in chain:
        chain.add(pid)
        pid = table[pid].parent
    return chain


def descendants(pid):
    table = everything()
    chosen = {pid}
    while True:
        children = {other for other, process in table.items() if process.parent in chosen} - chosen
        if not children:
            return [table[other] for other in sorted(chosen) if other in table]
        chosen |= children


def memory_kib(pid):
    """RssAnon and VmRSS of /proc/<pid>/status, in KiB."""
    values = {}
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name in ("RssAnon", "VmRSS"):
                values[name] = int(value.split()[0])
    return values


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        text = file.read()
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
