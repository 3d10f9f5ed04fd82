"""The three programmes end to end, as their documents describe them (CONTRACT sections 1 and 5)."""

import base64
import json

import jwt
import pytest

from apps.connections.models import Connection

pytestmark = pytest.mark.spec("CONTRACT", "1")


def claims_of(token: str) -> dict:
    return jwt.decode(token, options={"verify_signature": False})


def test_receipts_programme_from_consent_to_revoke(browser, application, partner, member):
    state = base64.b64encode(json.dumps({"message": "Hi", "partner_metadata": {"till": 7}}).encode()).decode()

    code = browser.authorize(application, scope="receipt:write", state=state)
    response = partner.post(
        "/api/oauth/token",
        json.dumps(
            {
                "grant_type": "authorization_code",
                "code": code,
                "client_id": application.client_id,
                "client_secret": application.secret,
            }
        ),
        content_type="application/json",
    )

    assert response.status_code == 200
    body = response.json()
    assert list(body) == ["token_type", "access_token"]
    header, claims = jwt.get_unverified_header(body["access_token"]), claims_of(body["access_token"])
    connection = Connection.objects.get(user=member, application=application.row)
    assert header["typ"] == "JWT"
    assert header["alg"] == "HS256"
    assert header["kid"]
    assert set(claims) == {"receipthero_id", "receipt_hero_id", "iat", "jti"}
    assert claims["receipthero_id"] == claims["receipt_hero_id"] == str(connection.id)
    assert type(claims["iat"]) is int
    assert connection.partner_metadata == {"till": 7}
    assert connection.scopes == ["receipt:write"]

    revoke = partner.delete("/api/oauth/revoke", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert (revoke.status_code, revoke.json()) == (200, {})
    again = partner.delete("/api/oauth/revoke", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert (again.status_code, again.json()["error"]) == (404, "not_found")
    connection.refresh_from_db()
    assert not connection.is_active


def test_loyalty_programme_from_consent_to_refresh(
    browser, make_application, exchange, refresh, call_with, partner, member, organisation
):
    application = make_application("customer")

    body = exchange(application, browser.authorize(application)).json()

    assert list(body) == ["token_type", "expires_in", "access_token", "refresh_token"]
    assert body["expires_in"] == 63_158_400
    jwks = jwt.PyJWKSet.from_dict(partner.get("/.well-known/jwks.json").json())
    header = jwt.get_unverified_header(body["access_token"])
    claims = jwt.decode(
        body["access_token"],
        jwks[header["kid"]].key,
        algorithms=["RS256"],
        audience=application.client_id,
        issuer=organisation.issuer,
    )
    assert header["typ"] == "JWT"
    assert set(claims) == {"aud", "jti", "iat", "nbf", "exp", "sub", "scopes", "iss", "client_id"}
    assert claims["exp"] - claims["iat"] == 63_158_400
    assert claims["sub"] == str(member.id)
    assert claims["scopes"] == []

    customer = call_with("/oauth/user?include=memberships", body["access_token"]).json()["data"]
    assert customer["email"] == member.email
    assert customer["verified"] is True
    assert customer["memberships"] == {"data": []}

    refreshed = refresh(application, body["refresh_token"]).json()
    assert refreshed["refresh_token"] != body["refresh_token"]
    assert call_with("/oauth/user", refreshed["access_token"]).status_code == 200
    assert call_with("/oauth/user", body["access_token"]).status_code == 401


def test_campus_programme_from_consent_to_user_data(browser, make_application, exchange, call_with, member):
    application = make_application("portal")

    body = exchange(application, browser.authorize(application, response_type=None)).json()

    assert list(body) == ["access_token", "expires_in", "token_type", "scope", "refresh_token"]
    assert body["expires_in"] == 36_000
    assert body["scope"].split() == application.row.scopes
    answer = call_with("/open_auth/get_user_data/", body["access_token"])
    assert answer.json() == {
        "userId": str(member.id),
        "username": member.username,
        "person": {"fullName": "Ada Byron"},
        "student": {"enrolmentNumber": None},
        "contactInformation": {"emailAddress": "ada@example.com"},
    }


@pytest.mark.parametrize("door", ["/api/oauth/token", "/oauth/token", "/open_auth/token/", "/open_auth/token"])
def test_every_token_door_serves_every_profile(browser, any_application, exchange, door):
    """A door is only an address: the application's profile decides (CONTRACT section 0)."""
    response = exchange(any_application, browser.authorize(any_application), door=door)

    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    assert response["Pragma"] == "no-cache"


@pytest.mark.parametrize("door", ["/auth", "/oauth/authorize", "/oauth/authorise/", "/oauth/authorise"])
def test_every_authorize_door_serves_every_profile(browser, any_application, door):
    assert browser.ask(any_application, door=door).status_code == 200


def test_service_gets_a_token_by_client_credentials(make_application, partner):
    service = make_application("service")

    response = partner.post("/oauth/token", {"grant_type": "client_credentials", **service.credentials})

    assert response.status_code == 200
    assert list(response.json()) == ["access_token", "expires_in", "token_type", "scope"]
    assert response.json()["expires_in"] == 3600
