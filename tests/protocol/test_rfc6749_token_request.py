"""The token request: who the client is, what it asks for, and every row of the error table (CONTRACT section 4)."""

import base64
import json
from datetime import timedelta
from urllib.parse import quote

import pytest
from django.utils import timezone
from oauth2_provider.models import AccessToken, RefreshToken

from apps.developers.models import Status
from apps.tokens.models import Grant, TokenFamily
from tests.conftest import CALLBACK, SCOPES, TOKEN_DOORS

pytestmark = pytest.mark.spec("CONTRACT", "4")

DOORS = ["/api/oauth/token", "/oauth/token", "/open_auth/token/", "/open_auth/token"]


def assert_error(response, error, *, status=400, names=""):
    """RFC 6749 5.2: JSON, not to be cached, with a description that names what is wrong."""
    assert (response.status_code, response.json()["error"]) == (status, error), response.content
    assert response.json()["error_description"]
    assert names in response.json()["error_description"]
    assert response["Content-Type"] == "application/json"
    assert response["Cache-Control"] == "no-store"
    assert response["Pragma"] == "no-cache"


def basic(client_id, secret):
    pair = f"{quote(client_id, safe='')}:{quote(secret, safe='')}"
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def form(fields):
    return {
        "data": "&".join(f"{k}={quote(v)}" for k, v in fields.items()),
        "content_type": "application/x-www-form-urlencoded",
    }


def as_json(fields):
    return {"data": json.dumps(fields), "content_type": "application/json"}


def multipart(fields):
    return {"data": fields}


BODIES = pytest.mark.parametrize("body", [form, multipart, as_json])


@BODIES
def test_code_is_exchanged_from_each_body_type_with_the_secret_in_the_body(browser, any_application, partner, body):
    fields = {"grant_type": "authorization_code", "code": browser.authorize(any_application)}

    response = partner.post(TOKEN_DOORS[any_application.row.profile], **body({**fields, **any_application.credentials}))

    assert response.status_code == 200
    assert response["Cache-Control"] == "no-store"
    assert response["Pragma"] == "no-cache"


@BODIES
@pytest.mark.spec("RFC 6749", "2.3.1")
def test_code_is_exchanged_from_each_body_type_with_basic(browser, any_application, partner, body):
    fields = {"grant_type": "authorization_code", "code": browser.authorize(any_application)}
    headers = basic(any_application.client_id, any_application.secret)

    assert partner.post("/oauth/token", **body(fields), headers=headers).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/octet-stream", "x", ""])
def test_other_body_type_is_415(application, partner, content_type):
    for door in DOORS:
        response = partner.post(door, data=b"grant_type=authorization_code", content_type=content_type)

        assert_error(response, "invalid_request", status=415)


@pytest.mark.parametrize("alias", ["redirect_uri", "redirect_url"])
def test_redirect_url_is_an_alias_of_redirect_uri(browser, any_application, exchange, alias):
    code = browser.authorize(any_application, redirect_uri=CALLBACK)

    assert exchange(any_application, code, **{alias: CALLBACK}).status_code == 200


def test_redirect_url_that_contradicts_redirect_uri_is_an_invalid_request(browser, application, exchange):
    code = browser.authorize(application, redirect_uri=CALLBACK)

    response = exchange(application, code, redirect_uri=CALLBACK, redirect_url="https://evil.example/")

    assert_error(response, "invalid_request", names="redirect_url")


@pytest.mark.parametrize("profile", ["customer", "portal"])
def test_code_is_read_as_the_refresh_token_of_a_refresh(connect, make_application, refresh, profile):
    application = make_application(profile)
    token = connect(application)["refresh_token"]

    assert refresh(application, None, code=token).status_code == 200


def test_code_beside_a_refresh_token_is_ignored(connect, make_application, refresh):
    application = make_application("customer")
    token = connect(application)["refresh_token"]

    assert refresh(application, token, code="something else").status_code == 200
    assert_error(refresh(application, "unknown", code=token), "invalid_grant")


