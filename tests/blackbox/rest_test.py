"""The REST interface of the agents, as load balancers, monitoring and patronictl use it; and clients that mean harm."""
import contextlib
import datetime
import json
import os
import re
import socket
import threading
import time

import pytest

from harness.journal import Journal
from harness.waiting import wait_until


@pytest.mark.parametrize("path, leader, replica", [
    ("/", 200, 503), ("/primary", 200, 503), ("/leader", 200, 503), ("/read-write", 200, 503), ("/replica", 503, 200),
    ("/read-only", 200, 200), ("/health", 200, 200), ("/liveness", 200, 200), ("/readiness", 200, 200),
    ("/replica?lag=10MB", 503, 200), ("/synchronous", 503, 503), ("/quorum", 503, 200), ("/read-only-quorum", 200, 200),
    ("/standby-leader", 503, 503), ("/asynchronous", 503, 503), ("/nonsense", 503, 503)])
def test_health_checks(cluster, path, leader, replica):
    primary = cluster.primary()
    assert primary.rest(path, login=False)[0] == leader
    assert [node.rest(path, login=False)[0] for node in cluster.replicas()] == [replica] * 2


def test_head_and_options_answer_as_get_does(cluster):
    primary = cluster.primary()
    for method in ("HEAD", "OPTIONS"):
        assert primary.rest("/primary", method, login=False)[0] == 200
        assert cluster.replicas()[0].rest("/primary", method, login=False)[0] == 503


def test_patroni_and_cluster_say_what_is_true(cluster):
    leader = cluster.primary()
    told = json.loads(leader.rest("/patroni", login=False)[1])
    assert told["role"] == "primary" and told["state"] == "running"
    assert told["timeline"] == int(leader.sql("select timeline_id from pg_control_checkpoint()")[0])
    assert told["patroni"]["scope"] == cluster.name and told["patroni"]["name"] == leader.name
    for node in cluster.nodes.values():
        members = {member["name"]: member for member in json.loads(node.rest("/cluster", login=False)[1])["members"]}
        assert set(members) == set(cluster.nodes)
        assert members[leader.name]["role"] == "leader"
        assert all(member["state"] == "streaming" for name, member in members.items() if name != leader.name)


def test_config_is_read_and_patched(cluster):
    node = cluster.replicas()[0]
    assert node.rest("/config", "PATCH", {"maximum_lag_on_failover": 2000000}, login=False)[0] == 401
    status, text = node.rest("/config", "PATCH", {"maximum_lag_on_failover": 2000000})
    assert status == 200 and json.loads(text)["maximum_lag_on_failover"] == 2000000
    assert json.loads(node.rest("/config", login=False)[1])["maximum_lag_on_failover"] == 2000000
    assert node.rest("/config", "PATCH", {"maximum_lag_on_failover": None})[0] == 200


@pytest.mark.parametrize("path, body", [("/switchover", {"leader": "x", "candidate": "y"}), ("/restart", {}), ("/reload", {}),
                                        ("/reinitialize", {}), ("/failover", {"candidate": "y"})])
def test_writes_want_a_password(cluster, path, body):
    node = cluster.replicas()[0]
    before = node.postmaster().pid
    assert node.rest(path, "POST", body, login=False)[0] == 401
    assert node.rest(path, "POST", body, {"Authorization": "Basic cGdkYmE6d3Jvbmc="}, login=False)[0] == 401
    assert node.postmaster().pid == before


def test_reload_applies_the_log_settings(cluster):
    """Format, level and mode of the log change with POST /reload, and back; what Patroni's documentation shows as an example."""
    node = cluster.replicas()[0]
    settings = os.path.join(node.folder, "patroni.yml")
    with open(settings) as file:
        before = file.read()
    folder = re.search(r"^log:\n(?: .*\n)*?  dir: (.*)$", before, re.M)[1].strip("'\"")
    log = os.path.join(folder, "patroni.log")
    level = re.search(r"^log:\n(?: .*\n)*?(  level: .*\n)", before, re.M)[1]
    more = "".join(f"  {line}\n" for line in (
        "level: DEBUG", "type: json", "mode: 0640", "format: [message, module, {asctime: '@timestamp'}, {levelname: level}]",
        "dateformat: '%Y'", "static_fields: {app: patroni}"))
    try:
        with open(settings, "w") as file:
            file.write(before.replace(level, more, 1))
        assert node.rest("/reload", "POST", {})[0] in (200, 202)
        with open(log) as file:
            line = wait_until("the line in the log", 5, lambda: next((line for line in file if '"settings reloaded"' in line), None))
        told = json.loads(line)
        assert list(told) == ["message", "module", "@timestamp", "level", "app"]
        assert (told["message"], told["module"], told["level"], told["app"]) == ("settings reloaded", "agent", "INFO", "patroni")
        assert re.fullmatch(r"\d{4}", told["@timestamp"])
        assert os.stat(log).st_mode & 0o777 == 0o640
    finally:
        with open(settings, "w") as file:
            file.write(before)
        assert node.rest("/reload", "POST", {})[0] in (200, 202)
    with open(log) as file:
        plain = wait_until("a plain line", 5, lambda: next((line for line in file if re.match(r"\d{4}-.*Z INFO +agent: settings reloaded", line)), None))
    assert plain


