"""What goes wrong in containers, with a client that writes through 6432 all the while and a probe that looks for a second
primary on the nodes' own ports. No test asserts how long anything took; a table at the end tells, `make compose-bench` measures."""
import os
import subprocess

import pytest

from faults import FAULTS, suffer
from harness.journal import Journal, same_everywhere
from harness.probe import PrimaryProbe
from harness.waiting import wait_until
from stack import NODES, ROOT


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(stack, fault, outcomes):
    stack.wait_healthy()
    with PrimaryProbe(stack.endpoints()) as probe:
        outcome, verdict = suffer(stack, fault, stack.pooled())
    outcomes.setdefault(fault.name, {})["pgdba, through 6432"] = outcome
    verdict.check(at_least=50)
    probe.check()
    if fault.leads == "another":
        assert outcome.after != outcome.before
    if fault.leads == "same":
        assert outcome.after == outcome.before
    if not fault.errors:
        assert outcome.errors == 0, verdict
    wait_until("all nodes have the same rows", 30, lambda: same_everywhere(stack.endpoints()))


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
