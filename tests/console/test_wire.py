"""The way of a client of ours to this very server, and what is shown of what goes over it."""

import json

import pytest
from django.test import RequestFactory
from pytest_django.live_server_helper import LiveServer

from apps.console.templatetags.wire import coloured
from apps.console.wire import Call, Flow, ServerUnreachableError, Wire, mask
from apps.console.wire.masking import mask_document


def test_server_that_cannot_be_reached_is_told_in_words() -> None:
    wire = Wire(host="127.0.0.1", port=9, messages=[])
    with pytest.raises(ServerUnreachableError, match="cannot be reached"):
        wire.send(Call("", "GET", "/oauth/user"))
    assert wire.messages[-1].failure


@pytest.mark.parametrize(
    ("listens_on", "reached_at"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("10.1.2.3", "10.1.2.3"),
        ("localhost", "localhost"),
    ],
)
def test_server_is_called_where_it_listens(settings, listens_on: str, reached_at: str) -> None:
    """Never where the browser says that it is: the Host header is only sent along."""
    settings.HOST = listens_on
    request = RequestFactory().get("/", SERVER_PORT="8123", headers={"host": "testserver:9999"})
    wire = Wire.to_this_server(request, [], agent="test/1.0")
    assert (wire.address, wire.port, wire.host) == (reached_at, 8123, "testserver:9999")


def test_behind_a_proxy_the_server_is_told_of_tls(live_server: LiveServer, organisation, settings) -> None:
    """The request went to the proxy by https; ours goes past it, and the server must not see the difference."""
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    port = live_server.url.rpartition(":")[2]
    headers = {"host": "testserver", "x-forwarded-proto": "https"}
    request = RequestFactory().get("/", SERVER_PORT=port, headers=headers)
    wire = Wire.to_this_server(request, [], agent="test/1.0")

    answer = wire.send(Call("", "GET", "/.well-known/oauth-authorization-server"))

    assert answer.document is not None
    assert answer.document["token_endpoint"] == "https://testserver/oauth/token"
    message = wire.messages[-1]
    assert message.url == "https://testserver/.well-known/oauth-authorization-server"
    assert message.curl == "curl https://testserver/.well-known/oauth-authorization-server"
    assert "X-Forwarded-Proto" not in dict(message.request_headers)


def test_without_a_proxy_the_server_is_told_nothing_of_tls(live_server: LiveServer, organisation) -> None:
    port = live_server.url.rpartition(":")[2]
    request = RequestFactory().get("/", SERVER_PORT=port, headers={"host": f"localhost:{port}"})
    answer = Wire.to_this_server(request, [], agent="test/1.0").send(
        Call("", "GET", "/.well-known/oauth-authorization-server")
    )
    assert answer.document is not None
    assert answer.document["token_endpoint"] == f"http://localhost:{port}/oauth/token"


@pytest.mark.parametrize(
    ("state", "issuer", "expected"),
    [
        ("right", "https://receipts.example", [True, True]),
        ("wrong", "https://receipts.example", [False, True]),
        ("ä", "https://receipts.example", [False, True]),
        ("right", "https://another.example", [True, False]),
        (None, None, [False, False]),
    ],
)
def test_answer_is_checked_for_state_and_issuer(state, issuer, expected: list[bool]) -> None:
    """RFC 6749 10.12, RFC 9207 2.4"""
    flow = Flow(state="right", issuer="https://receipts.example")
    answer = {name: value for name, value in {"state": state, "iss": issuer}.items() if value is not None}
    assert [check.passed for check in flow.check(answer)] == expected


def test_state_is_good_for_one_answer() -> None:
    flow = Flow(state="right", issuer="https://receipts.example")
    flow.check({"state": "right"})
    assert [check.passed for check in flow.check({"state": "right"})] == [False, False]
    assert [check.passed for check in flow.check({"state": ""})] == [False, False]


def test_sealed_flow_is_read_back_and_tells_nothing() -> None:
    flow = Flow(state="s", verifier="the-verifier", access_token="the-token")
    sealed = flow.seal("test")
    assert "the-token" not in sealed
    assert Flow.unseal(sealed, "test") == flow


@pytest.mark.parametrize("sealed", [None, "", "rubbish"])
def test_flow_that_cannot_be_read_is_a_new_one(sealed: str | None) -> None:
    assert Flow.unseal(sealed, "test") == Flow()
    assert Flow.unseal(Flow(state="s").seal("test"), "another purpose") == Flow()


@pytest.mark.parametrize(
    ("secret", "shown"),
    [("csr_8f" + "x" * 41, "csr_8f…(47 characters)"), ("short", "…(5 characters)"), ("", "…(0 characters)")],
)
def test_mask_shows_how_a_secret_begins_and_how_long_it_is(secret: str, shown: str) -> None:
    assert mask(secret) == shown


def test_mask_finds_secrets_at_any_depth() -> None:
    document = {"data": [{"access_token": "a" * 30, "scope": "x"}], "token": 5}
    assert mask_document(document) == {"data": [{"access_token": "aaaaaa…(30 characters)", "scope": "x"}], "token": 5}


def test_colours_escape_what_they_colour() -> None:
    body = json.dumps({"<b>": "<i>"}, indent=2)
    assert coloured(body) == (
        '{\n  <span class="wire-name">&quot;&lt;b&gt;&quot;</span>: '
        '<span class="wire-text">&quot;&lt;i&gt;&quot;</span>\n}'
    )
