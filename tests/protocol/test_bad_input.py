"""Whatever is sent: a clear refusal or a harmless answer, never a 500, and nothing changed in the database."""

import json
import re
from io import BytesIO
from urllib.parse import quote, urljoin, urlsplit
from wsgiref.util import setup_testing_defaults

import pytest
from django.db import connection
from django.test import Client

from tests.conftest import CALLBACK

pytestmark = pytest.mark.spec("CONTRACT", "4 (bad input)")

CLIENT_ENDPOINTS = [
    "/api/oauth/token",
    "/oauth/token",
    "/open_auth/token/",
    "/oauth/revoke",
    "/open_auth/revoke_token/",
    "/oauth/introspect",
]
RESOURCES = ["/oauth/user", "/open_auth/get_user_data/"]
PAGES = [
    "/",
    "/auth",
    "/oauth/authorize",
    "/oauth/authorise/",
    "/membership",
    "/account/login/",
    "/account/connections/",
]
PUBLIC = ["/.well-known/oauth-authorization-server", "/.well-known/jwks.json"]
EVERYTHING = [*CLIENT_ENDPOINTS, *RESOURCES, *PAGES, *PUBLIC, "/api/oauth/revoke"]

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
def rows(db):
    """Count the rows of every table but the sessions."""

    def count():
        tables = [name for name in connection.introspection.table_names() if name != "django_session"]
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(f"SELECT '{name}', count(*) FROM \"{name}\"" for name in tables))
            return dict(cursor.fetchall())

    return count


@pytest.fixture
def unchanged(rows, organisation):
    """Nothing is added to the database or taken from it by what follows."""
    before = rows()
    yield
    assert rows() == before


def assert_refused(response):
    assert 400 <= response.status_code < 500, (response.status_code, response.content[:500])
    if response["Content-Type"] == "application/json":
        assert response.json()["error"]
        assert response.json().get("error_description", "x")


