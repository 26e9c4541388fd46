"""What a deployment refuses, what closes it, and what it survives besides the faults of faults_test.py."""
import re
import socket
import subprocess
import time

import pytest

from harness.waiting import wait_until
from stack import ROOT, WRITE, Stack, deployed, http, password

RULES = {
    "POSTGRES_PASSWORD is not set": {"POSTGRES_PASSWORD": ""},
    "REPLICATION_PASSWORD is not set": {"REPLICATION_PASSWORD": ""},
    "POSTGRES_PASSWORD is still the sample of .env.example": {"POSTGRES_PASSWORD": "your_strong_password_here"},
    "REPLICATION_PASSWORD is still the sample of .env.example": {"REPLICATION_PASSWORD": "your_replication_password_here"},
    "POSTGRES_PASSWORD has fewer than 12 characters": {"POSTGRES_PASSWORD": "Abcdefgh123"},
    "REPLICATION_PASSWORD has fewer than 12 characters": {"REPLICATION_PASSWORD": "Aa1密码密"},  # six, in twelve bytes
    "POSTGRES_PASSWORD has no upper case letter": {"POSTGRES_PASSWORD": "abcdefgh1234"},
    "REPLICATION_PASSWORD has no lower case letter": {"REPLICATION_PASSWORD": "ABCDEFGH1234"},
    "POSTGRES_PASSWORD has no digit": {"POSTGRES_PASSWORD": "Abcdefghijkl"},
    "belong together": {"RESTAPI_USERNAME": "admin"},
    "TTL is 'soon'": {"TTL": "soon"},
    "TTL is '08'": {"TTL": "08"},
    "SYNCHRONOUS_MODE is 'maybe'": {"SYNCHRONOUS_MODE": "maybe"},
}


@pytest.mark.parametrize("line", [line for line in RULES if "is not set" not in line])
def test_a_bad_setting_is_named_in_one_line(bare, line):
    """By the check that everything else waits for."""
    stack = bare(settings=RULES[line])
    refused = stack.compose("run --rm --no-deps -T check-env", check=False)
    assert refused.code == 78 and refused.out == "", refused
    said = [shown for shown in refused.err.splitlines() if shown.startswith("pgdba: ")]
    assert len(said) == 1 and line in said[0], refused
    for name in ("POSTGRES_PASSWORD", "REPLICATION_PASSWORD"):
        assert "sample" in line or not stack.settings[name] or stack.settings[name] not in said[0]


def test_a_weak_password_stops_the_start(bare):
    stack = bare(settings={"POSTGRES_PASSWORD": "abcdefgh1234"})
    refused = stack.compose("up -d --wait", check=False)
    assert refused.code != 0 and 'service "check-env" didn\'t complete successfully' in refused.err, refused
    log = stack.sh("docker logs check-env 2>&1").out
    assert log == "pgdba: POSTGRES_PASSWORD has no upper case letter\n"
    assert stack.sh("docker ps -q").out == ""


@pytest.mark.parametrize("line", [line for line in RULES if "is not set" in line])
def test_a_missing_password_stops_compose_itself(bare, line):
    stack = bare(settings=RULES[line])
    refused = stack.compose("up -d", check=False)
    assert refused.code != 0 and refused.err.count("\n") == 1 and line.split()[0] in refused.err and "cp .env.example .env" in refused.err, refused
    assert stack.sh("docker ps -aq").out == ""


def test_the_env_file_is_ignored_by_git():
    assert subprocess.run(["git", "check-ignore", "-q", "deployments/docker/.env"], cwd=ROOT).returncode == 0


# What a shell, YAML, SQL, an INI file or Compose could trip over; in .env $ is doubled and \\ too, as Compose wants it.
ODD = "Aa1 '#;%:{}[]=$HOME\\n`x`|&"
REST_PASSWORD, POOLER_PASSWORD = password(), password()


