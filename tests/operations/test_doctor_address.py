"""The doctor at the public address: a real proxy with TLS before the real server, set up well and set up wrongly."""

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.core.management import CommandError, call_command
from django.core.signing import TimestampSigner
from django.test import Client

from apps.operations.doctor import address, bodies
from apps.operations.doctor.findings import Finding, Level, Patient
from apps.operations.mirror import HEADER, make_pass
from apps.organisations.models import Organisation
from tests.operations.proxies import Habits, Proxy, certificate


@pytest.fixture
def server(settings: Any, organisation: Organisation, live_server: Any) -> int:
    """A server that takes https from a proxy for the organisation at localhost; returns its port."""
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    settings.ALLOWED_HOSTS = ["localhost"]
    Organisation.objects.update(domain="localhost")
    return int(urlsplit(live_server.url).port or 0)


@pytest.fixture
def behind(server: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Patient]]:
    """Put a proxy with these habits before the server; returns what the doctor is told."""
    proxies: list[Proxy] = []

    def put(
        *, days: float = 90, age_days: float = 100, old_tls: bool = False, name: str = "localhost", **habits: Any
    ) -> Patient:
        with certificate(tmp_path, days=days, age_days=age_days, name=name) as (authority, own):
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))
            proxies.append(Proxy(server, Habits(**habits), own, old_tls=old_tls).__enter__())
        return Patient(url=f"https://{name}:{proxies[-1].port}")

    yield put
    for proxy in proxies:
        proxy.__exit__()


def levels(found: Iterator[Finding]) -> set[Level]:
    return {finding.level for finding in found}


@pytest.mark.parametrize(
    "check",
    [
        address.examine_tls,
        address.examine_arrival,
        address.examine_metadata,
        address.examine_long_request,
        address.examine_public_clock,
        bodies.examine_half_body,
    ],
)
def test_good_proxy_is_found_good(behind, check):
    findings = list(check(behind()))

    assert {finding.level for finding in findings} == {Level.OK}, findings


@pytest.mark.parametrize(
    "check",
    [
        address.examine_tls,
        address.examine_arrival,
        address.examine_metadata,
        address.examine_long_request,
        address.examine_public_clock,
        bodies.examine_half_body,
    ],
)
def test_proxy_is_found_where_it_is_said_to_be_and_asked_by_its_public_name(behind, settings, check):
    """From inside, a public name may lead to nobody, or in a container `localhost` to the container itself."""
    settings.ALLOWED_HOSTS = ["sign.invalid"]
    Organisation.objects.update(domain="sign.invalid")
    port = urlsplit(behind(name="sign.invalid").url).port
    patient = Patient(url="https://sign.invalid", connect=f"localhost:{port}")

    findings = list(check(patient))

    assert {finding.level for finding in findings} == {Level.OK}, findings


def test_certificate_has_to_be_for_the_public_name_and_not_for_where_the_proxy_is(behind):
    port = urlsplit(behind().url).port

    [finding] = address.examine_tls(Patient(url="https://sign.invalid", connect=f"localhost:{port}"))

    assert finding.level is Level.PROBLEM
    with pytest.raises(httpx.ConnectError, match="certificate"):
        list(address.examine_metadata(Patient(url="https://sign.invalid", connect=f"localhost:{port}")))


@pytest.mark.parametrize("options", [{"connect": "proxy"}, {"url": "https://sign.example.com", "connect": "proxy"}])
def test_doctor_wants_host_and_port_of_the_proxy_beside_the_address(options):
    with pytest.raises(CommandError, match="proxy:443"):
        call_command("doctor", **options)


def test_pages_are_found_good(behind, settings):
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    findings = list(address.examine_pages(behind(hsts=1)))

    assert {finding.level for finding in findings} == {Level.OK}, findings


def test_nobody_is_told_to_bind_localhost_to_https(behind, settings):
    """A browser would remember it for every port of the machine, a developer's other servers among them."""
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    }
    settings.INSECURE_HTTP, settings.SECURE_HSTS_SECONDS = False, 0

    findings = list(address.examine_pages(behind()))

    assert {finding.level for finding in findings} == {Level.OK}, findings