BODIES = {
    "empty": (FORM, b""),
    "NUL": (FORM, b"grant_type=authorization_code&client_id=a%00b&code=%00&token=%00"),
    "raw NUL": (FORM, b"grant_type=refresh_token&client_id=a\x00&refresh_token=\x00&token=\x00"),
    "invalid UTF-8": (FORM, b"grant_type=\xff\xfe&client_id=\xff&token=\xff"),
    "invalid UTF-8, encoded": (FORM, b"grant_type=%FF%FE&client_id=%FF&token=%FF"),
    "1 MB": (FORM, b"grant_type=authorization_code&client_id=x&code=" + b"x" * 1_000_000),
    "1 MB of parameters": (FORM, b"&".join(b"p%d=x" % n for n in range(100_000))),
    "60 parameters": (FORM, b"&".join(b"p%d=x" % n for n in range(60))),
    "repeated": (FORM, b"token=x&token=y&grant_type=x&grant_type=y&client_id=x&client_id=y"),
    "no values": (FORM, b"grant_type&client_id&code&token"),
    "only separators": (FORM, b"&&&;;;==="),
    "array": ("application/json", b"[]"),
    "array of pairs": ("application/json", b'[["grant_type", "authorization_code"]]'),
    "array of objects": ("application/json", b'[{"grant_type": "authorization_code"}]'),
    "null": ("application/json", b"null"),
    "number": ("application/json", b"7"),
    "string": ("application/json", b'"grant_type"'),
    "broken": ("application/json", b'{"grant_type":'),
    "trailing text": ("application/json", b'{"grant_type": "x"} x'),
    "null value": ("application/json", b'{"grant_type": null, "client_id": null, "token": null}'),
    "number value": ("application/json", b'{"grant_type": 7, "client_id": 7, "token": 7}'),
    "array value": ("application/json", b'{"grant_type": ["authorization_code"], "client_id": ["x"], "token": ["x"]}'),
    "object value": ("application/json", b'{"grant_type": {"$ne": ""}, "client_id": {}, "token": {}}'),
    "true value": ("application/json", b'{"grant_type": true, "client_id": true, "token": true}'),
    "repeated key": ("application/json", b'{"grant_type": "x", "grant_type": "y", "token": "a", "token": "b"}'),
    "lone surrogate": ("application/json", b'{"grant_type": "\\ud800", "client_id": "\\udfff", "token": "\\ud800"}'),
    "lone surrogate as name": ("application/json", b'{"\\ud800": "x"}'),
    "escaped NUL": ("application/json", b'{"grant_type": "refresh_token", "client_id": "\\u0000", "token": "\\u0000"}'),
    "deep": ("application/json", b'{"grant_type":' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
    "deep and open": ("application/json", b'{"a":' * 10_000),
    "huge number": ("application/json", b'{"grant_type": ' + b"9" * 20_000 + b"}"),
    "NaN": ("application/json", b'{"grant_type": NaN, "client_id": Infinity}'),
    "UTF-16": ("application/json", '{"grant_type": "x"}'.encode("utf-16")),
    "byte order mark": ("application/json", b'\xef\xbb\xbf{"grant_type": "x"}'),
    "1 MB of JSON": ("application/json", json.dumps({"grant_type": "x" * 1_000_000}).encode()),
    "no boundary": ("multipart/form-data", b"x"),
    "empty boundary": ("multipart/form-data; boundary=", b"x"),
    "wrong boundary": ("multipart/form-data; boundary=x", b"--y\r\n\r\n--y--"),
    "broken part": ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n"),
    "file": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="code"; filename="a"\r\n\r\nx\r\n--x--\r\n',
    ),
    "broken base64 part": (
        "multipart/form-data; boundary=x",
        b'--x\r\nContent-Disposition: form-data; name="code"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n!\r\n--x--\r\n",
    ),
    "another charset": (f"{FORM}; charset=utf-16", b"grant_type=x"),
    "unknown charset": (f"{FORM}; charset=nonsense", b"grant_type=x"),
    "wrong type": ("text/xml", b"<grant_type/>"),
    "malformed type": (";;;=\x00,", b"grant_type=x"),
    "type without an end": ('multipart/form-data; boundary="', b"x"),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_client_endpoint_refuses_every_bad_body(partner, unchanged, body):
    content_type, data = body
    for endpoint in CLIENT_ENDPOINTS:
        assert_refused(partner.generic("POST", endpoint, data, content_type))


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_page_answers_every_bad_body(browser, application, unchanged, body):
    content_type, data = body
    for client in (browser.client, Client()):
        for page in (f"/auth?client_id={application.client_id}", "/membership?receipthero_id=x", "/account/login/"):
            response = client.generic("POST", page, data, content_type)
            assert response.status_code < 500
            assert "code=" not in response.get("Location", "")


@pytest.mark.parametrize("length", ["x", "-1", "1e3", "9" * 30, " ", "0x10"])
def test_content_length_that_is_no_number_is_refused(partner, unchanged, length):
    for endpoint in CLIENT_ENDPOINTS:
        response = partner.post(endpoint, b"grant_type=x", content_type=FORM, CONTENT_LENGTH=length)
        assert_refused(response)


@pytest.mark.spec("RFC 6749", "5.2")
@pytest.mark.parametrize("name", ['"', "\\", "\N{SNOWMAN}", "a\nb", "<script>", "x" * 3000, "\x7f"])
def test_description_has_only_the_characters_that_it_may_have(partner, unchanged, name):
    for body, content_type in ((json.dumps({name: 7}), "application/json"), (f"{quote(name)}=a&{quote(name)}=b", FORM)):
        description = partner.post("/oauth/token", body, content_type=content_type).json()["error_description"]

        assert len(description) < 200
        assert all(0x20 <= ord(c) <= 0x7E and c not in '"\\' for c in description)


HEADERS = [
    "Basic",
    "Basic ",
    "Basic \xe4",
    "Basic " + "x" * 100_000,
    "Basic eDp5 eDp5",
    "basic eA",
    "Bearer",
    "Bearer a b c",
    "Bearer \xff",
    "Bearer " + "x" * 100_000,
    "Digest username=x",
    "\x01",
    ",",
    "Basic eDp5, Bearer x",
    "Bearer\x00x",
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: repr(header[:20]))
def test_garbage_in_the_authorization_header_is_refused(partner, unchanged, header):
    for endpoint in CLIENT_ENDPOINTS:
        assert_refused(
            partner.post(endpoint, {"grant_type": "refresh_token", "token": "x"}, headers={"Authorization": header})
        )
    for resource in RESOURCES:
        assert partner.get(resource, headers={"Authorization": header}).status_code == 401
    assert_refused(partner.delete("/api/oauth/revoke", headers={"Authorization": header}))


QUERIES = [
    "%",
    "%00",
    "%FF",
    "%ZZ=%ZZ",
    "&&&",
    "===",
    "a" * 20_000,
    "client_id",
    "client_id=%ED%A0%80",
    "client_id=x&client_id=y",
    "next=%00",
    "include=%00",
    "format=xml",
    "receipthero_id=%FF",
    "\xe4=\xf6",
    "client_id=\xff",
    "redirect_uri=http://[",
    "redirect_uri=//&client_id=x",
    "&".join(["x=1"] * 5000),
    "[]=1",
    "prompt=%00&state=%00",
]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: ascii(query[:20]))
def test_garbage_in_the_query_is_never_a_500(browser, unchanged, query):
    for path in EVERYTHING:
        for client in (browser.client, Client()):
            for method in ("GET", "POST"):
                response = client.generic(method, path, QUERY_STRING=query)
                assert response.status_code < 500, path
                assert "evil" not in response.get("Location", "")


