"""What goes wrong in containers, with a client that writes through 6432 all the while and a probe that looks for a second
primary on the nodes' own ports. No test asserts how long anything took; a table at the end tells, `make compose-bench` measures."""
import os
import subprocess
import time

import pytest

from faults import FAULTS, WRITERS, suffer
from harness.journal import Journal, same_everywhere
from harness.probe import PrimaryProbe
from harness.promises import promise
from harness.waiting import wait_until
from stack import ETCDS, NODES, ROOT, WRITE, docker


def writes_inside(name):
    """Whether a node acknowledges a write to a client in its own container, whatever is cut off around it."""
    write = f'PGPASSWORD=$POSTGRES_PASSWORD PGCONNECT_TIMEOUT=3 timeout 5 psql -h 127.0.0.1 -U postgres -d postgres -XAtc "select {WRITE}"'
    return subprocess.run(["docker", "exec", name, "bash", "-c", write], capture_output=True, timeout=30).returncode == 0


def is_silent(_stack, leader):
    promise(not writes_inside(leader), f"{leader}, cut off, acknowledged a write after another one led")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(stack, fault, tell):
    stack.wait_healthy()
    assert writes_inside(stack.leader())
    # Who is paused answers nobody; who was killed is gone.
    witness = {"witness": is_silent} if fault.name == "network disconnect of the primary" else {}
    with PrimaryProbe(stack.endpoints()) as probe:
        outcome, verdict = suffer(stack, fault, stack.pooled(), **witness)
    tell(fault, "pgdba, through 6432", outcome)
    verdict.check(at_least=50)
    probe.check()
    if fault.leads == "another":
        assert outcome.after != outcome.before
    if fault.leads == "same":
        assert outcome.after == outcome.before
    if fault.errors != "any":
        assert outcome.errors <= (WRITERS if fault.errors == "in flight" else 0) and outcome.refused == 0, (outcome, verdict)
    wait_until("all nodes have the same rows", 30, lambda: same_everywhere(stack.endpoints()))


def test_health_checks_say_no(stack):
    """While nobody may lead; a pooler that is new then does not say yes either, so `up --wait` would not return."""
    stack.wait_healthy()
    docker("kill", *ETCDS[:2])
    for name in [*NODES, "pgbouncer"]:
        wait_until(f"{name} is unhealthy", 60, lambda: stack.health(name) == "unhealthy", every=0.5)
    docker("restart", "pgbouncer")
    time.sleep(12)  # two of its checks, on any engine
    assert stack.health("pgbouncer") == "starting"
    docker("start", *ETCDS[:2])
    stack.wait_healthy()
    for name in [*ETCDS, *NODES, "pgbouncer"]:
        wait_until(f"{name} is healthy", 30, lambda: stack.health(name) == "healthy", every=0.5)


@pytest.mark.skipif("PGDBA_DOCKER_ENGINE" not in os.environ, reason="only an engine of our own is restarted")
def test_reboot_of_the_machine(stack):
    """Everything comes back by itself, with what was acknowledged."""
    stack.wait_healthy()
    with Journal(stack.pooled(), read_write=False) as journal:
        wait_until("writes", 20, lambda: journal.count("ok") >= 50)
        done = subprocess.run([ROOT / "tools" / "docker-engine", "reboot", os.environ["PGDBA_DOCKER_ENGINE"]], capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        stack.wait_healthy()
    journal.verify().check(at_least=50)
    assert set(stack.members()) == set(NODES)
