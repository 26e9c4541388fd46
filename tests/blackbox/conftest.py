"""Fixtures of the black-box tests. Each test file runs alone, and several at once: folders and ports are its own."""
import itertools
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import ports, tree  # noqa: E402
from harness.cluster import PROGRAM, Cluster, destroy, fresh_folder  # noqa: E402

# As root everything also has to work as root; as an ordinary user there is one way. `nobody` exists everywhere, owns nothing
# and may do nothing: what works for it works for any user. Its home is a folder of the test's.
USERS = [None, "nobody"] if os.geteuid() == 0 else [None]
_numbers = itertools.count(1)


def pytest_collection_modifyitems(items):
    """A test is quick unless it says otherwise."""
    for item in items:
        if not any(item.get_closest_marker(name) for name in ("peer", "long")):
            item.add_marker("quick")


@pytest.fixture(scope="session")
def program():
    """bin/pgdba, which has to know `up`."""
    if not os.access(PROGRAM, os.X_OK):
        pytest.fail(f"{PROGRAM} is missing: make")
    if "--port-offset" not in subprocess.run([PROGRAM, "up", "--help"], capture_output=True, text=True, timeout=20).stdout:
        pytest.skip("this build of pgdba has no `up` yet")
    return PROGRAM


@pytest.fixture
def folder():
    path = fresh_folder()
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def port_offset():
    with ports.offset() as number:
        yield number


@pytest.fixture
def make_cluster(program):
    """make_cluster(nodes=3, user=None, …) → a Cluster that is not up yet; removed, whatever happens."""
    made = []
    offsets = []

    def make(**options):
        context = ports.offset()
        offset = context.__enter__()
        offsets.append(context)
        options.setdefault("name", f"t{os.getpid()}-{next(_numbers)}")
        cluster = Cluster(fresh_folder(), offset=offset, **options)
        made.append(cluster)
        return cluster

    yield make
    for cluster in made:
        destroy(cluster)
    for context in offsets:
        context.__exit__(None, None, None)


@pytest.fixture(params=USERS, ids=lambda user: user or "me")
def user(request):
    """Runs the test as root and as an ordinary user where both are possible."""
    return request.param


@pytest.fixture
def fresh(make_cluster):
    """A three-node cluster of this test alone, up and healthy; purged at the end, and proven gone."""
    cluster = make_cluster()
    cluster.up()
    cluster.wait_healthy()
    yield cluster
    if os.path.exists(cluster.data_dir):
        cluster.purge()


class Shared:
    """One cluster for the tests of a file: each finds it healthy; one that leaves it broken costs the next a new one."""

    def __init__(self):
        self.cluster = None
        self.context = None

    def get(self):
        if self.cluster is not None:
            try:
                self.cluster.wait_healthy(seconds=10)
                return self.cluster
            except AssertionError:
                self.drop()
        self.context = ports.offset()
        self.cluster = Cluster(fresh_folder(), offset=self.context.__enter__(), name=f"s{os.getpid()}-{next(_numbers)}")
        self.cluster.up()
        self.cluster.wait_healthy()
        return self.cluster

    def drop(self):
        if self.cluster is not None:
            destroy(self.cluster)
            self.context.__exit__(None, None, None)
            self.cluster = None


@pytest.fixture(scope="module")
def _shared(program):
    shared = Shared()
    yield shared
    shared.drop()


@pytest.fixture
def cluster(_shared):
    """A healthy three-node cluster with the fast profile, shared by the tests of one file."""
    return _shared.get()


@pytest.fixture(scope="session")
def tree13():
    if not tree.have("13"):
        pytest.skip("no Debian 13 tree here: tools/debian-tree 13 (root)")
    return "13"