@pytest.mark.parametrize(
    ("check", "habits", "word"),
    [
        (address.examine_arrival, {"sets_scheme": False}, "X-Forwarded-Proto"),
        (address.examine_arrival, {"passes_scheme_on": True}, "X-Forwarded-Proto"),
        (address.examine_arrival, {"keeps_host": False}, "Host header"),
        (address.examine_arrival, {"appends_address": False}, "append"),
        (address.examine_arrival, {"passes_underscores": True}, "underscore"),
        (address.examine_arrival, {"passes_ids": True}, "X-Request-ID"),
        (address.examine_arrival, {"passes_traces": True}, "Traceparent"),
        (address.examine_arrival, {"answers_itself": 404}, "SECRET_KEY"),
        (address.examine_metadata, {"sets_scheme": False}, "X-Forwarded-Proto"),
        (address.examine_metadata, {"answers_itself": 502}, "log"),
        (address.examine_long_request, {"longest_line": 8_190}, "large_client_header_buffers"),
        (address.examine_pages, {"hsts": 2}, "proxy"),
        (address.examine_pages, {"hsts": 0}, "proxy"),
        (address.examine_pages, {"hsts": 1, "hsts_value": "max-age=300"}, "HSTS_SECONDS"),
        (address.examine_pages, {"hsts": 1, "hsts_value": "max-age=63072000; includeSubDomains"}, "HSTS_SUBDOMAINS"),
        (address.examine_public_clock, {"seconds_ahead": 100}, "NTP"),
        (bodies.examine_half_body, {"reads_bodies": False}, "read the body first"),
        (address.examine_tls, {"days": 10}, "renewed"),
        (address.examine_tls, {"days": 2}, "renewed"),
        (address.examine_tls, {"days": -1}, "certificate"),
    ],
)
def test_bad_proxy_is_found_out_and_the_advice_names_the_cure(behind, check, habits, word):
    findings = [finding for finding in check(behind(**habits)) if finding.level > Level.OK]

    assert findings
    assert any(word in finding.advice for finding in findings), findings


@pytest.mark.parametrize(("hours", "level"), [(10, Level.OK), (2, Level.WARNING), (0.5, Level.PROBLEM)])
def test_certificate_for_12_hours_is_judged_by_its_own_life(behind, hours, level):
    """As Caddy's own authority makes them, and renews when 4 hours are left."""
    [finding] = address.examine_tls(behind(days=hours / 24, age_days=(12 - hours) / 24))

    assert finding.level is level
    assert "hour" in finding.what


def test_forged_address_is_found_out_when_more_proxies_are_trusted_than_there_are(behind, settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 2

    [finding] = address.examine_arrival(behind())

    assert finding.level is Level.PROBLEM
    assert "can be fooled" in finding.what


def test_untold_proxy_is_found_out(behind, settings):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 0

    [finding] = address.examine_arrival(behind())

    assert finding.advice == "Set TRUSTED_PROXIES=1"


def test_other_secret_behind_the_address_is_found_out(behind, monkeypatch):
    monkeypatch.setattr(address, "make_pass", lambda: TimestampSigner(key="x" * 50, salt="mirror").sign("pass"))

    [finding] = address.examine_arrival(behind())

    assert finding.level is Level.PROBLEM
    assert "SECRET_KEY" in finding.advice


def test_host_that_is_not_allowed_is_found_out(behind, settings):
    settings.ALLOWED_HOSTS = ["sign.example.com"]

    [finding] = address.examine_arrival(behind())

    assert "ALLOWED_HOSTS" in finding.advice


def test_issuer_of_another_domain_is_found_out(behind):
    patient = behind()
    Organisation.objects.update(domain="sign.example.com")

    [finding] = address.examine_metadata(patient)

    assert finding.level is Level.PROBLEM
    assert "https://sign.example.com" in finding.what


def test_unknown_authority_is_found_out(behind, monkeypatch):
    patient = behind()
    monkeypatch.delenv("SSL_CERT_FILE")

    [finding] = address.examine_tls(patient)

    assert finding.level is Level.PROBLEM
    assert "SSL_CERT_FILE" in finding.advice


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_tls_is_found_out(behind):
    if not ssl.HAS_TLSv1_1:
        pytest.skip("this OpenSSL has no TLS 1.1")
    [finding] = address.examine_tls(behind(old_tls=True))

    assert finding.level is Level.WARNING
    assert "TLS 1.1" in finding.what


def test_address_without_https_is_a_problem():
    assert levels(address.examine_tls(Patient(url="http://localhost"))) == {Level.PROBLEM}


@pytest.mark.parametrize(
    ("status", "level"), [(301, Level.OK), (308, Level.OK), (403, Level.OK), (200, Level.PROBLEM), (0, Level.PROBLEM)]
)
def test_plain_http_is_led_on_or_refused(server, status, level):
    with Proxy(server, Habits(answers_itself=status)) as proxy:
        assert address.ask_plain_http("localhost", proxy.port, name="localhost").level is level


def test_nothing_at_the_http_port_is_well():
    with Proxy(1, Habits()) as proxy:
        port = proxy.port
    assert address.ask_plain_http("localhost", port, name="localhost").level is Level.OK


def test_mirror_is_for_the_doctor_only(organisation):
    client = Client()
    assert client.get("/operations/mirror").status_code == 404
    assert client.get("/operations/mirror", headers={HEADER: "made-up"}).status_code == 404
    assert client.get("/operations/mirror", headers={HEADER: make_pass()}).json()["host"] == "testserver"


def test_pass_of_the_doctor_ends(organisation, monkeypatch):
    old = make_pass()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 301)
    assert Client().get("/operations/mirror", headers={HEADER: old}).status_code == 404
