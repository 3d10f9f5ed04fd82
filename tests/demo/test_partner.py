"""The demo partners go through their programmes against this very server, over real HTTP."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.test import Client

from apps.console.wire import Encoding, Flow
from apps.demo.flow import COOKIE_NAME, PURPOSE
from apps.demo.partners import PROGRAMMES
from apps.demo.seeding import demo_client_secret
from tests.demo.conftest import Visitor

Connect = Callable[[str], HttpResponse]
Headlines = Callable[[HttpResponse], list[str]]

PROGRAMME_NAMES = list(PROGRAMMES)
#: After the two steps that the callback takes: which buttons lead to the end, and what the server answers to each.
REST = {
    "receipts": {"call": "The token is active.", "revoke": "Deleted, with every token it had."},
    "loyalty": {
        "call": "This is what the user shared.",
        "refresh": "A new pair; the old one is dead.",
        "revoke": "Revoked.",
    },
    "campus": {
        "call": "This is what the user shared.",
        "refresh": "A new pair; the old one is dead.",
        "revoke": "Revoked.",
    },
}
DEAD = "The token is dead, as it should be."


def flow_of(visitor: Visitor, programme: str) -> Flow:
    """Return what the partner remembers of the visitor."""
    session = Session.objects.get(pk=visitor.client.cookies[COOKIE_NAME].value)
    return Flow.unseal(session.get_decoded()[programme], PURPOSE)


@pytest.mark.parametrize("programme", PROGRAMME_NAMES)
def test_partner_goes_through_its_programme_to_the_end(
    programme: str, visitor: Visitor, connected: Connect, headlines: Headlines
) -> None:
    assert headlines(connected(programme))[1:] == ["Yes: there is a code.", "We are connected."]
    for step, headline in REST[programme].items():
        assert headlines(visitor.press(programme, step))[-1] == headline
    assert headlines(visitor.press(programme, "call-again"))[-1] == DEAD


@pytest.mark.parametrize(
    ("programme", "encoding"),
    [("receipts", Encoding.JSON), ("loyalty", Encoding.MULTIPART), ("campus", Encoding.FORM)],
)
def test_code_is_exchanged_in_the_encoding_of_the_programme(
    programme: str, encoding: Encoding, visitor: Visitor, connected: Connect
) -> None:
    """Each programme's document names its own."""
    connected(programme)
    exchange = next(message for message in flow_of(visitor, programme).messages if message.step == "exchange")
    assert dict(exchange.request_headers)["Content-Type"].startswith(encoding)
    assert exchange.status == 200


@pytest.mark.parametrize("programme", PROGRAMME_NAMES)
def test_authorization_request_carries_state_and_challenge(programme: str, visitor: Visitor) -> None:
    """RFC 6749 10.12, RFC 7636 4.3"""
    page = visitor.connect(programme)
    query = page.wsgi_request.GET
    assert len(query["state"]) >= 32
    assert query["code_challenge_method"] == "S256"
    assert query["redirect_uri"] == f"http://{visitor.netloc}/demo/{programme}/callback"


def test_receipts_message_stands_on_the_consent_page(visitor: Visitor) -> None:
    """CONTRACT section 2: state is base64 of JSON with a message."""
    assert "From today on your budget fills itself in." in visitor.connect("receipts").content.decode()


def test_loyalty_token_is_verified_by_the_published_keys(connected: Connect) -> None:
    page = connected("loyalty").content.decode()
    assert "Signed (RS256) by the published key" in page
    assert "flow-check-failed" not in page