@pytest.fixture
def serve(transactional_db, settings):
    """Send a request through the WSGI application that production loads; return the status."""
    settings.ALLOWED_HOSTS = ["*"]

    def call(method, path, query, content_type, body):
        from config.wsgi import application

        environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "QUERY_STRING": query, "CONTENT_TYPE": content_type}
        environ |= {"CONTENT_LENGTH": str(len(body)), "wsgi.input": BytesIO(body)}
        setup_testing_defaults(environ)
        statuses = []
        response = application(environ, lambda status, headers: statuses.append(int(status.split()[0])))
        list(response)
        response.close()
        return statuses[0]

    return call


CHARSETS = ["base64", "rot13", "idna", "punycode", "undefined", "utf-7", "utf-16", "nonsense", "x" * 500, '"', ""]


def test_charset_is_never_a_500(serve, application, unchanged):
    """Django reads it before any of its handlers of errors is in place."""
    part = b'--x\r\nContent-Disposition: form-data; name="grant_type"\r\n\r\nx\xe4\r\n--x--\r\n'
    bodies = {"multipart/form-data; boundary=x": part, FORM: b"a=%E4", "application/json": b"{}"}
    query = f"client_id={application.client_id}&state=%FF%E4&next=/%E4"
    for parameter in [*(f"charset={name}" for name in CHARSETS), "charset*=base64''x", "x*=nonsense''x"]:
        for content_type, body in bodies.items():
            for path in ("/oauth/token", "/auth", "/account/login/"):
                assert serve("POST", path, query, f"{content_type}; {parameter}", body) < 500, parameter


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "FOO"])
def test_any_method_is_answered_and_changes_nothing(browser, unchanged, method):
    for path in EVERYTHING:
        for client in (browser.client, Client()):
            response = client.generic(method, path)
            assert response.status_code < 500, path
            if method not in {"GET", "HEAD", "OPTIONS"} and not path.startswith("/account/"):
                assert 400 <= response.status_code < 500, path


