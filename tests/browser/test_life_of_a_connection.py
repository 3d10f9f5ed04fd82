"""A connection's life, in a browser and on the wire: made, narrowed, removed, told of, and on record."""

import base64
import json
import re
import uuid

import pytest
import requests
from django.core.management import call_command
from playwright.sync_api import expect
from standardwebhooks import Webhook

from apps.audit.sealing import seal_events
from apps.connections.models import Connection
from apps.developers.models import Role, TeamMember
from tests.audit.conftest import tamper
from tests.webhooks.conftest import empty_queue, listen, receive, work  # noqa: F401  fixtures

pytestmark = pytest.mark.django_db(transaction=True)


def test_connection_is_made_narrowed_removed_told_of_and_on_record(
    live_server,
    make_application,
    make_user,
    open_browser,
    callback,
    exchange,
    introspect,
    listen,  # noqa: F811
    work,  # noqa: F811
    capsys,
):
    application = make_application("connection", redirect_uris=callback.registered, optional_scopes=["receipt:read"])
    owner = make_user("owner@example.com", first_name="Olive")
    TeamMember.objects.create(application=application.row, user=owner, role=Role.OWNER)
    receiver = listen(application)
    metadata = {"customer": f"c-{uuid.uuid4()}"}
    state = base64.urlsafe_b64encode(json.dumps({"partner_metadata": metadata}).encode()).decode()

    # Connected with partner_metadata.
    link = requests.Request(
        "GET",
        f"{live_server.url}/auth",
        params={"client_id": application.client_id, "redirect_uri": callback.url, "state": state},
    ).prepare()
    member = make_user("mia@example.com", first_name="Mia")
    user = open_browser(member, link.url)
    user.get_by_role("button", name="Allow").click()
    user.wait_for_url(re.compile(r"/callback\?"))
    code = re.search(r"code=([^&]+)", callback.landed[-1]).group(1)
    token = exchange(application, code, redirect_uri=callback.url).json()["access_token"]
    assert introspect(application, token)["scope"] == "receipt:write receipt:read"
    connection = Connection.objects.get()

    # Narrowed: the partner's next call sees it.
    user.goto(f"{live_server.url}/account/connections/")
    user.get_by_role("link", name=f"Change {application.row.name}").click()
    user.get_by_label("Reading receipts").uncheck()
    with user.expect_navigation():
        user.get_by_role("button", name="Save changes").click()
    assert introspect(application, token)["scope"] == "receipt:write"
    assert receiver.requests == []

    # Removed: the partner is told, signed, with its metadata; the token is dead.
    user.goto(f"{live_server.url}/account/connections/")
    user.get_by_role("link", name=f"Remove {application.row.name}").click()
    user.get_by_role("button", name="Yes, remove").click()
    expect(user.get_by_role("status")).to_contain_text("can no longer use your account")
    assert introspect(application, token) == {"active": False}
    work()
    (told,) = receiver.wait_for(1)
    headers = {name.lower(): value for name, value in told.headers.items()}
    keys = {str(kind.value): key for kind, key in receiver.keys.items()}
    Webhook(keys["signing_secret"]).verify(told.body, headers)
    assert headers["authorization"] == f"Token {keys['api_key']}"
    assert told.json == {
        "notification_type": "oauth_authorization_revoke",
        "receipthero_id": str(connection.pk),
        "partner_metadata": metadata,
    }

    # The developer sees the delivery, and sends it again: the same message, by the same id.
    developer = open_browser(owner, f"/developer/apps/{application.row.pk}/webhook/")
    expect(developer.get_by_text("oauth_authorization_revoke").first).to_be_visible()
    expect(developer.get_by_text("1 attempt")).to_be_visible()
    with developer.expect_navigation():
        developer.get_by_role("button", name="Send again").click()
    work()
    again = receiver.wait_for(2)[1]
    assert again.body == told.body
    assert {name.lower(): value for name, value in again.headers.items()}["webhook-id"] == headers["webhook-id"]

    # The administrator finds each step; a row edited by hand shows.
    administrator = make_user("root@example.com", is_staff=True, is_superuser=True)
    trail = open_browser(administrator, f"/audit/?application={application.client_id}")
    events = trail.locator(".audit-event")
    expect(events.filter(has_text="user:connection:granted")).to_have_count(1)
    expect(events.filter(has_text="user:connection:changed")).to_have_count(1)
    expect(events.filter(has_text="user:connection:ended")).to_have_count(1)
    assert seal_events(batches=10) > 0
    call_command("verify_audit")
    tamper("UPDATE audit_auditevent SET tag = 'user:connection:granted' WHERE tag = 'user:connection:ended'")
    with pytest.raises(SystemExit) as ending:
        call_command("verify_audit")
    assert ending.value.code == 1
    assert "NOT INTACT" in capsys.readouterr().out