def test_loyalty_token_under_another_key_is_not_believed(
    visitor: Visitor, connected: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.tokens.views.public_jwks", lambda: {"keys": []})
    assert "flow-check-failed" in connected("loyalty").content.decode()


@pytest.mark.parametrize("programme", PROGRAMME_NAMES)
def test_denial_is_told_and_leaves_no_token(programme: str, visitor: Visitor, headlines: Headlines) -> None:
    page = visitor.answer(visitor.connect(programme), "deny")
    if programme == "campus":
        # CONTRACT section 3: a denial goes to the home page, which offers the way back.
        address = re.search(r'href="(http://127\.0\.0\.1:\d+/demo/campus/callback[^"]*)"', page.content.decode())
        assert address is not None
        page = visitor.get(address[1].replace("&amp;", "&"))
    assert "access_denied" in headlines(page)[-1]
    assert flow_of(visitor, programme).access_token == ""


@pytest.mark.parametrize("programme", PROGRAMME_NAMES)
def test_second_exchange_of_a_code_is_refused_and_ends_the_tokens(
    programme: str, visitor: Visitor, connected: Connect, headlines: Headlines
) -> None:
    """RFC 6749 4.1.2"""
    connected(programme)
    assert "Refused (invalid_grant)" in "".join(headlines(visitor.press(programme, "replay")))
    assert headlines(visitor.press(programme, "call-again"))[-1] == DEAD


@pytest.mark.parametrize(
    "change", [{"state": "another"}, {"iss": "https://another.example"}, {"state": None}, {"iss": None}]
)
def test_answer_to_another_request_is_ignored(
    change: dict[str, str | None], visitor: Visitor, headlines: Headlines
) -> None:
    """RFC 6749 10.12, RFC 9207 2.4: nothing reaches the token endpoint."""
    visitor.connect("loyalty")
    flow = flow_of(visitor, "loyalty")
    answer = {"code": "csc_stolen", "state": flow.state, "iss": flow.issuer, **change}
    query = {name: value for name, value in answer.items() if value is not None}
    page = visitor.get("/demo/loyalty/callback", query)
    assert headlines(page)[-1] == "This answer does not belong to our request, so we ignore it."
    assert "exchange" not in {message.step for message in flow_of(visitor, "loyalty").messages}


def test_callback_without_a_request_changes_nothing(visitor: Visitor, connected: Connect) -> None:
    connected("loyalty")
    before = flow_of(visitor, "loyalty")
    page = visitor.get("/demo/loyalty/callback", {"code": "csc_other", "state": ""})
    assert "We are not waiting for an answer." in page.content.decode()
    assert replace(flow_of(visitor, "loyalty"), notice="") == before


@pytest.mark.parametrize(
    ("buttons", "headline"),
    [
        ([{"action": "save", "scopes": ["receipt:read"]}], "modified:"),
        ([{"action": "cancel"}], "cancelled:"),
        ([{"action": "remove"}, {"action": "confirm-remove"}], "removed:"),
    ],
)
def test_membership_page_leads_back_with_what_the_user_did(
    buttons: list[dict[str, Any]], headline: str, visitor: Visitor, connected: Connect, headlines: Headlines
) -> None:
    """CONTRACT section 7"""
    connected("receipts")
    page = visitor.press("receipts", "membership")
    address = page.wsgi_request.get_full_path()
    for button in buttons:
        page = visitor.post(address, button)
    assert headlines(page)[-1].startswith(headline)


def test_removed_connection_leaves_a_dead_token(visitor: Visitor, connected: Connect, headlines: Headlines) -> None:
    connected("receipts")
    address = visitor.press("receipts", "membership").wsgi_request.get_full_path()
    visitor.post(address, {"action": "confirm-remove"})
    assert headlines(visitor.press("receipts", "call-again"))[-1] == DEAD


def test_membership_answer_about_another_connection_is_ignored(visitor: Visitor, connected: Connect) -> None:
    connected("receipts")
    query = {"status": "removed", "receipthero_id": "9a3c1e0e-0000-4000-8000-000000000000"}
    visitor.get("/demo/receipts/callback", query)
    assert not flow_of(visitor, "receipts").is_ended


@pytest.mark.parametrize("programme", PROGRAMME_NAMES)
def test_no_secret_is_shown_or_stored_in_clear(programme: str, visitor: Visitor, connected: Connect) -> None:
    pages = [connected(programme)]
    flow = flow_of(visitor, programme)
    pages.append(visitor.press(programme, "call"))
    secrets = [flow.code, flow.verifier, flow.access_token, demo_client_secret(f"demo-{programme}")]
    secrets += [flow.refresh_token] if flow.refresh_token else []
    assert all(len(secret) > 40 for secret in secrets)
    stored = [json.dumps(session.get_decoded()) for session in Session.objects.all()]
    shown = [page.content.decode() for page in pages] + [json.dumps(flow.as_document()["messages"])]
    for text in stored + shown:
        assert not [secret for secret in secrets if secret in text]


def test_start_over_forgets_everything(visitor: Visitor, connected: Connect, headlines: Headlines) -> None:
    connected("campus")
    assert headlines(visitor.press("campus", "start-over")) == []
    assert flow_of(visitor, "campus") == Flow()


def test_partners_do_not_mix(visitor: Visitor, connected: Connect, headlines: Headlines) -> None:
    connected("campus")
    assert headlines(visitor.open("loyalty")) == []


def test_step_that_is_not_due_is_not_taken(visitor: Visitor) -> None:
    page = visitor.press("loyalty", "revoke")
    assert "This step cannot be taken now." in page.content.decode()
    assert flow_of(visitor, "loyalty").messages == []


def test_prompt_is_asked_for_when_ticked(visitor: Visitor, connected: Connect) -> None:
    connected("loyalty")
    visitor.press("loyalty", "start-over")
    page = visitor.connect("loyalty", asks_again="on")
    assert page.wsgi_request.GET["prompt"] == "consent"


@pytest.mark.parametrize("host", ["localhost", "receipts.localhost"])
def test_another_name_of_this_machine_leads_to_the_demo(host: str) -> None:
    response = Client(headers={"host": f"{host}:8000"}).get("/demo/loyalty/")
    assert response["Location"] == "http://127.0.0.1:8000/demo/loyalty/"


def test_visitor_from_another_machine_is_told_where_the_demo_runs(demo_data: dict[str, Any]) -> None:
    response = Client().get("/demo/")
    assert response.status_code == 404
    assert "http://127.0.0.1/demo/" in response.content.decode()


@pytest.mark.parametrize("path", ["/demo/unknown/", "/demo/unknown/callback"])
def test_unknown_programme_is_not_found(path: str, demo_data: dict[str, Any]) -> None:
    assert Client(headers={"host": "127.0.0.1"}).get(path).status_code == 404


@pytest.mark.parametrize("path", ["connect", "call", "start-over"])
def test_button_is_a_post(path: str, demo_data: dict[str, Any]) -> None:
    assert Client(headers={"host": "127.0.0.1"}).get(f"/demo/loyalty/{path}").status_code == 405


def test_index_names_the_three_partners(visitor: Visitor) -> None:
    page = visitor.get("/demo/").content.decode()
    assert all(name in page for name in ("Penni Budget", "Torilla", "Study Circle"))


def test_partner_page_without_demo_data_says_what_to_do(organisation: Any) -> None:
    assert "manage.py seed_demo" in Client(headers={"host": "127.0.0.1"}).get("/demo/loyalty/").content.decode()
