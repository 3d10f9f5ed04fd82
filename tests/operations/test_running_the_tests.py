"""What script/test does about programs that are missing (script/run_tests.py), and that it starts no service."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

CHECKOUT = Path(settings.BASE_DIR)
sys.path.insert(0, str(CHECKOUT / "script"))
from errors import StartError  # noqa: E402
from run_tests import ensure_programs, no_services  # noqa: E402


@pytest.fixture
def bare_machine(tmp_path, monkeypatch):
    """Programs are looked for where none is, nor apt-get to install them with."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("run_tests.SERVERS", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)


def test_whole_run_does_not_begin_without_its_programs(bare_machine, chromium, monkeypatch):
    with pytest.raises(StartError, match="Chromium"):
        ensure_programs(is_whole=True)
    monkeypatch.setenv("CHROMIUM", chromium)
    with pytest.raises(
        StartError, match=r"curl and openssl and promtool and pgbouncer.*install curl openssl prometheus pgbouncer"
    ):
        ensure_programs(is_whole=True)


def test_run_of_some_tests_begins_without_and_says_what_is_missing(bare_machine, capfd):
    ensure_programs(is_whole=False)

    said = capfd.readouterr().err
    assert "need Chromium" in said
    assert "need curl and openssl and promtool and pgbouncer" in said
    assert "CHROMIUM" not in os.environ


def test_test_without_its_program_fails_alone_and_is_not_skipped(bare_machine):
    tests = "tests/operations/test_dashboards.py"
    of_alerts = "test_alerts_say_what_is_wrong_and_how_bad"
    of_promtool = "test_configuration_is_one_that_prometheus_takes"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tests, "-k", f"{of_alerts} or {of_promtool}"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout
    assert f"::{of_promtool}" in done.stdout
    assert "AssertionError: install promtool" in done.stdout


def test_packages_are_forbidden_to_start_services_while_they_are_installed(tmp_path):
    policy = tmp_path / "policy-rc.d"
    with no_services(policy):
        # As invoke-rc.d and deb-systemd-invoke ask it.
        assert subprocess.run([policy, "pgbouncer", "start"]).returncode == 101
    assert not policy.exists()


def test_policy_goes_when_an_installation_fails(tmp_path):
    policy = tmp_path / "policy-rc.d"
    with pytest.raises(StartError), no_services(policy):
        raise StartError("could not be installed")
    assert not policy.exists()


def test_policy_of_the_machine_stays(tmp_path):
    policy = tmp_path / "policy-rc.d"
    policy.write_text("theirs")
    with no_services(policy):
        assert policy.read_text() == "theirs"
    assert policy.read_text() == "theirs"