@pytest.fixture(scope="module")
def odd():
    """A deployment whose every setting is another one than the default, started where a port was taken at first."""
    written = ODD.replace("\\", "\\\\").replace("$", "$$")
    stack = Stack(settings={"POSTGRES_PASSWORD": f'"{written}"', "REPLICATION_PASSWORD": f'"{written}2"', "RESTAPI_USERNAME": "admin",
                            "RESTAPI_PASSWORD": REST_PASSWORD, "POOLER_PASSWORD": POOLER_PASSWORD, "MAX_CLIENT_CONN": "333", "LOG_LEVEL": "DEBUG",
                            "TTL": "20", "SYNCHRONOUS_MODE": "off", "MAX_CONNECTIONS": "60",
                            "SHARED_BUFFERS": "64MB", "POOL_MODE": "session", "DEFAULT_POOL_SIZE": "7", "SCOPE": "other-scope"})
    stack.passfile.write_text("*:*:*:*:" + ODD.replace("\\", "\\\\").replace(":", "\\:") + "\n")
    with deployed(stack):
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(("127.0.0.1", 5432))
            taken.listen()
            stack.refused = stack.compose("up -d", check=False)
        stack.up()
        yield stack


def test_a_taken_port_is_named(odd):
    """And once it is free the same command goes on."""
    assert odd.refused.code != 0 and re.search(r"127\.0\.0\.1:5432.*(address already in use|port is already allocated)", odd.refused.err), odd.refused


def test_odd_passwords_work(odd):
    """Between the containers, and for a client of either entry."""
    odd.wait_healthy()
    assert odd.sql("select 1") == odd.sql("select 1", 5432) == ("1",)


def test_settings_reach_postgresql_and_the_pooler(odd):
    assert odd.sql("select current_setting('max_connections'), current_setting('shared_buffers'), current_setting('synchronous_standby_names')",
                   5432) == ("60", "64MB", "")
    status, text = http("http://127.0.0.1:8008/config")
    assert status == 200 and re.search(r'"ttl": ?20\b', text), text
    assert '"scope": "other-scope"' in http("http://127.0.0.1:8008/cluster")[1]
    shown = odd.sh("psql -h 127.0.0.1 -p 6432 -U postgres pgbouncer -XAtc 'show config'").out
    for line in ("pool_mode|session", "default_pool_size|7", "max_client_conn|333"):
        assert re.search(f"^{re.escape(line)}", shown, re.M), shown
    assert " DEBUG " in odd.sh("docker logs --tail 1000 pg-primary 2>&1").out


def test_every_role_of_the_cluster_gets_in_by_the_pooler(odd):
    """One that no file of the pooler's names: its password is asked for by the pooler's own role, which has a password of its own here."""
    odd.sql("create role app login password 'App-password-1'", 5432)
    odd.sql("create database app owner app", 5432)
    psql = "psql 'host=127.0.0.1 port=6432 user=app dbname=app' -XAtc 'select current_user, pg_is_in_recovery()'"
    app = {**odd.environment(), "PGPASSFILE": "/dev/null", "PGPASSWORD": "App-password-1"}
    assert odd.sh(psql, environment=app).out.strip() == "app|f"
    refused = odd.sh(psql, environment={**app, "PGPASSWORD": "Another-one-2"}, check=False)
    assert refused.code != 0 and "password authentication failed" in refused.err


def test_a_pooler_that_cannot_ask_for_passwords_is_not_healthy(odd):
    """Though postgres itself gets in: its password is in the pooler's own file."""
    odd.write_settings(POOLER_PASSWORD=password())
    odd.compose("up -d --no-deps pgbouncer")
    wait_until("a write through it", 30, lambda: odd.sql(f"select {WRITE}"))
    time.sleep(12)  # two of its checks, on any engine
    assert odd.health("pgbouncer") == "starting"
    odd.write_settings(POOLER_PASSWORD=POOLER_PASSWORD)
    odd.up()


def test_rest_writes_are_closed_by_two_settings(odd):
    """Reading stays open, as with Patroni; guide_test.py shows that without the two writing is open, too."""
    url, body = "http://127.0.0.1:8008", {"leader": "pg-primary"}
    assert http(f"{url}/cluster")[0] == 200
    assert http(f"{url}/switchover", body)[0] == 401
    assert http(f"{url}/switchover", body, ("admin", "Wrong1234567"))[0] == 401
    assert odd.leader() == "pg-primary"
    assert http(f"{url}/switchover", body, ("admin", REST_PASSWORD), seconds=60)[0] == 200
    wait_until("another leader", 20, lambda: odd.leader() != "pg-primary")
    odd.wait_healthy()


def test_no_password_in_command_lines_or_logs(odd):
    # Of the odd one the part that JSON writes as it is.
    odd.keeps_quiet(["#;%:{}[]=", REST_PASSWORD, POOLER_PASSWORD])