def test_a_scheduled_restart_is_shown_deleted_and_carried_out(cluster):
    node = cluster.replicas()[0]
    before = node.postmaster().pid
    at = lambda seconds: (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).isoformat()
    shown = lambda: {m["name"]: m for m in json.loads(cluster.primary().rest("/cluster", login=False)[1])["members"]}[node.name].get("scheduled_restart")
    assert node.rest("/restart", "DELETE")[0] == 404
    assert node.rest("/restart", "POST", {"schedule": at(3600)})[0] == 202
    assert node.rest("/restart", "POST", {"schedule": at(3600)})[0] == 409
    wait_until("the others see it", 5, shown)
    assert json.loads(node.rest("/patroni", login=False)[1])["scheduled_restart"]["schedule"]
    assert node.rest("/restart", "DELETE")[0] == 200
    wait_until("it is gone", 5, lambda: not shown())
    assert node.postmaster().pid == before
    assert node.rest("/restart", "POST", {"schedule": at(3), "role": "replica"})[0] == 202
    wait_until("postgres was restarted", 20, lambda: node.postmaster() and node.postmaster().pid != before)
    cluster.wait_healthy()
    assert not shown()


def test_the_walreceiver_uses_the_password_file_of_the_settings(cluster):
    for node in cluster.replicas():
        file = os.path.join(node.folder, "pgpass")
        info = os.stat(file)
        assert info.st_mode & 0o777 == 0o600 and info.st_uid == os.stat(f"/proc/{node.postmaster().pid}").st_uid
        assert f"passfile={file}" in node.sql("select conninfo from pg_stat_wal_receiver")[0]
        with open(file) as text:
            assert re.fullmatch(rf"127\.0\.0\.1:{cluster.primary().port}:\*:\w+:\S+\n", text.read())


def test_answers_as_json_only_when_the_request_says_json(cluster):
    node = cluster.primary()
    body = json.dumps({"leader": "nobody", "candidate": "pg-replica-1"})
    status, text = node.rest("/switchover", "POST", body, {"Content-Type": "application/json"})
    assert status == 412 and set(json.loads(text)) == {"message"}
    plain = node.rest("/switchover", "POST", body, {"Content-Type": "text/plain"})
    assert plain[0] == 412 and plain[1] == json.loads(text)["message"] == "leader name does not match"


def test_metrics_have_patronis_names_and_true_values(cluster):
    leader, replica = cluster.primary(), cluster.replicas()[0]
    for node, primary in ((leader, 1), (replica, 0)):
        text = node.rest("/metrics", login=False)[1]
        value = dict(re.findall(r"^(\w+)\{[^}]*\} (\S+)$", text, re.M))
        assert float(value["patroni_primary"]) == primary and float(value["patroni_replica"]) == 1 - primary
        assert float(value["patroni_postgres_running"]) == 1 and float(value["patroni_cluster_unlocked"]) == 0
        assert f'scope="{cluster.name}"' in text and f'name="{node.name}"' in text


# Hostile and slow clients must not delay the renewal of the lock.

def hold(port, first=b"", each=b"", every=0.5, count=1, stop=None):
    """Opens `count` connections that send `first`, then `each` now and then."""
    opened = []
    for _ in range(count):
        one = socket.socket()
        one.settimeout(2)
        with contextlib.suppress(OSError):
            one.connect(("127.0.0.1", port))
            one.sendall(first)
            opened.append(one)
    while not stop.wait(every):
        for one in opened:
            with contextlib.suppress(OSError):
                if each:
                    one.sendall(each)
    for one in opened:
        one.close()


@pytest.mark.parametrize("name, options", [
    ("slow headers", {"first": b"GET /primary HTTP/1.1\r\nHost: x\r\n", "each": b"X", "count": 50}),
    ("endless body", {"first": b"PATCH /config HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n", "each": b"x" * 65536, "every": 0.01}),
    ("a thousand idle connections", {"count": 1000}),
    ("no HTTP at all", {"first": b"\x16\x03\x01\x02\x00" + b"\xff" * 4096, "count": 20}),
    ("endless header", {"first": b"GET / HTTP/1.1\r\nX: ", "each": b"y" * 65536, "every": 0.01}),
    ("no end of chunks", {"first": b"POST /restart HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", "each": b"1000\r\n" + b"z" * 4096 + b"\r\n", "every": 0.01}),
], ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "")
def test_hostile_client_does_not_cost_the_lock(cluster, name, options):
    leader = cluster.primary()
    stop = threading.Event()
    attacker = threading.Thread(target=hold, args=(leader.rest_port,), kwargs={**options, "stop": stop}, daemon=True)
    with Journal(cluster.endpoints) as journal:
        attacker.start()
        end = time.monotonic() + 2.5 * cluster.ttl
        while time.monotonic() < end:
            assert leader.is_primary(), f"{name}: the leader stepped down"
            time.sleep(0.2)
        stop.set()
        attacker.join(30)
    assert journal.count("indeterminate") + journal.count("failed") == 0
    wait_until("REST answers", 20, lambda: leader.rest("/primary", login=False)[0] == 200)
    journal.verify().check()


NO_OBJECT = {"empty": "", "open": "{", "list": "[]", "null": "null", "number": "7", "deep": '{"a":' * 5000, "not-utf8": "\xff\xfe"}


@pytest.mark.parametrize("method, path, body", [
    *[pytest.param(*request, body, id=f"{request[1][1:]}-{name}") for request in (("POST", "/switchover"), ("PATCH", "/config"))
      for name, body in NO_OBJECT.items()],
    pytest.param("POST", "/switchover", '{"leader": 7}', id="switchover-wrong-type"),
    pytest.param("POST", "/switchover", '{"leader": "' + "x" * 100000 + '"}', id="switchover-long"),
    pytest.param("PATCH", "/config", '{"ttl": ["soon"]}', id="config-wrong-type")])
def test_bad_bodies_get_a_4xx(cluster, method, path, body):
    before = cluster.primary().rest("/config", login=False)
    status, _ = cluster.primary().rest(path, method, body.encode("latin-1"), {"Content-Type": "application/json"})
    assert 400 <= status < 500, status
    assert cluster.primary().rest("/config", login=False) == before
