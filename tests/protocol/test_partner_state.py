"""`state` of the receipts programme: a message for the user, metadata for the webhooks (CONTRACT section 2)."""

import base64
import json

import pytest

from apps.connections.models import Connection, EndReason
from apps.tokens.services import end_connection
from apps.webhooks.models import Notification
from apps.webhooks.services import set_endpoint
from tests.conftest import query_of

pytestmark = pytest.mark.spec("CONTRACT", "2 (state)")

METADATA = {"till": 7, "nested": {"x": [1, None, "\N{SNOWMAN}"]}}


def standard(document):
    return base64.b64encode(json.dumps(document).encode()).decode()


def url_safe(document):
    return base64.urlsafe_b64encode(json.dumps(document, ensure_ascii=False).encode()).decode()


def unpadded(document):
    return standard(document).rstrip("=")


def url_safe_unpadded(document):
    return url_safe(document).rstrip("=")


@pytest.mark.parametrize("encode", [standard, url_safe, unpadded, url_safe_unpadded])
def test_message_is_shown_and_metadata_is_kept(browser, application, exchange, encode):
    # Characters whose base64 has "+" and "/", or "-" and "_".
    state = encode({"message": "Hello from the till >>>???", "partner_metadata": {**METADATA, "p": "???>>>~~~"}})

    page = browser.ask(application, state=state)
    answer = query_of(browser.answer(page))
    exchange(application, answer["code"])

    assert "Hello from the till" in page.content.decode()
    assert Connection.objects.get().partner_metadata == {**METADATA, "p": "???>>>~~~"}
    assert answer["state"] == state


def test_plus_that_the_partner_forgot_to_encode_is_read_as_plus(browser, application, exchange):
    state = next(
        s for s in (standard({"message": "~~~" + "?" * n, "partner_metadata": {"n": n}}) for n in range(9)) if "+" in s
    )

    page = browser.client.get(f"/auth?client_id={application.client_id}&state={state}")
    exchange(application, query_of(browser.answer(page))["code"])

    assert Connection.objects.get().partner_metadata


def test_message_is_escaped(browser, application):
    page = browser.ask(application, state=standard({"message": "<script>alert(1)</script>\"'"}))

    assert "<script>alert(1)" not in page.content.decode()
    assert "&lt;script&gt;alert(1)" in page.content.decode()


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


@pytest.mark.parametrize(
    "state",
    [
        "cmVjZWlwdGhlcm9yb2Nrcw==",
        "opaque",
        "=",
        "====",
        "a",
        b64("[]"),
        b64("null"),
        b64("7"),
        b64('"text"'),
        b64('[{"message": "x", "partner_metadata": {}}]'),
        b64('{"message": "x"'),
        b64('{"message": 7, "partner_metadata": []}'),
        b64('{"message": null, "partner_metadata": "x"}'),
        b64('{"partner_metadata": {"x": NaN}}'),
        b64('{"partner_metadata": {"x": 1e999}}'),
        b64('{"partner_metadata": {"x": "\\u0000"}}'),
        b64('{"partner_metadata": {"\\u0000": 1}}'),
        b64('{"partner_metadata": {"x": "\\ud800"}}'),
        b64(b'{"partner_metadata": {"x": "\xff"}}'),
        b64('{"message": "\\ud800"}'),
        b64('{"message": "\\u0000"}'),
        b64("[" * 3000),
        b64('{"a":' * 600),
        b64('{"partner_metadata": {"x": ' + "9" * 3000),
    ],
)
def test_anything_else_is_opaque_and_still_valid(browser, application, exchange, state):
    answer = query_of(browser.answer(browser.ask(application, state=state)))

    assert answer["state"] == state
    assert exchange(application, answer["code"]).status_code == 200
    assert Connection.objects.get().partner_metadata is None


