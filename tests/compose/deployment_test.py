"""What a deployment refuses, what closes it, and what it survives besides the faults of faults_test.py."""
import os
import pathlib
import re
import socket
import subprocess

import pytest

from harness.journal import Journal
from harness.waiting import wait_until
from stack import NODES, ROOT, docker, http, password

RULES = {
    "POSTGRES_PASSWORD is not set": {"POSTGRES_PASSWORD": ""},
    "REPLICATION_PASSWORD is not set": {"REPLICATION_PASSWORD": ""},
    "POSTGRES_PASSWORD is still the sample of .env.example": {"POSTGRES_PASSWORD": "your_strong_password_here"},
    "REPLICATION_PASSWORD is still the sample of .env.example": {"REPLICATION_PASSWORD": "your_replication_password_here"},
    "POSTGRES_PASSWORD has fewer than 12 characters": {"POSTGRES_PASSWORD": "Abcdefgh123"},
    "POSTGRES_PASSWORD has no upper case letter": {"POSTGRES_PASSWORD": "abcdefgh1234"},
    "REPLICATION_PASSWORD has no lower case letter": {"REPLICATION_PASSWORD": "ABCDEFGH1234"},
    "POSTGRES_PASSWORD has no digit": {"POSTGRES_PASSWORD": "Abcdefghijkl"},
    "belong together": {"RESTAPI_USERNAME": "admin"},
    "TTL is 'soon'": {"TTL": "soon"},
    "SYNCHRONOUS_MODE is 'maybe'": {"SYNCHRONOUS_MODE": "maybe"},
}


@pytest.mark.parametrize("line", RULES)
def test_a_bad_setting_stops_the_start_with_one_line(bare, line):
    stack = bare(settings=RULES[line])
    refused = stack.compose("up -d --wait", check=False)
    assert refused.code != 0
    if "is not set" in line:  # Compose itself says so, before it makes anything
        said = [shown for shown in refused.err.splitlines() if line.split()[0] in shown]
        assert len(said) == 1 and "is not set" in said[0], refused
        assert stack.compose("ps -aq", check=False).out == ""
    else:
        log = docker("logs", "pg-primary") + subprocess.run(["docker", "logs", "pg-primary"], capture_output=True, text=True).stderr
        assert line in log and set(log.splitlines()) == {log.splitlines()[0]}, log
        for value in stack.settings.values():
            assert len(value) < 12 or value not in log
    assert not [name for name in docker("volume", "ls", "-q").split() if "data" in name and has_data(name)]


def has_data(volume):
    """Whether a node's volume holds a cluster already."""
    return "pg-" in volume and pathlib.Path(docker("volume", "inspect", "-f", "{{.Mountpoint}}", volume).strip(), "data").exists()


def test_the_env_file_is_ignored_by_git():
    assert subprocess.run(["git", "check-ignore", "-q", "deployments/docker/.env"], cwd=ROOT).returncode == 0


def test_odd_passwords_work(bare):
    """What a shell, YAML, SQL, an INI file or Compose could trip over ($ is doubled in .env, as Compose wants it)."""
    odd = "Aa1 '#;%:{}[]=$$HOME\\\\n`x`|&"
    stack = bare(settings={"POSTGRES_PASSWORD": f'"{odd}"', "REPLICATION_PASSWORD": f'"{odd}2"'})
    stack.passfile.write_text("*:*:*:*:" + odd.replace("$$", "$").replace("\\\\", "\\").replace("\\", "\\\\").replace(":", "\\:") + "\n")
    stack.up()
    stack.wait_healthy()


def test_rest_writes_are_closed_by_two_settings(bare):
    """Reading stays open, as with Patroni; `home` in guide_test.py shows that without them writing is open, too."""
    secret = password()
    stack = bare(settings={"RESTAPI_USERNAME": "admin", "RESTAPI_PASSWORD": secret})
    stack.up()
    url = "http://127.0.0.1:8008"
    assert http(f"{url}/cluster")[0] == 200
    body = {"leader": "pg-primary"}
    assert http(f"{url}/switchover", body)[0] == 401
    assert http(f"{url}/switchover", body, ("admin", "Wrong1234567"))[0] == 401
    assert stack.leader() == "pg-primary"
    assert http(f"{url}/switchover", body, ("admin", secret), seconds=60)[0] == 200
    wait_until("another leader", 20, lambda: stack.leader() != "pg-primary")
    stack.wait_healthy()


def test_settings_reach_postgresql_and_the_pooler(bare):
    stack = bare(settings={"TTL": "20", "SYNCHRONOUS_MODE": "off", "MAX_CONNECTIONS": "60", "SHARED_BUFFERS": "64MB", "POOL_MODE": "session",
                           "PGBOUNCER_PORT": "16432", "PG_PRIMARY_PORT": "15432", "PG_PRIMARY_REST_PORT": "18008"})
    stack.up()
    assert stack.sql("select current_setting('max_connections'), current_setting('shared_buffers'), current_setting('synchronous_standby_names')",
                     15432) == ("60", "64MB", "")
    assert stack.sql("select pg_is_in_recovery()", 16432) == ("f",)
    status, text = http("http://127.0.0.1:18008/config")
    assert status == 200 and re.search(r'"ttl": ?20\b', text), text
    shown = stack.sh("psql -h 127.0.0.1 -p 16432 -U postgres pgbouncer -XAtc 'show config'").out
    assert re.search(r"^pool_mode\|session", shown, re.M), shown


def test_a_taken_port_is_named(bare):
    stack = bare()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", 5432))
        taken.listen()
        refused = stack.compose("up -d", check=False)
    assert refused.code != 0 and re.search(r"127\.0\.0\.1:5432.*(address already in use|port is already allocated)", refused.err), refused.err
    # Once it is free the same command goes on.
    stack.up()
    stack.wait_healthy()


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