# --- who the client is ------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"client_secret": "wrong"}, {"client_secret": None}, {"client_id": "unknown"}])
@pytest.mark.spec("RFC 6749", "5.2")
def test_wrong_secret_and_unknown_client_are_401_invalid_client(browser, any_application, exchange, change):
    code = browser.authorize(any_application)

    for door in DOORS:
        response = exchange(any_application, code, door=door, **change)

        assert_error(response, "invalid_client", status=401)
        assert "WWW-Authenticate" not in response
    assert exchange(any_application, code).status_code == 200, "the code is still good"


@pytest.mark.parametrize("which", ["secret", "client"])
@pytest.mark.spec("RFC 6749", "5.2")
def test_basic_is_offered_to_a_client_that_tried_basic(browser, application, exchange, partner, which):
    client_id = application.client_id if which == "secret" else "unknown"
    fields = {"grant_type": "authorization_code", "code": browser.authorize(application)}

    response = partner.post("/oauth/token", fields, headers=basic(client_id, "wrong"))

    assert_error(response, "invalid_client", status=401)
    assert response["WWW-Authenticate"].startswith("Basic ")


def test_unknown_client_and_wrong_secret_are_told_apart_by_nothing(application, exchange):
    wrong = exchange(application, "x", client_secret="wrong")
    unknown = exchange(application, "x", client_id="unknown")

    assert wrong.content == unknown.content


def test_confidential_client_may_not_leave_out_its_secret_on_refresh(connect, make_application, refresh):
    application = make_application("customer")

    response = refresh(application, connect(application)["refresh_token"], client_secret=None)

    assert_error(response, "invalid_client", status=401)


# --- the code -----------------------------------------------------------------------------------------


def test_unknown_code_is_an_invalid_grant(any_application, exchange):
    assert_error(exchange(any_application, "unknown"), "invalid_grant")


@pytest.mark.spec("RFC 6749", "4.1.3")
def test_code_of_another_client_is_an_invalid_grant_and_stays_good(
    browser, make_application, any_application, exchange
):
    code = browser.authorize(any_application)

    assert_error(exchange(make_application("customer", name="Thief"), code), "invalid_grant")
    assert exchange(any_application, code).status_code == 200


@pytest.mark.parametrize(("age", "status"), [(58, 200), (61, 400)])
@pytest.mark.spec("CONTRACT", "1")
def test_code_lives_for_sixty_seconds(browser, any_application, exchange, age, status):
    code = browser.authorize(any_application)
    grant = Grant.objects.get()
    assert timedelta(seconds=59) < grant.expires - timezone.now() <= timedelta(seconds=60)
    Grant.objects.update(expires=grant.expires - timedelta(seconds=age))

    response = exchange(any_application, code)

    assert response.status_code == status
    if status == 400:
        assert_error(response, "invalid_grant")


@pytest.mark.spec("RFC 6749", "4.1.2")
def test_code_redeemed_twice_is_refused_and_ends_what_it_issued(
    browser, any_application, exchange, introspect, refresh
):
    code = browser.authorize(any_application)
    tokens = exchange(any_application, code).json()

    assert_error(exchange(any_application, code), "invalid_grant")

    assert introspect(any_application, tokens["access_token"]) == {"active": False}
    if "refresh_token" in tokens:
        assert_error(refresh(any_application, tokens["refresh_token"]), "invalid_grant")


@pytest.mark.spec("RFC 6749", "4.1.2")
def test_replayed_code_ends_what_was_refreshed_since(browser, make_application, exchange, introspect, refresh):
    application = make_application("portal")
    code = browser.authorize(application)
    refreshed = refresh(application, exchange(application, code).json()["refresh_token"]).json()

    exchange(application, code)

    assert introspect(application, refreshed["access_token"]) == {"active": False}
    assert_error(refresh(application, refreshed["refresh_token"]), "invalid_grant")


def test_another_client_that_replays_a_code_ends_nothing(browser, make_application, exchange, introspect):
    application, thief = make_application("portal"), make_application("portal", name="Thief")
    code = browser.authorize(application)
    tokens = exchange(application, code).json()

    assert_error(exchange(thief, code), "invalid_grant")

    assert introspect(application, tokens["access_token"])["active"] is True


