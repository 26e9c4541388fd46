"""What goes wrong in containers, with a client that writes through 6432 all the while and a probe that looks for a second
primary on the nodes' own ports. No test asserts how long anything took; a table at the end tells, `make compose-bench` measures."""
import pytest

from faults import FAULTS, suffer
from harness.journal import same_everywhere
from harness.probe import PrimaryProbe
from harness.waiting import wait_until

_table = []


@pytest.fixture(scope="module", autouse=True)
def table(stack, request):
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\n\nThrough 6432, time without writes (over the fault and its mending):")
        for name, outcome in _table:
            print(f"  {name:42} {outcome}")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(stack, fault):
    stack.wait_healthy()
    with PrimaryProbe(stack.endpoints()) as probe:
        outcome, verdict = suffer(stack, fault, stack.pooled())
    _table.append((fault.name, outcome))
    verdict.check(at_least=50)
    probe.check()
    if fault.leads == "another":
        assert outcome.after != outcome.before
    if fault.leads == "same":
        assert outcome.after == outcome.before
    if not fault.errors:
        assert outcome.errors == 0, verdict
    wait_until("all nodes have the same rows", 30, lambda: same_everywhere(stack.endpoints()))
