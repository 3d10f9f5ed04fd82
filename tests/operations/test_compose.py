"""The files for Docker Compose: what a schema cannot say. They hold together with settings, image and scripts."""

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings

from config.environment import VARIABLES

DEPLOY = Path(settings.BASE_DIR) / "deploy"
#: What in `environment` is not ours.
OTHERS = {"POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS", "COUNTERSIGN_SITES"}
ONE_SHOTS = {"secrets", "migrate"}


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((Path(settings.BASE_DIR) / name).read_text())
    return content


BASE = read("docker-compose.yml")
REPLICAS = read("docker-compose.replicas.yml")
NEW_SERVICES = {**BASE["services"], **{name: REPLICAS["services"][name] for name in ("pooler", "cache")}}


@pytest.mark.parametrize("name", NEW_SERVICES)
def test_service_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = NEW_SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
    assert "privileged" not in service


@pytest.mark.parametrize("name", NEW_SERVICES)
def test_service_comes_back_and_shows_its_health_unless_it_is_run_once(name: str) -> None:
    service = NEW_SERVICES[name]
    if name in ONE_SHOTS:
        assert (service["restart"], service["healthcheck"]) == ("no", {"disable": True})
    else:
        assert service["restart"] == "unless-stopped"
        # The images of `web` and `pooler` have one of their own.
        assert "healthcheck" in service or name in ("web", "pooler")
        assert "mem_limit" in service


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    assert [name for name, service in NEW_SERVICES.items() if "ports" in service] == ["proxy"]
    assert BASE["networks"]["database"] == {"internal": True}
    assert NEW_SERVICES["proxy"]["networks"] == ["default"]
    for name in ("database", "pooler", "cache"):
        assert NEW_SERVICES[name]["networks"] == ["database"]


def test_every_variable_is_one_that_the_settings_read() -> None:
    services = [*BASE["services"].values(), *REPLICAS["services"].values()]
    named = {name for service in services for name in service.get("environment", {})} - OTHERS
    named |= {line.split("=")[0] for line in (DEPLOY / "defaults.env").read_text().splitlines() if line[:1] not in "#"}
    assert {name.removesuffix("_FILE") for name in named} <= set(VARIABLES)


def test_no_secret_is_written_down_and_each_file_of_one_is_made(tmp_path: Path) -> None:
    command = [sys.executable, str(DEPLOY / "make_secrets.py"), str(tmp_path), "--mode", "0444"]
    subprocess.run(command, check=True)
    made = {path.name for path in tmp_path.iterdir()}
    files = [Path(settings.BASE_DIR) / name for name in ("docker-compose.yml", "docker-compose.replicas.yml")]
    files += [path for folder in ("pgbouncer", "postgresql") for path in (DEPLOY / folder).iterdir()]
    named = {name for path in files for name in re.findall(r"/run/countersign/(\w+)", path.read_text())}
    assert named <= made
    for service in BASE["services"].values():
        for name, value in service.get("environment", {}).items():
            assert name.endswith("_FILE") or not any(word in name for word in ("SECRET", "PASSWORD", "TOKEN", "URL")), (
                value
            )


def test_secrets_once_made_stay_as_they_are_and_are_for_their_owner(tmp_path: Path) -> None:
    command = [sys.executable, str(DEPLOY / "make_secrets.py"), str(tmp_path)]
    first = subprocess.run(command, check=True, capture_output=True, text=True)
    kept = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o400 for path in tmp_path.iterdir())
    assert not [value for value in kept.values() if value.strip() in first.stdout]
    (tmp_path / "metrics_token").unlink()
    second = subprocess.run(command, check=True, capture_output=True, text=True)
    assert second.stdout == "made metrics_token\n"
    assert all((tmp_path / name).read_text() == value for name, value in kept.items() if name != "metrics_token")


def test_web_servers_behind_the_pooler_prepare_nothing_and_the_worker_goes_around_it() -> None:
    web, worker = REPLICAS["services"]["web"], REPLICAS["services"]["worker"]
    assert web["deploy"]["replicas"] > 1
    assert web["environment"]["DATABASE_PREPARE"] == "0"
    assert web["environment"]["DATABASE_URL_FILE"].endswith("pooled_database_url")
    assert "DATABASE_URL_FILE" not in worker["environment"]
    assert web["environment"]["CACHE_URL"] == worker["environment"]["CACHE_URL"]


def test_images_are_named_by_their_version() -> None:
    for service in NEW_SERVICES.values():
        _, _, tag = service["image"].rpartition(":")
        assert tag.strip("}") not in ("", "latest")
