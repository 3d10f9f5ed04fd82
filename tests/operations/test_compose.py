"""The files for Docker Compose: what a schema cannot say. They hold together with settings, image and scripts."""

import re
import secrets
import ssl
import stat
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import certifi
import pytest
import yaml
from django.conf import settings

from apps.operations.production import find_refusals
from config.environment import VARIABLES
from config.reading import Environment
from tests.operations.deployment import Cluster, folder_for_clusters

DEPLOY = Path(settings.BASE_DIR) / "deploy"
CREATE_DATABASE = DEPLOY / "postgresql/create-database.sh"
#: What in `environment` is not ours.
OTHERS = {"POSTGRES_PASSWORD_FILE", "POSTGRES_INITDB_ARGS", "COUNTERSIGN_SITES", "COUNTERSIGN_CDN", "GOMEMLIMIT"}
ONE_SHOTS = {"secrets", "migrate", "backup"}
#: Port 443; files that their owner keeps from others, for `--from`.
CAPABILITIES = {"proxy": ["NET_BIND_SERVICE"], "secrets": ["DAC_OVERRIDE"]}


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((Path(settings.BASE_DIR) / name).read_text())
    return content


BASE = read("docker-compose.yml")
REPLICAS = read("docker-compose.replicas.yml")
OUTSIDE = read("docker-compose.external-database.yml")
#: The services that run the image of Countersign.
OURS = ("migrate", "backup", "web", "worker")
NEW_SERVICES = {**BASE["services"], **{name: REPLICAS["services"][name] for name in ("pooler", "cache")}}


@pytest.mark.parametrize("name", NEW_SERVICES)
def test_service_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = NEW_SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) == CAPABILITIES.get(name, [])
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
    for name in ("database", "pooler", "cache", "backup"):
        assert NEW_SERVICES[name]["networks"] == ["database"]
    assert NEW_SERVICES["secrets"]["network_mode"] == "none"


def test_every_variable_is_one_that_the_settings_read() -> None:
    services = [*BASE["services"].values(), *REPLICAS["services"].values(), *OUTSIDE["services"].values()]
    named = {name for service in services for name in service.get("environment", {})} - OTHERS
    named |= {line.split("=")[0] for line in (DEPLOY / "defaults.env").read_text().splitlines() if line[:1] not in "#"}
    assert {name.removesuffix("_FILE") for name in named} <= set(VARIABLES)


def test_no_secret_is_written_down_and_each_file_of_one_is_made(tmp_path: Path) -> None:
    for_us, for_the_database = tmp_path / "ours", tmp_path / "database"
    assert make_secrets(for_us, "--database-folder", str(for_the_database), "--mode", "0444").returncode == 0
    ours, the_databases = ({path.name for path in folder.iterdir()} for folder in (for_us, for_the_database))
    assert not ours & the_databases
    named = {name: set(re.findall(r"/run/countersign/(\w+)", str(service))) for name, service in NEW_SERVICES.items()}
    named["web with replicas"] = set(re.findall(r"/run/countersign/(\w+)", str(REPLICAS["services"]["web"])))
    for name, folder in (("database", "postgresql"), ("pooler", "pgbouncer")):
        for path in (DEPLOY / folder).iterdir():
            named[name] |= set(re.findall(r"/run/countersign/(\w+)", path.read_text()))
    for name, files in named.items():
        assert files <= (the_databases if name in ("database", "pooler") else ours), name
    for service in BASE["services"].values():
        for name, value in service.get("environment", {}).items():
            assert name.endswith("_FILE") or not any(word in name for word in ("SECRET", "PASSWORD", "TOKEN", "URL")), (
                value
            )


def test_application_cannot_see_the_secrets_of_the_database_nor_the_database_ours() -> None:
    """With the superuser's password the web server could change the audit trail."""
    holders: dict[str, set[str]] = {"secrets": set(), "database_secrets": set()}
    for name, service in NEW_SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            if source in holders and name != "secrets":
                assert volume.endswith(":/run/countersign:ro")
                holders[source].add(name)
    assert holders == {"secrets": {"migrate", "backup", "web", "worker"}, "database_secrets": {"database", "pooler"}}


