"""What a production refuses to start with, as whoever starts it sees it: every problem at once, in words."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks

from apps.operations.production import EXIT_STATUS, find_refusals, weakness_of
from config.environment import VARIABLES
from config.reading import Environment, SettingsError

CHECKOUT = Path(__file__).resolve().parents[2]


def good() -> dict[str, str]:
    """What a host sets before the first start."""
    return {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "DATABASE_URL": "postgresql://countersign:p%40ss@db.internal:5432/countersign",
        "ALLOWED_HOSTS": "sign.example.com",
        "EMAIL_URL": "smtp+tls://user:word@mail.example.com:587",
        "DEFAULT_FROM_EMAIL": "Acme <no-reply@example.com>",
    }


def refused(**changes: str) -> dict[str, str]:
    """What is refused of a good environment with these changes, by variable."""
    return {each.variable: each.what for each in find_refusals(Environment(good() | changes))}


def unreadable(**changes: str) -> dict[str, str]:
    """What cannot be read of a good environment with these changes, by variable."""
    with pytest.raises(SettingsError) as error:
        Environment(good() | changes)
    return {each.variable: each.what for each in error.value.problems}


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours with this environment and nothing else of ours, or of Django's (browser tests set that)."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if name.removesuffix("_FILE") not in VARIABLES and not name.startswith("DJANGO_")
    }
    return subprocess.run(
        [sys.executable, *command],
        cwd=CHECKOUT,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


def test_a_good_production_starts():
    assert refused() == {}


@pytest.mark.parametrize(
    ("changes", "variable"),
    [
        ({"DEBUG": "1"}, "DEBUG"),
        ({"DEMO_MODE": "true"}, "DEMO_MODE"),
        ({"INSECURE_HTTP": "on"}, "INSECURE_HTTP"),
        ({"ALLOWED_HOSTS": ""}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "sign.example.com, *"}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": ".example.com"}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "https://sign.example.com"}, "ALLOWED_HOSTS"),
        ({"ALLOWED_HOSTS": "sign.example.com:443"}, "ALLOWED_HOSTS"),
        ({"EMAIL_URL": ""}, "EMAIL_URL"),
        ({"EMAIL_URL": "", "ALLOWED_HOSTS": "localhost,sign.example.com"}, "EMAIL_URL"),
        ({"DEFAULT_FROM_EMAIL": ""}, "DEFAULT_FROM_EMAIL"),
        ({"DEFAULT_FROM_EMAIL": "root@localhost"}, "DEFAULT_FROM_EMAIL"),
        ({"DEFAULT_FROM_EMAIL": "Acme"}, "DEFAULT_FROM_EMAIL"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"ENVIRONMENT": "prod"}, "ENVIRONMENT"),
    ],
)
def test_what_is_only_good_for_a_first_look_is_refused(changes, variable):
    assert list(refused(**changes)) == [variable]


@pytest.mark.parametrize(
    "changes",
    [
        {"ALLOWED_HOSTS": "sign.example.com,login.example.com,[2001:db8::1]"},
        {"EMAIL_URL": "consolemail://", "DEFAULT_FROM_EMAIL": ""},
        {"EMAIL_URL": "", "DEFAULT_FROM_EMAIL": "", "ALLOWED_HOSTS": "localhost,brand.localhost,127.0.0.1,[::1]"},
        {"DEBUG": "0", "DEMO_MODE": "", "INSECURE_HTTP": "off"},
        {"ENVIRONMENT": "production"},
    ],
)
def test_what_is_said_on_purpose_is_accepted(changes):
    assert refused(**changes) == {}


@pytest.mark.parametrize(
    "secret",
    [
        secrets.token_urlsafe(32),  # 43 characters
        "a" * 64,
        "0123456789" * 7,
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        f"django-insecure-{secrets.token_urlsafe(48)}",
        f"change-me-{secrets.token_urlsafe(48)}",
        VARIABLES["SECRET_KEY"].example,
    ],
    # The processes of a parallel run have to find the same names.
    ids=["short", "one letter", "digits", "alphabet", "Django's", "placeholder", "example"],
)
def test_weak_secret_is_refused_and_never_quoted(secret):
    assert weakness_of(secret)
    assert secret not in weakness_of(secret)


def test_random_secret_is_strong():
    for _ in range(200):
        assert weakness_of(secrets.token_urlsafe(48)) == ""
        assert weakness_of(secrets.token_hex(32)) == ""


@pytest.mark.parametrize(
    ("changes", "variable", "word"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY", "not set"),
        ({"DATABASE_URL": ""}, "DATABASE_URL", "not set"),
        ({"DATABASE_URL": "mysql://user@host/name"}, "DATABASE_URL", "no PostgreSQL"),
        ({"DATABASE_URL": "postgresql://user@host:5432"}, "DATABASE_URL", "no PostgreSQL"),
        ({"DATABASE_URL": "postgresql://user:secret#word@host/name"}, "DATABASE_URL", "cannot be read"),
        ({"DATABASE_URL": "postgresql://user:secret/word@host:5432/name"}, "DATABASE_URL", "cannot be read"),
        ({"DATABASE_URL": "postgresql://user@host:port/name"}, "DATABASE_URL", "cannot be read"),
        ({"EMAIL_URL": "mail.example.com"}, "EMAIL_URL", "no URL"),
        ({"CACHE_URL": "valkey.internal"}, "CACHE_URL", "no URL"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT", "no choice"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL", "no choice"),
        ({"EMAIL_URL": "smtp+tls://"}, "EMAIL_URL", "no mail server"),
        ({"EMAIL_URL": "smtp+tls://user:word@mail.example.com:many"}, "EMAIL_URL", "cannot be read"),
        ({"PORT": "eighty"}, "PORT", "not a whole number"),
        ({"PORT": "65536"}, "PORT", "out of its bounds"),
        ({"ACTIVITY_FLUSH_SECONDS": "soon"}, "ACTIVITY_FLUSH_SECONDS", "not a number"),
        ({"DEBUG": "ture"}, "DEBUG", "neither on nor off"),
        ({"SECRET_KEY_FILE": "/nonexistent/secret"}, "SECRET_KEY_FILE", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(changes, variable, word):
    found = unreadable(**changes)

    assert list(found) == [variable]
    assert word in found[variable]
    assert "secret/word" not in found[variable]


@pytest.mark.parametrize("token", ["scrape", "metrics-token-123", "a" * 40, "0123456789" * 3, "change-me-0a9b8c7d6e5f"])
def test_metrics_token_that_can_be_guessed_is_refused_and_never_quoted(token):
    found = refused(METRICS_TOKEN=token)

    assert list(found) == ["METRICS_TOKEN"]
    assert token not in found["METRICS_TOKEN"]


def test_random_metrics_token_is_accepted():
    for _ in range(200):
        assert refused(METRICS_TOKEN=secrets.token_urlsafe(15)) == {}
        assert refused(METRICS_TOKEN=secrets.token_hex(10)) == {}


def test_value_from_a_file_has_no_line_end(tmp_path):
    file = tmp_path / "secret"
    file.write_text("a secret\n")
    assert Environment({**good(), "SECRET_KEY": "", "SECRET_KEY_FILE": str(file)})("SECRET_KEY") == "a secret"


def test_empty_file_is_not_an_empty_value(tmp_path):
    file = tmp_path / "secret"
    file.write_text("\n")
    assert "empty" in unreadable(SECRET_KEY="", SECRET_KEY_FILE=str(file))["SECRET_KEY_FILE"]


def test_value_and_file_that_differ_are_refused(tmp_path):
    file = tmp_path / "secret"
    file.write_text(secrets.token_urlsafe(48))
    assert "something else" in unreadable(SECRET_KEY_FILE=str(file))["SECRET_KEY"]


def test_choice_may_be_written_in_any_case():
    assert Environment(good() | {"LOG_LEVEL": "warning"})("LOG_LEVEL") == "WARNING"


def test_secret_that_begins_with_a_dollar_is_taken_as_it_is():
    secret = f"${secrets.token_urlsafe(48)}"
    assert Environment(good() | {"SECRET_KEY": secret})("SECRET_KEY") == secret


def test_everything_is_told_at_once_and_without_a_traceback():
    secret = f"django-insecure-{secrets.token_urlsafe(48)}"
    wrong = {"DEBUG": "1", "ALLOWED_HOSTS": "*", "PORT": "x", "SECRET_KEY": secret, "EMAIL_URL_FILE": "/nonexistent"}

    done = run("manage.py", "check", **wrong)

    assert done.returncode == EXIT_STATUS
    assert "Traceback" not in done.stderr
    assert secret not in done.stderr
    told = {line.split()[0] for line in done.stderr.splitlines() if line.startswith("  ")}
    assert told == {
        *("DATABASE_URL", "PORT", "EMAIL_URL_FILE"),
        *("SECRET_KEY", "DEBUG", "ALLOWED_HOSTS", "DEFAULT_FROM_EMAIL"),
    }


@pytest.mark.parametrize(
    "command",
    [
        ("manage.py", "serve"),
        ("manage.py", "work"),
        ("-c", "import config.wsgi"),
    ],
)
def test_every_way_to_start_refuses(command):
    done = run(*command, **good() | {"DEMO_MODE": "1", "ALLOWED_HOSTS": "*"})

    assert done.returncode == EXIT_STATUS, done.stderr
    assert "DEMO_MODE" in done.stderr
    assert "ALLOWED_HOSTS" in done.stderr
    assert "Traceback" not in done.stderr


def test_web_server_whose_workers_refuse_ends():
    """Somebody may start granian by hand; it must not start workers again for ever."""
    command = ("-m", "granian", "--interface", "wsgi", "--port", "0", "--workers", "2", "--respawn-failed-workers")

    done = run(*command, "config.wsgi:application", **good() | {"DEBUG": "1"})

    assert done.returncode == 1
    assert "DEBUG" in done.stderr
    assert "Traceback" not in done.stderr


def test_development_may_do_all_of_it():
    wrong = {"ENVIRONMENT": "development", "DEBUG": "1", "ALLOWED_HOSTS": "*", "EMAIL_URL": ""}
    assert run("-c", "import config.wsgi", **good() | wrong).returncode == 0


def test_other_commands_run_in_a_production_that_would_not_start():
    """Among them the doctor, who says why, and migrate."""
    assert run("manage.py", "check", **good() | {"DEBUG": "1"}).returncode == 0


def test_check_for_deployment_refuses_the_same(monkeypatch):
    for name, value in (good() | {"DEBUG": "1", "DEMO_MODE": "0", "INSECURE_HTTP": "0", "ENVIRONMENT": ""}).items():
        monkeypatch.setenv(name, value)

    ids = {message.id for message in run_checks(include_deployment_checks=True)}
    assert "countersign.E003" in ids
    assert "countersign.E004" not in ids

    monkeypatch.setenv("DEBUG", "0")
    assert "countersign.E003" not in {message.id for message in run_checks(include_deployment_checks=True)}

    monkeypatch.setenv("ENVIRONMENT", "development")
    assert "countersign.E004" in {message.id for message in run_checks(include_deployment_checks=True)}


_SENT = """
import django
django.setup()
from django.conf import settings
from django.http import HttpResponse
from django.middleware.security import SecurityMiddleware
from django.test import RequestFactory
settings.ALLOWED_HOSTS = ["testserver"]
response = SecurityMiddleware(lambda request: HttpResponse())(
    RequestFactory().get("/", secure=True, headers={"X-Forwarded-Proto": "https"})
)
print(response.headers.get("Strict-Transport-Security", "nothing"))
"""


@pytest.mark.parametrize(
    ("changes", "sent"),
    [
        ({}, "max-age=63072000"),
        ({"HSTS_SECONDS": "300"}, "max-age=300"),
        ({"ALLOWED_HOSTS": "localhost,brand.localhost"}, "nothing"),
        ({"ALLOWED_HOSTS": "localhost", "HSTS_SECONDS": "300"}, "max-age=300"),
        ({"ALLOWED_HOSTS": "localhost,sign.example.com"}, "max-age=63072000"),
        ({"HSTS_SECONDS": "0"}, "nothing"),
        ({"HSTS_SUBDOMAINS": "1"}, "max-age=63072000; includeSubDomains"),
        ({"INSECURE_HTTP": "1", "ENVIRONMENT": "development"}, "nothing"),
    ],
    ids=[
        *("default", "a first day", "localhost", "localhost on purpose", "localhost and a public name"),
        *("off", "subdomains", "plain http"),
    ],
)
def test_browsers_are_told_to_use_https_for_this_name_and_for_others_only_on_purpose(changes, sent):
    """At an apex domain the names below it are other people's; `preload` would let anybody bind them for years."""
    done = run("-c", _SENT, **good() | {"DJANGO_SETTINGS_MODULE": "config.settings"} | changes)
    assert done.stdout.strip() == sent, done.stderr


def test_check_for_deployment_has_nothing_against_the_defaults():
    done = run("manage.py", "check", "--deploy", "--fail-level", "WARNING", **good())
    assert done.returncode == 0, done.stderr
