"""What docs/integrating says is true: its commands run against the server, and its answers have these keys."""

import json
import os
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from apps.accounts.models import ProfileValue
from apps.connections.models import Connection
from apps.organisations.models import Membership
from apps.webhooks.keys import new_value
from apps.webhooks.models import KeyKind
from apps.webhooks.services import set_endpoint
from tests.conftest import CALLBACK

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENTS = Path(__file__).parents[2] / "docs" / "integrating"
_BLOCK = re.compile(r"^```(sh|json|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(name: str) -> list[tuple[str, str]]:
    return _BLOCK.findall((DOCUMENTS / name).read_text())


def run(name: str, **variables: str) -> None:
    """Run the document's commands in their order; what follows one as JSON is what it answers, but for the values."""
    found = blocks(name)
    commands = 0
    for (kind, text), (next_kind, documented) in zip(found, [*found[1:], ("", "")], strict=True):
        if kind != "sh":
            continue
        environment = {"PATH": os.environ["PATH"], **variables}
        ran = subprocess.run(["bash", "-euc", text], env=environment, capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, f"{text}\n{ran.stdout}\n{ran.stderr}"
        commands += 1
        if next_kind != "json":
            assert ran.stdout == ""
            continue
        answer = json.loads(ran.stdout)
        assert shape(answer) == shape(json.loads(documented))
        variables |= {key.upper(): value for key, value in answer.items() if isinstance(value, str)}
    assert commands == sum(kind == "sh" for kind, _text in found) > 0


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return type(value)


@pytest.mark.parametrize(
    ("name", "profile"), [("receipts.md", "connection"), ("loyalty.md", "customer"), ("campus.md", "portal")]
)
def test_commands_of_a_programme_are_true(live_server, make_application, browser, member, organisation, name, profile):
    member.phone, member.birth_date = "+44 1", datetime(1984, 11, 2, tzinfo=UTC).date()
    member.save()
    ProfileValue.objects.create(user=member, key="student.enrolment_number", value="A-17")
    long_ago = datetime(2026, 1, 20, tzinfo=UTC)
    Membership.objects.create(
        user=member,
        organisation=organisation,
        scheme_name="Plus",
        points="58.2",
        current_level="Basic",
        created_at=long_ago,
        last_transacted_at=long_ago,
    )
    application = make_application(profile)

    run(
        name,
        BASE=live_server.url,
        CLIENT_ID=application.client_id,
        CLIENT_SECRET=application.secret,
        REDIRECT_URI=CALLBACK,
        CODE=browser.authorize(application, redirect_uri=CALLBACK),
    )


def test_command_of_a_backend_is_true(live_server, make_application, application, member):
    set_endpoint(application=application.row, actor=None, url="https://partner.example/hooks")
    connection = Connection.objects.create(user=member, application=application.row, scopes=["receipt:read"])
    service = make_application("service")

    run(
        "webhooks.md",
        BASE=live_server.url,
        CLIENT_ID=service.client_id,
        CLIENT_SECRET=service.secret,
        RECEIPTHERO_ID=str(connection.pk),
    )


def test_receiver_of_the_document_takes_what_is_ours_and_nothing_else():
    [(_kind, text)] = [block for block in blocks("webhooks.md") if block[0] == "python"]
    names: dict[str, Any] = {}
    exec(text, names)
    secret, body, now = new_value(KeyKind.SIGNING_SECRET), b'{"notification_type":"test"}', datetime.now(UTC)
    headers = {
        "webhook-id": "a",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("a", now, body.decode()),
    }

    assert names["receive"](body, headers, secret) == {"notification_type": "test"}
    assert names["receive"](body + b" ", headers, secret) is None
    assert names["receive"](body, headers, new_value(KeyKind.SIGNING_SECRET)) is None
    assert names["receive"](body, headers | {"webhook-timestamp": "1"}, secret) is None