@pytest.mark.parametrize("uri", ["https://partner.example/other", CALLBACK + "/", CALLBACK.upper(), CALLBACK + "?a=1"])
@pytest.mark.spec("RFC 6749", "4.1.3")
def test_redirect_uri_that_differs_is_an_invalid_grant(browser, any_application, exchange, uri):
    """Also another one of the registered ones, and also when the authorization request named none."""
    any_application.row.redirect_uris = f"{CALLBACK} https://partner.example/other"
    any_application.row.save()

    for named in (CALLBACK, None):
        code = browser.authorize(any_application, redirect_uri=named, prompt="consent")
        assert_error(exchange(any_application, code, redirect_uri=uri), "invalid_grant")


@pytest.mark.spec("RFC 6749", "4.1.3")
def test_redirect_uri_is_required_if_the_authorization_request_named_it(browser, any_application, exchange):
    code = browser.authorize(any_application, redirect_uri=CALLBACK)

    assert_error(exchange(any_application, code), "invalid_request", names="redirect_uri")


def test_code_dies_with_its_connection(browser, any_application, exchange, connect, call_with):
    token = connect(any_application)["access_token"]
    code = browser.authorize(any_application)
    call_with("/api/oauth/revoke", token, method="delete")

    assert_error(exchange(any_application, code), "invalid_grant")


def test_code_of_a_suspended_user_is_an_invalid_grant(browser, any_application, exchange, member):
    code = browser.authorize(any_application)
    member.is_active = False
    member.save()

    assert_error(exchange(any_application, code), "invalid_grant")


@pytest.mark.spec("CONTRACT", "7")
def test_scope_taken_back_before_the_exchange_is_not_issued(browser, make_application, exchange, member):
    application = make_application("portal")
    code = browser.authorize(application)
    member.connections.update(scopes=["person.full_name"])

    assert exchange(application, code).json()["scope"] == "person.full_name"


# --- parameters ---------------------------------------------------------------------------------------


@BODIES
@pytest.mark.parametrize("missing", ["grant_type", "code", "client_id"])
def test_missing_parameter_is_an_invalid_request_that_names_it(application, partner, body, missing):
    fields = {"grant_type": "authorization_code", "code": "x", **application.credentials}
    del fields[missing]

    for door in DOORS:
        assert_error(partner.post(door, **body(fields)), "invalid_request", names=missing)


@BODIES
@pytest.mark.parametrize("empty", ["grant_type", "code", "client_id"])
@pytest.mark.spec("RFC 6749", "3.2")
def test_parameter_without_a_value_counts_as_missing(application, partner, body, empty):
    fields = {"grant_type": "authorization_code", "code": "x", **application.credentials}

    assert_error(partner.post("/oauth/token", **body({**fields, empty: ""})), "invalid_request", names=empty)


def test_missing_refresh_token_is_named(make_application, refresh):
    assert_error(refresh(make_application("customer"), None), "invalid_request", names="refresh_token")


@pytest.mark.parametrize("name", ["grant_type", "code", "client_id", "client_secret", "redirect_uri", "scope", "other"])
@pytest.mark.spec("RFC 6749", "3.2")
def test_repeated_parameter_is_an_invalid_request_that_names_it(browser, application, partner, exchange, name):
    fields = {"grant_type": "authorization_code", "code": browser.authorize(application), **application.credentials}
    pairs = [*fields.items(), (name, fields.get(name, "x")), (name, fields.get(name, "x"))]
    bodies = [
        ("&".join(f"{key}={value}" for key, value in pairs), "application/x-www-form-urlencoded"),
        ("{" + ",".join(f'"{key}": "{value}"' for key, value in pairs) + "}", "application/json"),
        ({key: [value for other, value in pairs if other == key] for key, _ in pairs}, None),
    ]

    for data, content_type in bodies:
        kwargs = {"content_type": content_type} if content_type else {}
        assert_error(partner.post("/oauth/token", data, **kwargs), "invalid_request", names=name)
    assert exchange(application, fields["code"]).status_code == 200, "the code is still good"


