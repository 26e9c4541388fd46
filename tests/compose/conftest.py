"""Fixtures of the tests on a Docker engine. `make compose-test` gives them an engine, images and a namespace in which every port
of the deployment is free; one deployment at a time, since its containers have fixed names."""
import pathlib
import subprocess
import sys

import pytest

here = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(here), str(here.parent / "blackbox")]

from faults import FAULTS  # noqa: E402
from stack import Stack, deployed, docker, somebodys  # noqa: E402


@pytest.fixture(scope="session", autouse=True)
def engine():
    """Docker with Compose and the images. Missing ones are a failure, not a skip: nobody asks for these tests by accident."""
    asked = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True)
    if asked.returncode != 0 or subprocess.run(["docker", "info"], capture_output=True).returncode != 0:
        pytest.exit(f"no Docker engine with Compose answers: make compose-test starts one. {asked.stderr}", returncode=1)
    if "pgdba:latest" not in docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split():
        pytest.exit("there is no image pgdba:latest: make compose-test builds it", returncode=1)
    if found := somebodys():
        pytest.exit(f"there is a deployment already, which these tests would delete: {', '.join(found)}", returncode=1)


@pytest.fixture(scope="module")
def stack():
    """The deployment, up and healthy, for the tests of one file."""
    with deployed(Stack()) as made:
        made.up()
        yield made


@pytest.fixture
def tell(record_property):
    """tell(fault, system, outcome): a line of the table at the end, whichever process ran the test."""
    return lambda fault, system, outcome: record_property("outcome", (fault.name, system, str(outcome)))


def pytest_terminal_summary(terminalreporter):
    reports = [report for kind in terminalreporter.stats.values() for report in kind if getattr(report, "when", "") == "call"]
    told = [value for report in reports for name, value in report.user_properties if name == "outcome"]
    if told:
        terminalreporter.section("time without writes, over the fault and its mending")
        order = {fault.name: number for number, fault in enumerate(FAULTS)}
        for fault, system, outcome in sorted(told, key=lambda line: (order[line[0]], "pgdba," not in line[1])):
            terminalreporter.write_line(f"{fault:42} {system:32} {outcome}")


@pytest.fixture
def home(stack):
    """The shared deployment, healthy and with pg-primary as leader."""
    stack.go_home()
    return stack


@pytest.fixture
def bare():
    """bare(files=…, settings=…) → a Stack that is not up; removed, whatever happens."""
    made = []

    def make(**options):
        made.append(Stack(**options))
        return made[-1]

    yield make
    for one in made:
        one.remove()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed and "stack" in item.funcargs:
        report.sections.append(("the deployment", item.funcargs["stack"].describe()))
