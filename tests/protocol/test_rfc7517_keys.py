"""The signing keys: what is published, rotation, and tokens that were tampered with (CONTRACT section 5)."""

import base64
import hashlib
import hmac
import json
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.utils import timezone

from apps.tokens import keys, services
from apps.tokens.models import SigningKey

pytestmark = pytest.mark.spec("RFC 7517", "5")

ADDRESS = "/.well-known/jwks.json"


@pytest.fixture
def customer_token(connect, make_application):
    """An application of the loyalty programme, and an access token of it."""
    application = make_application("customer")
    return application, connect(application)["access_token"]


def published(partner):
    return {key["kid"]: key for key in partner.get(ADDRESS).json()["keys"]}


def verify(token, published_keys, application):
    key = jwt.PyJWK(published_keys[jwt.get_unverified_header(token)["kid"]])
    return jwt.decode(token, key, algorithms=["RS256"], audience=application.client_id)


def test_keys_are_public_and_complete(partner, organisation):
    response = partner.get(ADDRESS)

    assert (response.status_code, response["Content-Type"]) == (200, "application/jwk-set+json")
    assert response["Access-Control-Allow-Origin"] == "*"
    for key in response.json()["keys"]:
        assert set(key) == {"kty", "n", "e", "kid", "use", "alg"}
        assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")


def test_keys_are_published_before_the_first_token_and_never_kept(partner, organisation):
    SigningKey.objects.all().delete()
    keys.forget_loaded_keys()

    response = partner.get(ADDRESS)

    assert len(response.json()["keys"]) == 1
    assert response["Cache-Control"] == "no-cache"


@pytest.mark.spec("RFC 7638", "3")
def test_kid_is_the_key_s_thumbprint(partner, organisation):
    for kid, key in published(partner).items():
        canonical = json.dumps({name: key[name] for name in ("e", "kty", "n")}, separators=(",", ":"))
        assert kid == base64.urlsafe_b64encode(hashlib.sha256(canonical.encode()).digest()).rstrip(b"=").decode()


def test_hmac_key_and_private_parts_are_never_published(connect, application, partner):
    token = connect(application)["access_token"]
    document = partner.get(ADDRESS).content.decode()

    assert jwt.get_unverified_header(token)["kid"] not in document
    assert all(f'"{name}"' not in document for name in ("d", "p", "q", "dp", "dq", "qi", "k", "oct", "HS256"))


def test_private_keys_are_encrypted_at_rest(organisation):
    for row in SigningKey.objects.all():
        assert b"PRIVATE KEY" not in bytes(row.encrypted_private_key)
        assert keys.signing_key(row.algorithm).kid


@pytest.mark.spec("CONTRACT", "5")
def test_customer_token_verifies_with_nothing_but_the_published_keys(customer_token, partner, member):
    application, token = customer_token

    claims = verify(token, published(partner), application)

    assert jwt.get_unverified_header(token)["typ"] == "JWT"
    assert set(claims) == {"aud", "jti", "iat", "nbf", "exp", "sub", "scopes", "iss", "client_id"}
    assert claims["exp"] == claims["iat"] + 63_158_400
    assert (claims["sub"], claims["aud"], claims["client_id"]) == (str(member.pk), *[application.client_id] * 2)
    assert claims["scopes"] == []


@pytest.mark.spec("CONTRACT", "5")
def test_two_tokens_of_one_second_differ(browser, any_application, exchange):
    tokens = {exchange(any_application, browser.authorize(any_application)).json()["access_token"] for _ in range(3)}

    assert len(tokens) == 3


@pytest.mark.spec("CONTRACT", "5")
def test_portal_token_is_opaque_and_long_enough(connect, make_application):
    token = connect(make_application("portal"))["access_token"]

    assert "." not in token
    assert len(base64.urlsafe_b64decode(token.removeprefix("csa_") + "=")) * 8 >= 160


