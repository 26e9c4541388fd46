"""What Docker Compose makes of the files of deployments/docker, without starting or pulling anything."""
import json
import re
import subprocess
import sys

import pytest
import yaml

from stack import ETCDS, NODES, ROOT, docker

OURS = ("docker-compose.yml",)
SPILO = ("docker-compose.spilo.yml",)
PACKAGES = ("docker-compose.spilo.yml", "docker-compose.packages.yml")
EVERY = pytest.mark.parametrize("files", [OURS, SPILO, PACKAGES], ids=["pgdba", "spilo", "packages"])


def read(stack):
    config = json.loads(stack.compose("config --format json").out)
    return config


@EVERY
def test_same_containers_ports_and_network(bare, files):
    config = read(bare(files=files))
    if files == OURS:  # runs once, touches nothing
        check = config["services"].pop("check-env")
        assert check["command"] == ["check-env"] and check["network_mode"] == "none" and "volumes" not in check
    assert set(config["services"]) == {*ETCDS, *NODES, "pgbouncer"}
    published = {}
    for name, service in config["services"].items():
        assert service["container_name"] == service["hostname"] == name and list(service["networks"]) == ["pgdba-net"]
        assert service["healthcheck"]["test"] and service["restart"] == "unless-stopped"
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1"
            published[int(port["published"])] = (name, port["target"])
    wanted = {6432: ("pgbouncer", 6432)}
    for name, (port, rest) in NODES.items():
        wanted |= {port: (name, 5432), rest: (name, 8008)}
    assert published == wanted
    assert config["networks"]["pgdba-net"]["name"] == "pgdba-net"
    assert set(config["volumes"]) == {f"{name}-data" for name in [*ETCDS, *NODES]}
    for name in NODES:  # data outlives the container
        assert [volume["source"] for volume in config["services"][name]["volumes"]] == [f"{name}-data"]


@EVERY
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
@pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "REPLICATION_PASSWORD"])
def test_a_missing_password_is_one_clear_line(bare, files, name, value):
    stack = bare(files=files)
    settings = {**stack.settings, name: value}
    (stack.work / ".env").write_text("".join(f"{key}={text}\n" for key, text in settings.items() if text is not None))
    refused = stack.compose("up -d", check=False)
    lines = refused.err.strip().splitlines()
    assert refused.code != 0 and len(lines) == 1 and refused.out == "", refused
    assert name in lines[0] and "cp .env.example .env" in lines[0]


def test_the_deployments_share_no_volume(bare):
    names = [volume["name"] for files in (OURS, SPILO, PACKAGES) for volume in read(bare(files=files))["volumes"].values()]
    assert len(names) == len(set(names)) == 18


def test_spilo_is_what_the_guide_names(bare):
    stack = bare(files=SPILO, settings={"ETCD_IMAGE": ""})
    services = read(stack)["services"]
    images = {name: service["image"] for name, service in services.items()}
    assert images == {**{name: "quay.io/coreos/etcd:v3.5.9" for name in ETCDS}, **{name: "ghcr.io/zalando/spilo-16:3.3-p3" for name in NODES},
                      "pgbouncer": "edoburu/pgbouncer:v1.25.1-p0"}
    for name in NODES:
        environment = services[name]["environment"]
        assert environment["PGPASSWORD_SUPERUSER"] == stack.settings["POSTGRES_PASSWORD"]
        assert environment["PGPASSWORD_STANDBY"] == stack.settings["REPLICATION_PASSWORD"]
        assert environment["SCOPE"] == "local-ha" and environment["RESTAPI_CONNECT_ADDRESS"] == name
        # As Spilo's start script reads them.
        assert yaml.safe_load(f"[{environment['ETCD3_HOSTS']}]") == [f"{etcd}:2379" for etcd in ETCDS]
        assert yaml.safe_load(environment["SPILO_CONFIGURATION"]) == {
            "bootstrap": {"dcs": {"ttl": 30, "synchronous_mode": False}}, "postgresql": {"connect_address": f"{name}:5432"}}
    pgbouncer = services["pgbouncer"]["environment"]
    assert (pgbouncer["DB_HOST"], pgbouncer["POOL_MODE"], pgbouncer["LISTEN_PORT"]) == ("pg-primary", "transaction", "6432")


