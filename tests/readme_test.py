"""README.md tells the truth: what it names exists, and its blocks to copy run as they stand, on a cluster of the test's own.

Every fenced ```sh block is run, in order, in one shell: with `pgdba` in PATH, a HOME of its own, and `make up` replaced by the
`pgdba up` that it ends in, on free ports. Blocks with another mark (```text) are shown, not run.
"""
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "blackbox"))
README = (ROOT / "README.md").read_text()
pytestmark = pytest.mark.quick


def blocks(kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", README, re.M | re.S)


def test_exactly_two_commands_for_a_fresh_machine():
    section = README.split("## Two commands", 1)[1].split("\n## ", 1)[0]
    commands = [line.split("#")[0].strip() for line in re.findall(r"^    (\S.*)$", section, re.M)]
    assert commands == ["make up", "make test"]


def test_make_targets_exist():
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert named and named <= targets, f"README names targets that the Makefile lacks: {named - targets}"


def test_files_named_exist():
    named = set(re.findall(r"`((?:src|docs|tools|tests|bench|sim)/[\w./-]*)`", README)) | set(re.findall(r"\]\(([^)#:]+)\)", README))
    assert named, "README points to no file at all"
    missing = sorted(path for path in named if not (ROOT / path).exists())
    assert not missing, f"README names what is not there: {missing}"


def test_make_help_lists_every_target():
    out = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = set(re.findall(r"make ([a-z-]+)", out))
    assert listed == set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))


def has_up():
    program = ROOT / "bin" / "pgdba"
    return program.exists() and "--port-offset" in subprocess.run([program, "up", "--help"], capture_output=True, text=True).stdout


needs_up = pytest.mark.skipif(not has_up(), reason="this build of pgdba has no `up` yet")


@needs_up
def test_commands_of_the_table_exist():
    table = README.split("## The command line", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    commands = []
    for row in rows:
        prefix = "cluster " if row.strip().startswith("`cluster ") else ""
        for quoted in re.findall(r"`([^`]+)`", row):
            words = re.match(r"((?:cluster )?[a-z ]+)", quoted)[1].split()
            if words[0].islower():
                commands.append(words if words[0] == "cluster" else [*prefix.split(), *words])
    assert len(commands) > 20
    for words in commands:
        done = subprocess.run([ROOT / "bin" / "pgdba", *words, "--help"], capture_output=True, text=True, timeout=20)
        assert done.returncode == 0 and done.stdout, f"pgdba {' '.join(words)}: {done.stderr}"


@needs_up
def test_blocks_to_copy_run_as_they_stand():
    from harness import ports
    from harness.cluster import Cluster, destroy, fresh_folder
    from harness.servers import as_user

    assert blocks("sh"), "README has no block to copy"
    with ports.offset() as offset:
        cluster = Cluster(fresh_folder(), offset=offset, name="local-ha")
        try:
            cluster.up()
            for number, block in enumerate(blocks("sh")):
                # -e: one command that fails, fails the block.
                done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", block], cwd=ROOT, capture_output=True, text=True, timeout=120,
                                      stdin=subprocess.DEVNULL, env=cluster.environment(), **as_user(cluster.user))
                assert done.returncode == 0, f"block {number + 1} of README.md:\n{block}\n{done.stdout}\n{done.stderr}"
            cluster.run("start", "etcd1", code=None)
        finally:
            destroy(cluster)