@pytest.mark.parametrize(
    "path",
    [
        "/auth/",
        "/oauth/token/",
        "/oauth/user/",
        "/api/oauth/token/",
        "/oauth/revoke/",
        "/oauth/introspect/",
        "/AUTH",
        "/oauth//token",
        "/oauth/token%00",
        "/oauth/token%2F",
        "/../etc/passwd",
        "/brand/..%2f..%2f.css",
        "/brand/x%00.css",
        "/media/logos/organisations/..%2f..%2fx.png",
        "/media/logos/x/%00.png",
        "/media/logos/organisations/%2e%2e.png",
        "/account/connections/x/remove/",
        "/static/../manage.py",
        "/static/%2e%2e/manage.py",
    ],
)
def test_unknown_address_is_a_404(browser, unchanged, path):
    """A POST is never redirected (CONTRACT section 1)."""
    assert browser.client.generic("GET", path).status_code == 404
    assert browser.client.generic("POST", path).status_code in {404, 405}


# --- open redirects ---------------------------------------------------------------------------------------

OUTSIDE = [
    "https://evil.example/",
    "//evil.example/",
    "///evil.example/",
    "http://[",
    "\\\\evil.example/",
    "/\\evil.example/",
    "http:evil.example",
    "https:/evil.example",
    "javascript:alert(1)",
    "data:text/html,x",
    "https://testserver@evil.example/",
    "\thttps://evil.example/",
    "/\t/evil.example/",
    "/\n/evil.example",
    "https://testserver.evil.example/",
    "%2f%2fevil.example",
    "//evil.example\\@testserver/",
    " //evil.example",
    "\x00//evil.example",
    "https://evil.example\\.testserver/",
    "HTTPS://EVIL.example",
]


def leads_outside(response):
    """Say whether a browser would leave this host: it drops tabs and newlines and takes a backslash for a slash."""
    location = re.sub(r"[\t\r\n]", "", response.get("Location", "")).strip(" \x00").replace("\\", "/")
    return urlsplit(urljoin("http://testserver/account/login/", location))[:2] != ("http", "testserver")


@pytest.mark.parametrize("address", OUTSIDE, ids=ascii)
def test_log_in_leads_nowhere_else(organisation, member, password, address):
    for data, query in (({"next": address}, ""), ({}, f"?next={quote(address, safe='')}")):
        client = Client()
        assert client.get(f"/account/login/{query}").status_code == 200
        response = client.post(f"/account/login/{query}", {"login": member.email, "password": password, **data})
        assert response.status_code in {200, 302, 400}
        assert not leads_outside(response)
        again = client.get(f"/account/login/?next={quote(address, safe='')}")
        assert not leads_outside(again)


@pytest.mark.parametrize("address", OUTSIDE, ids=ascii)
def test_log_out_and_the_other_account_pages_lead_nowhere_else(organisation, member, password, address):
    query = f"?next={quote(address, safe='')}"
    for path, fields in (
        ("/account/logout/", {}),
        ("/account/reauthenticate/", {"password": password}),
        ("/account/signup/", {}),
        ("/account/password/reset/", {"email": "nobody@example.com"}),
    ):
        client = Client()
        client.force_login(member)
        assert not leads_outside(client.get(path + query))
        assert not leads_outside(client.post(path + query, {**fields, "next": address}))


@pytest.mark.parametrize("name", ["login", "password", "next", "remember"])
@pytest.mark.parametrize("value", ["\x00", "x" * 100_000, "\N{SNOWMAN}", "a@b\x00.example", "' OR 1=1 --"])
def test_log_in_form_takes_any_text(organisation, member, password, name, value):
    fields = {"login": member.email, "password": password, name: value}

    response = Client().post("/account/login/", fields)

    assert response.status_code < 500
    assert not leads_outside(response)


@pytest.mark.parametrize("cookie", ["x", "x" * 4000, "\x00", "../../x", "' OR 1=1"])
def test_unknown_session_is_nobody(application, cookie, settings):
    address = f"/auth?client_id={application.client_id}&redirect_uri={CALLBACK}"

    # As a header: the test client's cookie jar takes no control characters.
    response = Client().get(address, HTTP_COOKIE=f"{settings.SESSION_COOKIE_NAME}={cookie}")

    assert (response.status_code, response["Location"].split("?")[0]) == (302, "/account/login/")