def make_secrets(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(DEPLOY / "make_secrets.py"), str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_secrets_brought_along_are_taken_and_what_is_missing_is_made_to_fit(tmp_path: Path) -> None:
    mine, made = tmp_path / "mine", tmp_path / "made"
    mine.mkdir()
    secret_key, password = secrets.token_urlsafe(64), 'with / and "quotes"'
    (mine / "secret_key").write_text(f"{secret_key}\n")
    (mine / "database_password").write_text(password)
    assert make_secrets(made, "--from", str(mine)).returncode == 0
    assert (made / "secret_key").read_text() == secret_key
    assert "://countersign:with%20%2F%20and%20%22quotes%22@database:5432/" in (made / "database_url").read_text()
    assert (made / "pooler_users").read_text() == '"countersign" "with / and ""quotes"""\n'
    assert make_secrets(made, "--from", str(mine)).returncode == 0


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("secret_key", "another one", "there already"),
        ("secret-key", "x", "no secret has this name"),
        ("email_url", "", "empty"),
    ],
)
def test_secret_brought_along_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, value: str, told: str
) -> None:
    mine, made = tmp_path / "mine", tmp_path / "made"
    assert make_secrets(made).returncode == 0
    (made / "metrics_token").unlink()
    mine.mkdir()
    (mine / "metrics_token").write_text("mine")
    (mine / name).write_text(value)
    refused = make_secrets(made, "--from", str(mine))
    assert (refused.returncode, refused.stdout) == (1, "")
    assert told in refused.stderr
    assert not (made / "metrics_token").exists()


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
    tags = [service["image"] for service in NEW_SERVICES.values()]
    tags += re.findall(r"^FROM (\S+)", "\n".join(path.read_text() for path in dockerfiles()), re.MULTILINE)
    for image in tags:
        _, _, tag = image.rpartition(":")
        assert tag.strip("}") not in ("", "latest")


def dockerfiles() -> list[Path]:
    return sorted(path for path in DEPLOY.rglob("*") if path.name.endswith("Dockerfile"))


def context_and_dockerfile(build: str | dict[str, str]) -> tuple[Path, Path]:
    if isinstance(build, str):
        build = {"context": build}
    context = Path(settings.BASE_DIR) / build["context"]
    return context, context / build.get("dockerfile", "Dockerfile")


def test_each_image_is_built_by_one_service_and_never_looked_for_in_a_registry_by_the_others() -> None:
    """Builds run at the same time: the second one of a name fails on a machine that has neither."""
    builders = Counter(service["image"] for service in NEW_SERVICES.values() if "build" in service)
    assert set(builders.values()) == {1}
    for service in NEW_SERVICES.values():
        if "build" not in service and service["image"] in builders:
            assert service["pull_policy"] == "never"
    assert {context_and_dockerfile(service["build"])[1] for service in NEW_SERVICES.values() if "build" in service} == {
        Path(settings.BASE_DIR) / "Dockerfile",
        *dockerfiles(),
    }


def test_what_all_others_depend_on_is_not_made_anew_with_a_release() -> None:
    """Compose makes all containers anew before it starts the first of them: what fails in between would last."""
    assert NEW_SERVICES["web"]["image"] != NEW_SERVICES["secrets"]["image"]
    assert NEW_SERVICES["database"]["depends_on"] == {"secrets": {"condition": "service_completed_successfully"}}
    for name in ("web", "worker", "pooler", "proxy"):
        assert "secrets" not in NEW_SERVICES[name]["depends_on"]


def test_nothing_of_the_checkout_is_mounted_and_what_is_copied_can_be_read_by_everybody() -> None:
    """A checkout under umask 077, or SELinux, would make it unreadable in the container."""
    for name, service in NEW_SERVICES.items():
        paths = [volume for volume in service.get("volumes", []) if not re.match(r"\w+:", str(volume))]
        assert paths == (
            [
                {
                    "type": "bind",
                    "source": "./backups",
                    "target": "/backups",
                    "bind": {"create_host_path": False, "selinux": "z"},
                }
            ]
            if name == "backup"
            else []
        )
        assert "configs" not in service
    for dockerfile in dockerfiles():
        copies = [line for line in dockerfile.read_text().splitlines() if line.startswith("COPY")]
        assert all(re.match(r"COPY --chmod=0[45]{3} ", line) for line in copies), copies
    for service in NEW_SERVICES.values():
        if isinstance(service.get("build"), dict):
            context, dockerfile = context_and_dockerfile(service["build"])
            ignored = dockerfile.with_name(f"{dockerfile.name}.dockerignore").read_text().splitlines()
            copied = re.findall(r"^COPY \S+ (\S+)", dockerfile.read_text(), re.MULTILINE)
            assert ignored == ["*", *(f"!{name}" for name in copied)]
            assert all((context / name).is_file() for name in copied)


def test_backup_goes_to_postgresql_itself_and_is_no_part_of_what_runs() -> None:
    """Through PgBouncer it is refused; and with each `up` there would be one."""
    backup = NEW_SERVICES["backup"]
    assert backup["profiles"] == ["tools"]
    assert backup["environment"]["DATABASE_URL_FILE"] == "/run/countersign/database_url"
    assert "backup" not in REPLICAS["services"]
    assert backup["depends_on"] == {"database": {"condition": "service_healthy"}}
    assert "var:/var/lib/countersign" in backup["volumes"]


def test_env_file_may_say_how_many_proxies_there_are() -> None:
    """What is in `environment` goes before `env_file`."""
    for service in NEW_SERVICES.values():
        assert "TRUSTED_PROXIES" not in service.get("environment", {})
    assert "TRUSTED_PROXIES=1\n" in (DEPLOY / "defaults.env").read_text()


def test_visitors_over_ipv6_keep_their_addresses() -> None:
    """Without it Docker hands their connections over in its own name, and limits take all of them for one."""
    assert BASE["networks"]["default"] == {"enable_ipv6": "${COUNTERSIGN_IPV6:-true}"}
    assert "default" in NEW_SERVICES["proxy"]["networks"]


