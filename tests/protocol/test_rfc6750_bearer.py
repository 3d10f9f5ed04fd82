"""Presenting an access token: the header, and the three refusals (CONTRACT section 8)."""

from datetime import timedelta

import pytest
from django.utils import timezone
from oauth2_provider.models import AccessToken

pytestmark = pytest.mark.spec("RFC 6750", "3")

ENDPOINTS = {"customer": "/oauth/user", "portal": "/open_auth/get_user_data/"}
EACH = pytest.mark.parametrize(("profile", "path"), ENDPOINTS.items())
EVERY_ADDRESS = ["/oauth/user", "/open_auth/get_user_data/", "/open_auth/get_user_data"]


def assert_401(response):
    assert response.status_code == 401
    assert response["WWW-Authenticate"].startswith('Bearer error="invalid_token"')
    assert response.json()["error"] == "invalid_token"
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"


@EACH
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.spec("RFC 6750", "2.1")
def test_token_in_the_header_opens_the_resource(connect, make_application, partner, profile, path, scheme):
    token = connect(make_application(profile))["access_token"]

    response = partner.get(path, headers={"Authorization": f"{scheme} {token}"})

    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", EVERY_ADDRESS)
def test_no_token_is_401(partner, organisation, path):
    assert_401(partner.get(path))


@pytest.mark.parametrize("path", EVERY_ADDRESS)
@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer unknown",
        "Bearer a b",
        "Bearer a,b",
        "Basic eDp5",
        "Token x",
        "Bearer \xe4\xf6",
        "Bearer " + "x" * 9000,
        "x",
        "Bearer\tx",
        "Bearer null",
        "Bearer csr_x",
    ],
)
def test_bad_token_is_401(partner, organisation, path, header):
    assert_401(partner.get(path, headers={"Authorization": header}))


@EACH
def test_token_with_something_behind_it_is_401(connect, make_application, partner, profile, path):
    token = connect(make_application(profile))["access_token"]

    assert_401(partner.get(path, headers={"Authorization": f"Bearer {token} {token}"}))
    assert_401(partner.get(path, headers={"Authorization": f"Bearer {token}x"}))


@EACH
@pytest.mark.spec("RFC 9700", "4.3.2")
def test_token_in_the_query_or_the_body_is_not_looked_at(connect, make_application, partner, profile, path):
    token = connect(make_application(profile))["access_token"]

    assert_401(partner.get(path, {"access_token": token}))
    assert_401(partner.generic("GET", path, f"access_token={token}", "application/x-www-form-urlencoded"))


@EACH
def test_refresh_token_is_no_access_token(connect, make_application, call_with, profile, path):
    assert_401(call_with(path, connect(make_application(profile))["refresh_token"]))


@EACH
def test_expired_token_is_401(connect, make_application, call_with, profile, path):
    token = connect(make_application(profile))["access_token"]
    AccessToken.objects.update(expires=timezone.now() + timedelta(seconds=5))
    assert call_with(path, token).status_code == 200
    AccessToken.objects.update(expires=timezone.now())

    assert_401(call_with(path, token))


@EACH
@pytest.mark.spec("CONTRACT", "5")
def test_revoked_token_stops_working_at_once(connect, make_application, call_with, partner, profile, path):
    """A JWT too, though its signature and `exp` are as good as ever."""
    application = make_application(profile)
    token = connect(application)["access_token"]

    partner.post("/oauth/revoke", {"token": token, **application.credentials})

    assert_401(call_with(path, token))


@pytest.mark.parametrize("path", EVERY_ADDRESS)
@pytest.mark.parametrize("profile", ["connection", "customer", "portal", "service"])
@pytest.mark.spec("RFC 6750", "3.1")
def test_token_of_another_programme_is_403_insufficient_scope(
    connect, make_application, partner, call_with, path, profile
):
    application = make_application(profile)
    if profile == "service":
        body = {"grant_type": "client_credentials", **application.credentials}
        token = partner.post("/oauth/token", body).json()["access_token"]
    else:
        token = connect(application)["access_token"]

    response = call_with(path, token)

    if path.startswith(ENDPOINTS.get(profile, "none").rstrip("/")):
        assert response.status_code == 200
    else:
        assert (response.status_code, response.json()["error"]) == (403, "insufficient_scope")
        assert response["WWW-Authenticate"].startswith('Bearer error="insufficient_scope"')


@EACH
@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_resources_are_read_only(connect, make_application, call_with, profile, path, method):
    token = connect(make_application(profile))["access_token"]

    assert call_with(path, token, method=method).status_code == 405


@pytest.mark.parametrize("path", ["/oauth/user", "/open_auth/get_user_data/"])
@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/*;q=0.1", "rubbish"])
def test_answer_is_json_whatever_the_client_says_it_accepts(partner, organisation, path, accept):
    response = partner.get(f"{path}?format=xml", headers={"Accept": accept})

    assert response.status_code == 401
    assert response["Content-Type"] == "application/json"


@EACH
@pytest.mark.parametrize("method", ["head", "options"])
def test_head_and_options_need_the_token_too(connect, make_application, call_with, profile, path, method):
    token = connect(make_application(profile))["access_token"]

    assert call_with(path, None, method=method).status_code == 401
    assert call_with(path, token, method=method).status_code == 200