def test_packages_replace_every_image(bare):
    services = read(bare(files=PACKAGES))["services"]
    assert {service["image"] for service in services.values()} == {"pgdba-etcd:latest", "packages-patroni:latest", "packages-pgbouncer:latest"}


@pytest.mark.parametrize("files", [OURS, PACKAGES], ids=["pgdba", "packages"])
def test_one_service_builds_an_image_for_all(bare, files):
    """Some versions of Compose build at once whatever has a build section, and fail when two of them write the same tag; and nobody else tries
    to pull what is only here."""
    by_image = {}
    for service in read(bare(files=files))["services"].values():
        by_image.setdefault(service["image"], []).append(service)
    built = [services for services in by_image.values() if any("build" in service for service in services)]
    assert len(built) == (1 if files == OURS else 3)
    for services in built:
        assert sum("build" in service for service in services) == 1
        assert all("build" in service or service["pull_policy"] == "never" for service in services)


def test_every_setting_of_the_example_gets_somewhere(bare):
    """Each name of .env.example, with a value of its own."""
    names = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / "deployments" / "docker" / ".env.example").read_text(), re.M)
    assert len(names) == len(set(names)) > 20
    values = {name: str(10000 + number) if name.endswith("PORT") else f"value-of-{name}" for number, name in enumerate(names)}
    config = bare(files=OURS, settings=values).compose("config").out
    pooler = bare(files=SPILO, settings={**values, "COMPOSE_PROFILES": "pgdba-pooler"}).compose("config").out
    for name, value in values.items():
        where = pooler if name == "PGDBA_POOLER_PORT" else config
        assert re.search(rf"\b{value}\b", where), name
    variables = set(re.findall(r"\$\{([A-Z0-9_]+)", (ROOT / "deployments" / "docker" / "docker-compose.yml").read_text()))
    assert variables - set(names) == {"PGDBA_BINARY"}, "a setting that the example does not tell"


@pytest.mark.parametrize("files", [SPILO, PACKAGES], ids=["spilo", "packages"])
def test_settings_of_env_reach_patroni(bare, files):
    services = read(bare(files=files, settings={"TTL": "20", "SYNCHRONOUS_MODE": "on", "SCOPE": "other"}))["services"]
    for name in NODES:
        environment = services[name]["environment"]
        assert yaml.safe_load(environment["SPILO_CONFIGURATION"])["bootstrap"]["dcs"] == {"ttl": 20, "synchronous_mode": True}
        assert environment["SCOPE"] == "other"
        if files == PACKAGES:
            assert (environment["TTL"], environment["SYNCHRONOUS_MODE"]) == ("20", "on")


def test_our_pooler_in_front_is_a_profile(bare):
    stack = bare(files=SPILO, settings={"COMPOSE_PROFILES": "pgdba-pooler"})
    pooler = read(stack)["services"]["pooler"]
    assert [(port["host_ip"], port["published"], port["target"]) for port in pooler["ports"]] == [("127.0.0.1", "6433", 6432)]
    assert pooler["command"] == ["pooler"] and pooler["image"] == "pgdba:latest"


@pytest.mark.parametrize("command", [["-m", "pytest", "tests/compose/config_test.py"], ["bench/compose.py"]], ids=["tests", "bench"])
def test_data_of_a_deployment_that_is_down_is_not_deleted(command):
    """Whoever has an engine may have done `docker compose down` in it, which keeps the data in its volumes."""
    name = "pgdba_pg-primary-data"
    docker("volume", "create", "--label", "com.docker.compose.project=pgdba", name)
    try:
        refused = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert refused.returncode == 1 and f"volume {name}" in refused.stdout + refused.stderr, refused
        assert docker("volume", "ls", "-q", "--filter", f"name=^{name}$").split() == [name]
    finally:
        docker("volume", "rm", name, check=False)
