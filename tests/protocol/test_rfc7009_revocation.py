"""Giving access up: the standard endpoint, the campus door, the receipts programme's DELETE (CONTRACT section 6)."""

from datetime import timedelta

import pytest
from django.utils import timezone
from oauth2_provider.models import AccessToken, RefreshToken

from apps.connections.models import Connection
from apps.developers.models import Status
from tests.protocol.test_rfc6749_token_request import assert_error, basic

pytestmark = pytest.mark.spec("RFC 7009", "2")

DOORS = ["/oauth/revoke", "/open_auth/revoke_token/", "/open_auth/revoke_token"]


@pytest.fixture
def revoke(partner):
    """Revoke a token as `application`; keyword arguments change or (None) leave out a field."""

    def call(application, token, *, door="/oauth/revoke", **fields):
        body = {"token": token, **application.credentials, **fields}
        return partner.post(door, {name: value for name, value in body.items() if value is not None})

    return call


def is_live(introspect, application, token):
    return introspect(application, token)["active"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("hint", [None, "access_token", "refresh_token", "nonsense"])
def test_client_revokes_its_access_token(connect, make_application, revoke, introspect, door, hint):
    """RFC 7009 2.1: the hint is only a hint."""
    application = make_application("portal")
    token = connect(application)["access_token"]

    response = revoke(application, token, door=door, token_type_hint=hint)

    assert (response.status_code, response.content) == (200, b"")
    assert response["Cache-Control"] == "no-store"
    assert not is_live(introspect, application, token)


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
@pytest.mark.spec("RFC 7009", "2.1")
def test_either_token_ends_the_family(connect, make_application, revoke, introspect, refresh, kind):
    for profile in ("customer", "portal"):
        application = make_application(profile)
        tokens = connect(application)

        assert revoke(application, tokens[kind]).status_code == 200

        assert not is_live(introspect, application, tokens["access_token"])
        assert_error(refresh(application, tokens["refresh_token"]), "invalid_grant")


@pytest.mark.spec("CONTRACT", "6")
def test_rotated_refresh_token_ends_the_family_too(connect, make_application, revoke, introspect, refresh):
    application = make_application("portal")
    tokens = connect(application)
    successor = refresh(application, tokens["refresh_token"]).json()

    assert revoke(application, tokens["refresh_token"]).status_code == 200

    assert not is_live(introspect, application, successor["access_token"])
    assert_error(refresh(application, successor["refresh_token"]), "invalid_grant")


def test_revoking_leaves_the_connection_and_its_other_families(browser, make_application, exchange, revoke, introspect):
    application = make_application("portal")
    one = exchange(application, browser.authorize(application)).json()
    other = exchange(application, browser.authorize(application)).json()

    revoke(application, one["refresh_token"])

    assert is_live(introspect, application, other["access_token"])
    assert Connection.objects.get().is_active


@pytest.mark.parametrize("token", ["unknown", "csr_unknown", "csa_unknown", "a.b.c", "\N{SNOWMAN}", "x" * 9000])
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.spec("RFC 7009", "2.2")
def test_unknown_token_is_200_with_an_empty_body(application, revoke, door, token):
    response = revoke(application, token, door=door)

    assert (response.status_code, response.content) == (200, b"")


def test_token_is_revoked_twice(connect, any_application, revoke):
    token = connect(any_application)["access_token"]

    assert revoke(any_application, token).status_code == revoke(any_application, token).status_code == 200


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
@pytest.mark.spec("RFC 7009", "2.1")
def test_another_client_s_token_is_never_revoked(connect, make_application, revoke, introspect, refresh, kind):
    application, thief = make_application("customer"), make_application("customer", name="Thief")
    tokens = connect(application)

    assert revoke(thief, tokens[kind]).status_code == 200

    assert is_live(introspect, application, tokens["access_token"])
    assert refresh(application, tokens["refresh_token"]).status_code == 200


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("change", [{"client_secret": "wrong"}, {"client_secret": None}, {"client_id": "unknown"}])
def test_revocation_needs_the_client_s_authentication(connect, any_application, revoke, introspect, door, change):
    token = connect(any_application)["access_token"]

    assert_error(revoke(any_application, token, door=door, **change), "invalid_client", status=401)
    assert is_live(introspect, any_application, token)


def test_revocation_by_basic(connect, application, partner, introspect):
    token = connect(application)["access_token"]

    wrong = partner.post("/oauth/revoke", {"token": token}, headers=basic(application.client_id, "wrong"))
    assert (wrong.status_code, wrong["WWW-Authenticate"].split()[0]) == (401, "Basic")
    right = partner.post("/oauth/revoke", {"token": token}, headers=basic(application.client_id, application.secret))
    assert right.status_code == 200
    assert not is_live(introspect, application, token)


def test_public_client_revokes_with_its_client_id(make_application, revoke):
    assert revoke(make_application(client_type="public"), "unknown").status_code == 200


@pytest.mark.parametrize("missing", ["token", "client_id"])
def test_missing_parameter_is_named(application, revoke, missing):
    fields = {"token": "x", missing: None}

    assert_error(revoke(application, fields.pop("token"), **fields), "invalid_request", names=missing)


def test_service_revokes_its_own_token(make_application, partner, revoke):
    service = make_application("service")
    token = partner.post("/oauth/token", {"grant_type": "client_credentials", **service.credentials}).json()

    revoke(service, token["access_token"])

    assert not AccessToken.objects.exists()


def test_suspended_application_may_still_give_access_up(connect, make_application, revoke):
    application = make_application("customer")
    token = connect(application)["refresh_token"]
    application.row.status = Status.SUSPENDED
    application.row.save()

    assert revoke(application, token).status_code == 200
    assert not RefreshToken.objects.filter(revoked__isnull=True).exists()


@pytest.mark.parametrize("method", ["get", "put", "delete", "head", "options"])
@pytest.mark.parametrize("door", [*DOORS, "/oauth/introspect"])
def test_other_method_is_405_with_allow(partner, organisation, door, method):
    response = getattr(partner, method)(door)

    assert (response.status_code, response["Allow"]) == (405, "POST")


# --- DELETE /api/oauth/revoke ------------------------------------------------------------------------

DELETE = pytest.mark.spec("CONTRACT", "6")


@pytest.fixture
def delete(partner):
    """Call the receipts programme's revoke with this Authorization header."""

    def call(authorization=None):
        headers = {} if authorization is None else {"Authorization": authorization}
        return partner.delete("/api/oauth/revoke", headers=headers)

    return call


@DELETE
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_delete_ends_the_connection_with_all_its_tokens(browser, any_application, exchange, delete, introspect, scheme):
    one = exchange(any_application, browser.authorize(any_application)).json()
    other = exchange(any_application, browser.authorize(any_application)).json()

    response = delete(f"{scheme} {one['access_token']}")

    assert (response.status_code, response.json(), response["Content-Type"]) == (200, {}, "application/json")
    assert not is_live(introspect, any_application, one["access_token"])
    assert not is_live(introspect, any_application, other["access_token"])
    assert not is_live(introspect, any_application, other.get("refresh_token", "x"))
    connection = Connection.objects.get()
    assert (connection.is_active, connection.end_reason) == (False, "partner")


@DELETE
def test_delete_leaves_other_applications_alone(connect, make_application, delete, introspect):
    one, other = make_application(), make_application(name="Other")
    token, kept = connect(one)["access_token"], connect(other)["access_token"]

    delete(f"Bearer {token}")

    assert is_live(introspect, other, kept)


@DELETE
@pytest.mark.parametrize("token", ["", "unknown", "a.b.c", "a b", "\xe4", "x" * 9000, "null", "{}"])
def test_delete_with_a_token_that_is_unknown_or_malformed_is_404(organisation, delete, token):
    response = delete(f"Bearer {token}")

    assert (response.status_code, response.json()["error"]) == (404, "not_found")
    assert response.json()["error_description"]
    assert response["Content-Type"] == "application/json"


@DELETE
def test_delete_with_a_token_already_revoked_is_404(connect, application, delete):
    token = connect(application)["access_token"]
    delete(f"Bearer {token}")

    assert delete(f"Bearer {token}").status_code == 404


@DELETE
def test_delete_with_an_expired_token_is_404(connect, make_application, delete):
    token = connect(make_application("portal"))["access_token"]
    AccessToken.objects.update(expires=timezone.now() - timedelta(seconds=1))

    assert delete(f"Bearer {token}").status_code == 404
    assert Connection.objects.get().is_active


@DELETE
@pytest.mark.parametrize("kind", ["refresh_token", "code"])
def test_delete_takes_access_tokens_only(browser, make_application, exchange, delete, kind):
    application = make_application("customer")
    code = browser.authorize(application)
    tokens = {"code": code, **exchange(application, code).json()}

    assert delete(f"Bearer {tokens[kind]}").status_code == 404
    assert Connection.objects.get().is_active


@DELETE
@pytest.mark.parametrize("header", [None, "", "Basic eDp5", "Token x", "Bearer", "bear er"])
def test_delete_without_a_bearer_header_is_401(organisation, delete, header):
    response = delete(header)

    assert response.status_code == (404 if header == "Bearer" else 401)
    assert response["Content-Type"] == "application/json"
    if response.status_code == 401:
        assert response["WWW-Authenticate"].startswith("Bearer")


@DELETE
@pytest.mark.parametrize("method", ["get", "post", "put", "patch", "head", "options"])
def test_delete_is_the_only_method(connect, application, partner, introspect, method):
    token = connect(application)["access_token"]

    response = getattr(partner, method)("/api/oauth/revoke", headers={"Authorization": f"Bearer {token}"})

    assert (response.status_code, response["Allow"]) == (405, "DELETE")
    assert is_live(introspect, application, token)


@DELETE
def test_delete_by_a_suspended_user_s_application_works(connect, application, member, delete):
    """Giving access up is always possible."""
    token = connect(application)["access_token"]
    member.is_active = False
    member.save()

    assert delete(f"Bearer {token}").status_code == 200


@pytest.mark.spec("CONTRACT", "3")
def test_after_a_removal_a_consent_makes_a_connection_with_a_new_id(connect, application, delete):
    delete(f"Bearer {connect(application)['access_token']}")
    connect(application)

    old, new = Connection.objects.order_by("created_at")
    assert old.id != new.id
    assert (old.is_active, new.is_active) == (False, True)