def test_after_a_rotation_old_tokens_verify_and_new_ones_have_the_new_key(
    browser, customer_token, exchange, partner, call_with
):
    application, old = customer_token
    services.rotate_signing_keys()

    new = exchange(application, browser.authorize(application)).json()["access_token"]

    old_kid, new_kid = (jwt.get_unverified_header(token)["kid"] for token in (old, new))
    assert old_kid != new_kid
    assert {old_kid, new_kid} <= set(published(partner))
    for token in (old, new):
        assert verify(token, published(partner), application)
        assert call_with("/oauth/user", token).status_code == 200


def test_retired_key_is_published_until_its_last_token_has_expired(customer_token, partner):
    _application, token = customer_token
    kid = jwt.get_unverified_header(token)["kid"]
    services.rotate_signing_keys()
    row = SigningKey.objects.get(kid=kid)
    assert row.verifiable_until > row.retired_at + timedelta(seconds=63_158_400)

    SigningKey.objects.filter(kid=kid).update(verifiable_until=timezone.now() + timedelta(seconds=5))
    assert kid in published(partner)
    SigningKey.objects.filter(kid=kid).update(verifiable_until=timezone.now() - timedelta(seconds=1))
    assert kid not in published(partner)


def test_retired_hmac_key_has_no_end_because_its_tokens_have_none(connect, application, call_with):
    kid = jwt.get_unverified_header(connect(application)["access_token"])["kid"]
    services.rotate_signing_keys()

    assert SigningKey.objects.get(kid=kid).verifiable_until is None


# --- tampering --------------------------------------------------------------------------------------


def encode(part):
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def taken_apart(token):
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def with_alg_none(token, partner):
    header, claims = taken_apart(token)
    return f"{encode({**header, 'alg': 'none'})}.{encode(claims)}."


def with_signature_left_out(token, partner):
    return token.rpartition(".")[0] + "."


def signed_with_the_public_key_as_hmac_secret(token, partner):
    header, claims = taken_apart(token)
    key = jwt.PyJWK(published(partner)[header["kid"]]).key
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signing_input = f"{encode({**header, 'alg': 'HS256'})}.{encode(claims)}"
    signature = base64.urlsafe_b64encode(hmac.digest(pem, signing_input.encode(), "sha256")).rstrip(b"=").decode()
    return f"{signing_input}.{signature}"


def signed_by_another_key_of_the_same_kid(token, partner):
    header, claims = taken_apart(token)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": header["kid"]})


def with_a_foreign_kid_and_an_embedded_key(token, partner):
    _header, claims = taken_apart(token)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return jwt.encode(claims, key, algorithm="RS256", headers={"kid": "../../foreign", "jwk": jwk, "jku": "https://e"})


def with_other_claims(token, partner):
    header, claims = taken_apart(token)
    return f"{encode(header)}.{encode({**claims, 'scopes': ['*'], 'sub': 'x'})}.{token.rpartition('.')[2]}"


def signed_by_us_but_never_stored(token, partner):
    _header, claims = taken_apart(token)
    return keys.signing_key("RS256").sign({**claims, "jti": "x"})


def with_a_longer_signature(token, partner):
    return f"{token}A"


@pytest.mark.parametrize(
    "tamper",
    [
        with_alg_none,
        with_signature_left_out,
        signed_with_the_public_key_as_hmac_secret,
        signed_by_another_key_of_the_same_kid,
        with_a_foreign_kid_and_an_embedded_key,
        with_other_claims,
        signed_by_us_but_never_stored,
        with_a_longer_signature,
    ],
)
@pytest.mark.spec("RFC 8725", "3.1")
def test_token_that_we_did_not_issue_is_refused_everywhere(customer_token, partner, call_with, introspect, tamper):
    application, token = customer_token
    forged = tamper(token, partner)

    assert call_with("/oauth/user", forged).status_code == 401
    assert introspect(application, forged) == {"active": False}
    assert call_with("/api/oauth/revoke", forged, method="delete").status_code == 404
    assert partner.post("/oauth/revoke", {"token": forged, **application.credentials}).status_code == 200
    assert call_with("/oauth/user", token).status_code == 200, "the real one is as good as before"