def test_unknown_parameters_are_ignored(browser, application, exchange):
    """RFC 6749 3.2. None of them may become an attribute of the request either."""
    extra = {"user": "x", "client": "x", "scopes": "x", "connection": "x", "issuance": "x", "expires_in": "9"}

    assert exchange(application, browser.authorize(application), **extra).status_code == 200


@pytest.mark.spec("RFC 6749", "2.3.1")
def test_parameters_in_the_query_are_refused(browser, application, partner):
    """A secret in a URL ends up in logs."""
    fields = {"grant_type": "authorization_code", "code": browser.authorize(application), **application.credentials}
    query = "&".join(f"{key}={value}" for key, value in fields.items())

    assert_error(partner.post(f"/oauth/token?{query}"), "invalid_request")
    assert_error(partner.post("/oauth/token?x=1", fields), "invalid_request")


# --- grant types ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grant_type", ["password", "implicit", "urn:ietf:params:oauth:grant-type:device_code", "x"])
def test_unknown_grant_type_is_unsupported(any_application, partner, grant_type):
    fields = {"grant_type": grant_type, **any_application.credentials, "username": "a", "password": "b"}

    for door in DOORS:
        assert_error(partner.post(door, fields), "unsupported_grant_type")


@pytest.mark.spec("CONTRACT", "1")
def test_client_credentials_are_for_services_only(any_application, partner):
    fields = {"grant_type": "client_credentials", **any_application.credentials}

    assert_error(partner.post("/oauth/token", fields), "unauthorized_client")
    assert not AccessToken.objects.exists()


@pytest.mark.parametrize(
    "fields", [{"grant_type": "authorization_code", "code": "x"}, {"grant_type": "refresh_token", "refresh_token": "x"}]
)
@pytest.mark.spec("CONTRACT", "1")
def test_service_may_use_client_credentials_only(make_application, partner, fields):
    service = make_application("service")

    assert_error(partner.post("/oauth/token", {**fields, **service.credentials}), "unauthorized_client")


@pytest.mark.spec("CONTRACT", "1")
def test_connection_profile_has_no_refresh(connect, application, refresh):
    assert "refresh_token" not in connect(application)
    assert_error(refresh(application, "x"), "unauthorized_client")
    assert not RefreshToken.objects.exists()


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.spec("CONTRACT", "1")
def test_service_gets_its_token_at_any_token_door(make_application, partner, door):
    service = make_application("service")

    response = partner.post(door, {"grant_type": "client_credentials", **service.credentials})

    assert response.json()["expires_in"] == 3_600
    assert "refresh_token" not in response.json()
    assert set(response.json()["scope"].split()) == set(SCOPES["service"])


@pytest.mark.parametrize(("scope", "status"), [("introspect", 200), ("introspect unknown", 400), ("receipt:read", 400)])
def test_service_may_ask_for_its_registered_scopes_only(make_application, partner, scope, status):
    service = make_application("service")

    response = partner.post("/oauth/token", {"grant_type": "client_credentials", "scope": scope, **service.credentials})

    assert response.status_code == status
    if status == 200:
        assert response.json()["scope"] == scope
    else:
        assert_error(response, "invalid_scope")


def test_client_credentials_need_the_secret(make_application, partner):
    service = make_application("service")
    fields = {"grant_type": "client_credentials", "client_id": service.client_id}

    assert_error(partner.post("/oauth/token", fields), "invalid_client", status=401)


# --- approval -------------------------------------------------------------------------------------------

#: A deleted application is unknown, which is another answer.
NOT_APPROVED = pytest.mark.parametrize(
    "status", [status for status in Status.values if status not in {Status.APPROVED, Status.DELETED}]
)


@NOT_APPROVED
def test_application_no_longer_approved_gets_no_token_for_a_code(browser, any_application, exchange, status):
    code = browser.authorize(any_application)
    any_application.row.status = status
    any_application.row.save()

    assert_error(exchange(any_application, code), "unauthorized_client")


