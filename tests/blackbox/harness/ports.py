"""Free ports, safe between test processes that run at once: an offset is held by a lock on a file for as long as it is used."""
import contextlib
import fcntl
import os
import socket

# What `pgdba up` uses with offset 0, for up to seven nodes, and the pooler's port that it keeps free.
BASES = [*range(5432, 5439), *range(8008, 8015), 6432]
LOCKS = "/tmp/pgdba-test-offsets"


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            return True
        except OSError:
            return False


@contextlib.contextmanager
def offset():
    """A port offset at which every port of a seven-node cluster is free, below the range that the kernel hands out itself."""
    os.makedirs(LOCKS, exist_ok=True)
    with contextlib.suppress(PermissionError):
        os.chmod(LOCKS, 0o1777)
    for number in range(10000, 24000, 20):
        try:
            lock = open(f"{LOCKS}/{number}.{os.getuid()}", "w")
        except PermissionError:
            continue
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if all(is_free(base + number) for base in BASES):
                yield number
                return
    raise RuntimeError("no free port offset between 10000 and 24000")


def free_ports(count):
    """So many different ports that were free a moment ago, for servers that a test starts itself."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