@pytest.mark.parametrize("depth", [1, 30, 500])
def test_deep_metadata_is_kept_or_opaque(browser, application, exchange, depth):
    state = b64('{"partner_metadata":' + '{"a":' * depth + "{}" + "}" * depth + "}")

    assert exchange(application, browser.authorize(application, state=state)).status_code == 200


def test_huge_number_is_kept(browser, application, exchange):
    number = int("9" * 2000)
    state = b64(f'{{"partner_metadata": {{"x": {number}}}}}')

    assert exchange(application, browser.authorize(application, state=state)).status_code == 200
    assert Connection.objects.get().partner_metadata == {"x": number}


def test_first_of_two_equal_keys_does_not_matter(browser, application, exchange):
    state = b64('{"partner_metadata": {"x": 1}, "partner_metadata": {"x": 2}}')
    exchange(application, browser.authorize(application, state=state))

    assert Connection.objects.get().partner_metadata == {"x": 2}


@pytest.mark.parametrize(("length", "error"), [(4096, None), (4097, "invalid_request")])
def test_4096_characters_are_the_limit(browser, application, length, error):
    document = standard({"message": "", "partner_metadata": {"x": "y" * 3000}})
    state = (document + "=" * length)[:length]

    response = browser.ask(application, state=state)

    assert (query_of(response)["error"] if response.status_code == 302 else None) == error


@pytest.mark.parametrize("profile", ["customer", "portal"])
def test_state_of_another_profile_is_opaque(browser, make_application, exchange, profile):
    application = make_application(profile)

    page = browser.ask(application, state=standard({"message": "Hello from the till", "partner_metadata": METADATA}))
    exchange(application, query_of(browser.answer(page))["code"])

    assert "Hello from the till" not in page.content.decode()
    assert Connection.objects.get().partner_metadata is None


def test_second_consent_brings_new_metadata_and_keeps_the_id(browser, application, exchange):
    exchange(application, browser.authorize(application, state=standard({"partner_metadata": {"n": 1}})))
    first = Connection.objects.get()
    exchange(
        application, browser.authorize(application, state=standard({"partner_metadata": {"n": 2}}), prompt="consent")
    )

    second = Connection.objects.get()
    assert second.id == first.id
    assert second.partner_metadata == {"n": 2}


def test_state_without_metadata_leaves_the_old_ones(browser, application, exchange):
    exchange(application, browser.authorize(application, state=standard({"partner_metadata": {"n": 1}})))
    exchange(application, browser.authorize(application, state="opaque"))

    assert Connection.objects.get().partner_metadata == {"n": 1}


def test_link_whose_code_is_not_redeemed_does_not_change_the_metadata(browser, application, exchange):
    """Anybody can write a `state` into a link; only the partner can check that it is its own."""
    exchange(application, browser.authorize(application, state=standard({"partner_metadata": {"n": 1}})))
    browser.authorize(application, state=standard({"partner_metadata": {"n": "stranger's"}}))

    assert Connection.objects.get().partner_metadata == {"n": 1}


@pytest.mark.spec("CONTRACT", "10")
def test_webhook_of_a_new_connection_has_no_metadata_that_the_partner_did_not_take(browser, application, exchange):
    """The partner compares `state`, finds that it is not its own, and redeems nothing."""
    set_endpoint(application=application.row, actor=None, url="https://partner.example/hooks")
    code = browser.authorize(application, state=standard({"partner_metadata": {"n": "stranger's"}}))
    connection = Connection.objects.get()

    assert connection.partner_metadata is None
    end_connection(connection=connection, reason=EndReason.USER)
    assert "partner_metadata" not in json.loads(Notification.objects.get().body)
    # Afterwards it is too late.
    assert exchange(application, code).status_code == 400
    assert Connection.objects.get().partner_metadata is None


def test_state_on_the_way_back_from_a_denial_is_unchanged(browser, application):
    state = standard({"message": "x"})

    assert query_of(browser.answer(browser.ask(application, state=state), "deny"))["state"] == state