@NOT_APPROVED
@pytest.mark.parametrize("profile", ["customer", "portal"])
def test_application_no_longer_approved_gets_no_refresh_and_its_tokens_stop_at_once(
    connect, make_application, refresh, call_with, profile, status
):
    application = make_application(profile)
    tokens = connect(application)
    path = {"customer": "/oauth/user", "portal": "/open_auth/get_user_data/"}[profile]
    assert call_with(path, tokens["access_token"]).status_code == 200
    application.row.status = status
    application.row.save()

    assert_error(refresh(application, tokens["refresh_token"]), "unauthorized_client")
    assert call_with(path, tokens["access_token"]).status_code == 401


@NOT_APPROVED
def test_service_no_longer_approved_gets_no_token(make_application, partner, status):
    service = make_application("service", status=status)

    response = partner.post("/oauth/token", {"grant_type": "client_credentials", **service.credentials})

    assert_error(response, "unauthorized_client")


def test_deleted_application_is_an_unknown_client_and_its_tokens_stop_at_once(
    connect, make_application, refresh, call_with
):
    application = make_application("customer")
    tokens = connect(application)
    application.row.status = Status.DELETED
    application.row.save()

    assert_error(refresh(application, tokens["refresh_token"]), "invalid_client", status=401)
    assert call_with("/oauth/user", tokens["access_token"]).status_code == 401


@pytest.mark.parametrize("method", ["get", "head", "put", "patch", "delete", "options"])
def test_other_method_is_405_with_allow(partner, organisation, method):
    for door in DOORS:
        response = getattr(partner, method)(door)

        assert response.status_code == 405
        assert response["Allow"] == "POST"
        assert response["Cache-Control"] == "no-store"


# --- refresh ----------------------------------------------------------------------------------------------

REFRESHING = pytest.mark.parametrize("profile", ["customer", "portal"])


@REFRESHING
@pytest.mark.spec("RFC 6749", "6")
def test_refresh_gives_new_tokens_and_ends_the_old_ones(connect, make_application, refresh, introspect, profile):
    application = make_application(profile)
    tokens = connect(application)

    refreshed = refresh(application, tokens["refresh_token"]).json()

    assert list(refreshed) == list(tokens)
    assert refreshed["access_token"] != tokens["access_token"]
    assert refreshed["refresh_token"] != tokens["refresh_token"]
    assert introspect(application, refreshed["access_token"])["active"] is True
    assert introspect(application, refreshed["refresh_token"])["active"] is True
    assert introspect(application, tokens["access_token"]) == {"active": False}
    assert introspect(application, tokens["refresh_token"]) == {"active": False}


@pytest.mark.parametrize("token", ["unknown", "csr_unknown", "\N{SNOWMAN}", "x" * 5000])
@REFRESHING
def test_unknown_refresh_token_is_an_invalid_grant(make_application, refresh, profile, token):
    assert_error(refresh(make_application(profile), token), "invalid_grant")


@REFRESHING
def test_access_token_is_no_refresh_token(connect, make_application, refresh, profile):
    application = make_application(profile)

    assert_error(refresh(application, connect(application)["access_token"]), "invalid_grant")


@REFRESHING
@pytest.mark.spec("RFC 6749", "6")
def test_refresh_token_is_bound_to_its_client(connect, make_application, refresh, profile):
    application, thief = make_application(profile), make_application(profile, name="Thief")
    token = connect(application)["refresh_token"]

    assert_error(refresh(thief, token), "invalid_grant")
    assert refresh(application, token).status_code == 200, "another client's attempt ends nothing"


@pytest.mark.parametrize(("profile", "lifetime"), [("customer", 63_158_400), ("portal", 31_536_000)])
@pytest.mark.spec("CONTRACT", "1")
def test_refresh_token_expires_after_its_profile_s_lifetime(connect, make_application, refresh, profile, lifetime):
    application = make_application(profile)
    token = connect(application)["refresh_token"]

    RefreshToken.objects.update(created=timezone.now() - timedelta(seconds=lifetime - 5))
    token = refresh(application, token).json()["refresh_token"]
    RefreshToken.objects.update(created=timezone.now() - timedelta(seconds=lifetime))

    assert_error(refresh(application, token), "invalid_grant")


