"""The image and the compose file name settings, commands and folders that exist; no Docker engine is asked."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml

from engines.no_telemetry import VARIABLES
from stream.cli import app
from stream.runtime.topic_service import SHUTDOWN_GRACE_S
from stream.settings import PREFIX, load_settings

FOLDER = Path(__file__).parent.parent / "docker"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
DOCKERFILE, GPU_DOCKERFILE = ((FOLDER / name).read_text() for name in ("Dockerfile", "Dockerfile.gpu"))
OURS = {name: service for name, service in COMPOSE.items() if service["image"] == "cardiacnets"}


def test_every_part_of_the_engine_is_a_service_with_settings_and_a_command_that_exist():
    commands = typer.main.get_command(app).commands
    assert OURS.keys() == {"worker", "cmr-worker", "alert-keeper", "dashboard"}
    for name, service in OURS.items():
        assert service.get("command", ["worker"]) == [name]
        assert name in commands
        settings = load_settings(service["environment"])
        assert settings.kafka.broker.split(":")[0] in COMPOSE
        if name == "alert-keeper":  # it has nothing to do with Redis
            continue
        redis = urlsplit(settings.redis.url)
        assert redis.hostname in COMPOSE
        assert f"user {name} on >{redis.password} " in (FOLDER / "users.acl").read_text()


def test_ports_are_those_that_the_commands_listen_on_and_open_to_this_machine_alone():
    defaults = load_settings({})
    for name, port in {"worker": defaults.process.http_port, "dashboard": defaults.dashboard.port}.items():
        assert OURS[name]["ports"] == [f"127.0.0.1:{port}:{port}"]


def test_the_dashboards_address_is_one_to_open_here_and_its_token_may_be_given():
    dashboard = OURS["dashboard"]
    assert dashboard["hostname"] == "localhost"
    assert dashboard["environment"]["CARDIACNETS_DASHBOARD_TOKEN"] == "${CARDIACNETS_DASHBOARD_TOKEN:-}"


def test_redis_lets_in_nobody_but_the_users_of_the_file():
    redis = COMPOSE["redis"]
    (mount,) = redis["volumes"]
    source, target, mode = mount.split(":")
    assert (FOLDER / source).read_text().startswith("user default off\n")
    assert redis["command"][-2:] == ["--aclfile", target]
    assert mode == "ro"


def test_no_container_keeps_a_capability_or_gets_one_or_all_memory():
    for name, service in COMPOSE.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["mem_limit"], name
        assert set(service.get("cap_add", [])) <= {"SETUID", "SETGID"}, name
    for service in OURS.values():
        assert service["read_only"]
        assert "cap_add" not in service
    assert re.search(r"^USER (?!root)", DOCKERFILE, re.MULTILINE)


def test_what_drains_at_its_end_is_given_longer_than_it_gives_itself():
    for name, drains in {"worker": 1, "cmr-worker": 2}.items():
        longest_s = drains * load_settings({}).process.drain_s + SHUTDOWN_GRACE_S
        assert int(OURS[name]["stop_grace_period"].removesuffix("s")) > longest_s


@pytest.mark.parametrize("text", [DOCKERFILE, GPU_DOCKERFILE], ids=["cpu", "gpu"])
def test_an_image_holds_every_package_and_sets_what_exists(text):
    packages = re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE)
    assert packages == ["schemas", "engines", "inference", "training", "stream"]
    load_settings(dict(re.findall(rf"({PREFIX}\w+)=(\S+)", text)))
    for locks in re.findall(r"^COPY (supply/.*) supply/$", text, re.MULTILINE):
        assert [name for name in locks.split() if not (FOLDER.parent / name).is_file()] == []
    assert re.search(r"^USER (?!root)", text, re.MULTILINE)


@pytest.mark.parametrize("text", [DOCKERFILE, GPU_DOCKERFILE], ids=["cpu", "gpu"])
def test_no_process_of_an_image_reports_to_a_vendor_not_even_one_that_is_not_ours(text):
    assert dict(re.findall(r"(\w+)=(\S+)", text)).items() >= VARIABLES.items()


def test_the_worker_of_a_gpu_is_asked_for_and_keeps_what_it_measured():
    worker = COMPOSE["worker-gpu"]
    assert worker["profiles"] == ["gpu"]
    assert worker["build"]["dockerfile"] == "docker/Dockerfile.gpu"
    assert worker["environment"] == COMPOSE["worker"]["environment"]
    (volume,) = worker["volumes"]
    folder = load_settings(dict(re.findall(rf"({PREFIX}\w+)=(\S+)", GPU_DOCKERFILE))).model.engine_cache
    assert volume == f"engines:{folder}"
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert worker["read_only"]
    assert "cap_add" not in worker


def test_the_image_installs_nothing_but_what_the_lock_files_hold_by_hash_and_our_own_wheel():
    installs = re.findall(r"pip install (.+?)(?: \\$| && |$)", DOCKERFILE, re.MULTILINE)
    assert [install.removeprefix("--no-cache-dir ") for install in installs] == [
        "--require-hashes -r supply/serve.lock",
        "--require-hashes -r supply/build.lock",
        "--no-deps /wheel/*.whl",
    ]