def test_what_hangs_together_with_proxy_and_volumes_cannot_be_changed_in_the_env_file() -> None:
    """What is in `environment` goes before `env_file`."""
    image = dict(
        re.findall(r"^    ([A-Z_]+)=(\S+?)(?: \\)?$", (DEPLOY.parent / "Dockerfile").read_text(), re.MULTILINE)
    )
    for name in OURS:
        given = NEW_SERVICES[name]["environment"]
        assert {key: given[key] for key in ("HOST", "PORT", "VAR_DIR", "STATIC_ROOT")} == {
            key: image[key] for key in ("HOST", "PORT", "VAR_DIR", "STATIC_ROOT")
        }
        assert f"var:{given['VAR_DIR']}" in NEW_SERVICES[name]["volumes"]
    assert "{$WEB_PORT:8000}" in (DEPLOY / "caddy/Caddyfile").read_text()


def defaults(**own: str) -> Environment:
    """What the web server reads, with these lines of .env after our defaults."""
    lines = (line for line in (DEPLOY / "defaults.env").read_text().splitlines() if line[:1] != "#")
    given = dict(line.split("=", 1) for line in lines)
    made = {
        "SECRET_KEY": secrets.token_urlsafe(64),
        "DATABASE_URL": "postgresql://countersign:x@database:5432/countersign",
    }
    return Environment({**given, **made, **own})


def test_first_look_starts_without_a_mail_server_and_a_public_site_does_not() -> None:
    """Links that reset passwords would go into the log, and nobody would get a mail."""
    assert find_refusals(defaults()) == []
    public = {"ALLOWED_HOSTS": "sign.example.com"}
    assert {each.variable for each in find_refusals(defaults(**public))} == {"EMAIL_URL", "DEFAULT_FROM_EMAIL"}
    mail = {"EMAIL_URL": "smtp+tls://mail.example.com:587", "DEFAULT_FROM_EMAIL": "no-reply@example.com"}
    assert find_refusals(defaults(**public, **mail)) == []


def test_database_of_your_own_is_reached_from_everywhere_and_ours_is_not_started(tmp_path: Path) -> None:
    services = OUTSIDE["services"]
    assert services["database"] == {"profiles": ["none"]}
    waiting = {name for name in NEW_SERVICES if "database" in NEW_SERVICES[name].get("depends_on", {})}
    assert waiting - {"pooler"} == set(services) - {"database"}
    for name in ("migrate", "backup"):
        depends_on = services[name]["depends_on"]
        assert depends_on["database"]["required"] is False
        assert depends_on["secrets"] == {"condition": "service_completed_successfully"}
    for name in OURS:
        networks = [*NEW_SERVICES[name]["networks"], *services.get(name, {}).get("networks", [])]
        assert "default" in networks
    mine, made, database = (
        tmp_path / "mine",
        tmp_path / "made",
        "postgresql://a:b@db.internal:5432/c?sslmode=verify-full&sslrootcert=/run/countersign/database_ca.pem",
    )
    mine.mkdir()
    (mine / "database_url").write_text(f"{database}\n")
    (mine / "database_ca.pem").write_text(Path(certifi.where()).read_text())
    assert make_secrets(made, "--database-folder", str(tmp_path / "database"), "--from", str(mine)).returncode == 0
    assert (made / "database_url").read_text() == database
    # Its last line has no end any more, which has to do no harm.
    trusted = ssl.create_default_context(cafile=made / "database_ca.pem")
    assert trusted.cert_store_stats() == ssl.create_default_context(cafile=certifi.where()).cert_store_stats()


def test_database_is_for_a_role_without_rights_and_its_superuser_cannot_log_in_from_outside() -> None:
    with folder_for_clusters() as folder:
        password, script = folder / "database_password", folder / "create-database.sql"
        password.write_text(secrets.token_urlsafe(32))
        [statements] = re.findall(r"<<'SQL'\n(.*)^SQL$", CREATE_DATABASE.read_text(), re.DOTALL | re.MULTILINE)
        script.write_text(statements.replace("/run/countersign", str(folder)))
        cluster = Cluster(folder / "data")
        cluster.start()
        try:
            where = ("--host=127.0.0.1", f"--port={cluster.port}", "--username=postgres", "--dbname=postgres")
            # As PostgreSQL's image leaves it to the script.
            given = f"ALTER ROLE postgres PASSWORD '{secrets.token_urlsafe(32)}'"
            cluster.server.run("psql", "--no-psqlrc", *where, f"--command={given}")
            cluster.server.run("psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", *where, f"--file={script}")
            asked = "SELECT rolname::text, rolsuper, left(rolpassword, 5) FROM pg_authid WHERE rolname !~ '^pg_'"
            assert set(cluster.execute(asked)) == {("postgres", True, None), ("countersign", False, "SCRAM")}
            asked = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = 'countersign'"
            assert cluster.execute(asked) == [("countersign",)]
        finally:
            cluster.stop()