@REFRESHING
def test_refresh_token_of_a_suspended_user_is_an_invalid_grant(connect, make_application, refresh, member, profile):
    application = make_application(profile)
    token = connect(application)["refresh_token"]
    member.is_active = False
    member.save()

    assert_error(refresh(application, token), "invalid_grant")


def _spend(seconds_ago):
    """Move the rotation `seconds_ago` into the past."""
    RefreshToken.objects.filter(revoked__isnull=False).update(revoked=timezone.now() - timedelta(seconds=seconds_ago))


@REFRESHING
def test_honest_retry_gets_the_same_successor_again(connect, make_application, refresh, introspect, profile):
    application = make_application(profile)
    token = connect(application)["refresh_token"]

    first, second = refresh(application, token), refresh(application, token)

    assert second.status_code == 200
    assert second.json()["refresh_token"] == first.json()["refresh_token"]
    assert introspect(application, second.json()["access_token"])["active"] is True
    assert RefreshToken.objects.filter(revoked__isnull=True).count() == 1
    assert refresh(application, second.json()["refresh_token"]).status_code == 200


@REFRESHING
@pytest.mark.spec("RFC 9700", "4.14.2")
def test_rotated_refresh_token_after_ten_seconds_ends_its_family(
    connect, make_application, refresh, introspect, profile
):
    application = make_application(profile)
    token = connect(application)["refresh_token"]
    successor = refresh(application, token).json()
    _spend(11)

    assert_error(refresh(application, token), "invalid_grant")

    assert introspect(application, successor["access_token"]) == {"active": False}
    assert_error(refresh(application, successor["refresh_token"]), "invalid_grant")
    assert TokenFamily.objects.get().revoked_at is not None


@REFRESHING
@pytest.mark.spec("RFC 9700", "4.14.2")
def test_rotated_refresh_token_whose_successor_was_used_ends_its_family(connect, make_application, refresh, profile):
    application = make_application(profile)
    token = connect(application)["refresh_token"]
    second = refresh(application, token).json()["refresh_token"]
    third = refresh(application, second).json()["refresh_token"]

    assert_error(refresh(application, token), "invalid_grant")
    assert_error(refresh(application, third), "invalid_grant")


def test_retry_that_asks_for_something_else_is_no_retry(connect, make_application, refresh):
    application = make_application("portal")
    token = connect(application)["refresh_token"]
    successor = refresh(application, token, scope="person.full_name").json()

    assert_error(refresh(application, token, scope="student.enrolment_number"), "invalid_grant")
    assert_error(refresh(application, successor["refresh_token"]), "invalid_grant")


def test_replay_ends_one_family_and_not_the_connection_s_other_ones(
    browser, make_application, exchange, refresh, introspect
):
    application = make_application("portal")
    one = exchange(application, browser.authorize(application)).json()
    other = exchange(application, browser.authorize(application)).json()
    refresh(application, one["refresh_token"])
    _spend(11)

    refresh(application, one["refresh_token"])

    assert introspect(application, other["access_token"])["active"] is True


@pytest.mark.spec("RFC 6749", "6")
def test_refresh_may_ask_for_less_and_later_for_all_again(connect, make_application, refresh):
    application = make_application("portal")
    tokens = connect(application)

    less = refresh(application, tokens["refresh_token"], scope="person.full_name").json()
    assert less["scope"] == "person.full_name"
    again = refresh(application, less["refresh_token"]).json()
    assert set(again["scope"].split()) == set(tokens["scope"].split())


@pytest.mark.spec("RFC 6749", "6")
def test_refresh_may_not_ask_for_more_than_was_granted(connect, make_application, refresh):
    application = make_application("portal")
    token = connect(application, scope="person.full_name")["refresh_token"]

    assert_error(refresh(application, token, scope="person.full_name student.enrolment_number"), "invalid_scope")
    assert refresh(application, token).json()["scope"] == "person.full_name"
