"""The secrets of second steps lie encrypted in the database, and a deployment without its secret says so."""

import secrets

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.core.cache import cache
from django.db import connection

from apps.accounts.second_factors import factors_in_clear, reseal_factor
from apps.sealing import derive_secret
from tests.conftest import totp_code

LOG_IN, SECOND_STEP = "/account/login/", "/account/2fa/authenticate/"


@pytest.fixture
def other_secret(settings):
    """Go on with another deployment secret; given `True`, beside the earlier one."""

    def change(*, keep):
        earlier = settings.SECRET_KEY
        settings.SECRET_KEY = secrets.token_urlsafe(48)
        settings.SECRET_KEY_FALLBACKS = [earlier] if keep else []
        derive_secret.cache_clear()

    yield change
    derive_secret.cache_clear()


@pytest.fixture
def factors(client, member, password):
    """Set up an authenticator app and recovery codes as people do; returns the app's secret and the codes."""
    client.post(LOG_IN, {"login": member.email, "password": password})
    client.post("/account/reauthenticate/", {"password": password})
    secret = client.get("/account/2fa/totp/activate/").context["form"].secret
    assert client.post("/account/2fa/totp/activate/", {"code": totp_code(secret)}).status_code == 302
    codes = RecoveryCodes.activate(member).get_unused_codes()
    client.post("/account/logout/")
    return secret, codes


def stored():
    """What a copy of the database tells of second factors."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT string_agg(data::text, ' ') FROM mfa_authenticator")
        return cursor.fetchone()[0]


def log_in(client, member, password, code):
    client.post(LOG_IN, {"login": member.email, "password": password})
    return client.post(SECOND_STEP, {"code": code})


@pytest.mark.django_db
def test_copy_of_the_database_has_neither_secret_nor_codes(client, factors):
    secret, codes = factors

    assert stored().count("sealed:") == 2
    assert secret not in stored()
    assert not any(code in stored() for code in codes)


@pytest.mark.parametrize("kind", ["app", "recovery code"])
def test_code_lets_in_and_a_wrong_one_does_not(client, member, password, factors, kind):
    secret, codes = factors

    def code():
        if kind == "recovery code":
            return codes[0]
        Authenticator.objects.filter(type="recovery_codes").delete()
        cache.clear()  # the code of this half minute was spent on setting it up
        return totp_code(secret)

    assert log_in(client, member, password, "00000000").status_code == 200
    assert client.get("/account/").status_code == 302

    assert log_in(client, member, password, code()).status_code == 302
    assert client.get("/account/").status_code == 200


def test_secret_of_before_they_were_encrypted_goes_on_and_is_encrypted_by_resealing(client, member, password):
    secret = totp.generate_totp_secret()
    row = Authenticator.objects.create(user=member, type="totp", data={"secret": secret})
    assert factors_in_clear().get() == row
    assert log_in(client, member, password, totp_code(secret)).status_code == 302

    assert reseal_factor(row) is True
    row.save()

    assert secret not in stored()
    assert not factors_in_clear().exists()
    assert totp.decrypt(row.data["secret"]) == secret
    assert reseal_factor(row) is False


def test_earlier_deployment_secret_still_opens_them_until_they_are_resealed(
    client, member, password, factors, other_secret
):
    other_secret(keep=True)
    rows = list(Authenticator.objects.all())

    assert log_in(client, member, password, factors[1][0]).status_code == 302
    assert [reseal_factor(row) for row in rows] == [True, True]


def test_without_the_deployment_secret_people_are_told_and_nobody_is_let_in(
    client, member, password, factors, other_secret, caplog
):
    other_secret(keep=False)

    answer = log_in(client, member, password, factors[1][0])

    assert answer.status_code == 200
    assert "We can no longer check your codes." in answer.content.decode()
    assert client.get("/account/").status_code == 302
    assert f"opens the second factor of user {member.pk}" in caplog.text
    assert factors[1][0] not in caplog.text
