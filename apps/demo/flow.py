"""What the demo partner remembers of one visitor's way through one programme, and where it keeps that."""

import json
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest, HttpResponse

from apps.demo.exchange import Message
from apps.tokens.keys import cipher

COOKIE_NAME = "countersign_demo_partner"
COOKIE_PATH = "/demo/"
SESSION_LIFETIME = timedelta(hours=2)
#: A visitor who goes on and on loses the oldest messages.
_MAX_MESSAGES = 40


@dataclass(frozen=True)
class Check:
    """Something the partner has to make sure of, and whether it held."""

    label: str
    passed: bool


@dataclass(frozen=True)
class Fact:
    """Something the partner learned."""

    label: str
    value: str


@dataclass
class Outcome:
    """What came of a step. `is_expected` is False when the visitor should look twice."""

    headline: str
    is_expected: bool = True
    checks: list[Check] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)


@dataclass
class Flow:
    """One run through a programme. The first half is secret, the second is what the page shows."""

    state: str = ""
    verifier: str = ""
    issuer: str = ""
    redirect_uri: str = ""
    code: str = ""
    access_token: str = ""
    refresh_token: str = ""
    connection_id: str = ""
    is_ended: bool = False
    #: What the visitor is told at the top of the page, until the next step.
    notice: str = ""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)

    @property
    def main_message(self) -> Message | None:
        """The latest message that is what its step is about."""
        return next((message for message in reversed(self.messages) if not message.is_aside), None)

    def keep(self, step: str, outcome: Outcome) -> None:
        """Keep what came of a step, as the latest."""
        self.outcomes.pop(step, None)
        self.outcomes[step] = outcome

    def as_document(self) -> dict[str, Any]:
        self.messages[:-_MAX_MESSAGES] = []
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> "Flow":
        outcomes = {
            step: Outcome(
                headline=outcome["headline"],
                is_expected=outcome["is_expected"],
                checks=[Check(**check) for check in outcome["checks"]],
                facts=[Fact(**fact) for fact in outcome["facts"]],
            )
            for step, outcome in document.pop("outcomes").items()
        }
        messages = [Message(**message) for message in document.pop("messages")]
        return cls(outcomes=outcomes, messages=messages, **document)


class PartnerSession:
    """The demo partner's own session, beside the server's: a real partner is another site.

    So it outlives the user logging in as somebody else. Each flow in it is encrypted: it holds tokens, and those
    never stand in the database in clear.
    """

    def __init__(self, request: HttpRequest) -> None:
        self._store = SessionStore(request.COOKIES.get(COOKIE_NAME))

    def load(self, programme: str) -> Flow:
        """Return the visitor's flow, a new one if there is none that can be read."""
        encrypted = self._store.get(programme)
        if encrypted is None:
            return Flow()
        try:
            return Flow.from_document(json.loads(cipher("demo-partner").decrypt(encrypted)))
        except (InvalidToken, ValueError, KeyError, TypeError):
            # Written under another deployment secret, or by an older version.
            return Flow()

    def save(self, programme: str, flow: Flow, response: HttpResponse) -> None:
        """Keep the flow, and give the browser the session's cookie."""
        document = json.dumps(flow.as_document()).encode()
        self._store[programme] = cipher("demo-partner").encrypt(document).decode()
        self._store.set_expiry(SESSION_LIFETIME)
        self._store.save()
        response.set_cookie(
            COOKIE_NAME,
            self._store.session_key or "",
            max_age=SESSION_LIFETIME,
            path=COOKIE_PATH,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
