"""Client secrets: at rest as hashes, and compared as such (CONTRACT sections 4 and 5)."""

import base64

import pytest
from django.contrib.auth.hashers import check_password, identify_hasher
from django.core.checks import run_checks

from apps.developers.models import Application
from tests.protocol.test_rfc6749_token_request import assert_error, basic

pytestmark = pytest.mark.spec("CONTRACT", "5 (secrets)")


@pytest.fixture
def service(make_application):
    return make_application("service")


@pytest.fixture
def ask(partner):
    """Ask for a token by client credentials."""

    def call(headers=None, **fields):
        return partner.post("/oauth/token", {"grant_type": "client_credentials", **fields}, headers=headers or {})

    return call


def test_secret_is_at_rest_only_as_a_hash(service):
    stored = Application.objects.get(pk=service.row.pk).client_secret

    assert service.secret not in stored
    assert identify_hasher(stored).algorithm == "client_secret_sha256"
    assert check_password(service.secret, stored)


def test_equal_secrets_have_different_hashes(make_application):
    secrets = {make_application(client_secret="s" * 128, name=name).row.client_secret for name in ("A", "B")}

    assert len(secrets) == 2


def test_saving_an_application_again_keeps_its_secret(service, ask):
    for _ in range(2):
        row = Application.objects.get(pk=service.row.pk)
        row.name = "Renamed"
        row.save()

    assert ask(**service.credentials).status_code == 200


def test_secret_is_made_for_an_application_that_brings_none(organisation):
    row = Application(name="x", profile="service", organisation=organisation)

    assert len(row.client_secret) == 128


@pytest.mark.spec("RFC 6749", "2.3.1")
def test_secret_is_accepted_by_post_and_by_basic(service, ask):
    assert ask(**service.credentials).status_code == 200
    assert ask(basic(service.client_id, service.secret)).status_code == 200


@pytest.mark.parametrize("scheme", ["basic", "BASIC", "Basic"])
def test_scheme_s_case_does_not_matter(service, ask, scheme):
    """RFC 9110 11.1."""
    credentials = basic(service.client_id, service.secret)["Authorization"].split()[1]

    assert ask({"Authorization": f"{scheme} {credentials}"}).status_code == 200


@pytest.mark.spec("RFC 6749", "2.3.1")
def test_basic_is_form_encoded_inside(make_application, ask):
    secret = "a%b c+d:e/\N{SNOWMAN}" * 8

    assert ask(basic(make_application("service", client_secret=secret).client_id, secret)).status_code == 200


@pytest.mark.spec("RFC 6749", "2.3")
def test_both_at_once_are_refused(service, ask):
    response = ask(basic(service.client_id, service.secret), client_secret=service.secret)

    assert_error(response, "invalid_request")


@pytest.mark.spec("RFC 6749", "2.3")
def test_client_id_beside_basic_must_be_the_same(service, make_application, ask):
    headers = basic(service.client_id, service.secret)

    assert ask(headers, client_id=service.client_id).status_code == 200
    assert_error(ask(headers, client_id=make_application().client_id), "invalid_request", names="client_id")


def test_stored_hash_is_not_accepted_as_the_secret(service, ask):
    stored = Application.objects.get(pk=service.row.pk).client_secret

    assert_error(ask(client_id=service.client_id, client_secret=stored), "invalid_client", status=401)
    assert_error(ask(basic(service.client_id, stored)), "invalid_client", status=401)


@pytest.mark.parametrize("wrong", ["", "x", "x" * 9000, "\N{SNOWMAN}", "client_secret_sha256$$"])
def test_wrong_secret_is_401(service, ask, wrong):
    by_post = ask(client_id=service.client_id, client_secret=wrong)
    by_basic = ask(basic(service.client_id, wrong))

    assert_error(by_post, "invalid_client", status=401)
    assert_error(by_basic, "invalid_client", status=401)
    assert "WWW-Authenticate" not in by_post
    assert by_basic["WWW-Authenticate"].startswith("Basic ")


def test_secret_is_compared_as_a_whole(service, ask):
    for wrong in (service.secret[:-1], service.secret + "x", service.secret.upper(), f" {service.secret}"):
        assert ask(client_id=service.client_id, client_secret=wrong).status_code == 401


def test_empty_secret_is_never_right(make_application, ask):
    """Not even for an application that was saved with none."""
    service = make_application("service", client_secret="")

    assert ask(client_id=service.client_id).status_code == 401
    assert ask(basic(service.client_id, "")).status_code == 401


@pytest.mark.parametrize(
    "credentials",
    [
        "",
        " ",
        "%%%",
        "x",
        "eA==",
        "\xe4\xf6",
        base64.b64encode(b"no colon").decode(),
        base64.b64encode(b"\xff:\xff").decode(),
        base64.b64encode(b"a\x00:b").decode(),
        base64.b64encode(b":").decode(),
        base64.b64encode(b"%ZZ:%").decode(),
        "x" * 9000,
    ],
)
def test_malformed_basic_is_401(service, ask, credentials):
    response = ask({"Authorization": f"Basic {credentials}"})

    assert_error(response, "invalid_client", status=401)
    assert response["WWW-Authenticate"].startswith("Basic ")


def test_another_scheme_is_not_looked_at(service, ask):
    assert ask({"Authorization": "Bearer x"}, **service.credentials).status_code == 200
    assert_error(ask({"Authorization": "Bearer x"}), "invalid_request", names="client_id")


def test_hasher_that_django_does_not_know_is_an_error_at_the_start(settings):
    """django-oauth-toolkit would take the stored hash for the secret."""
    assert "countersign.E001" not in {error.id for error in run_checks()}

    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]

    assert "countersign.E001" in {error.id for error in run_checks()}
