"""What a client remembers of one user's way through the flow, and how that is kept: encrypted."""

import json
import secrets
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Self

from cryptography.fernet import InvalidToken
from django.utils.translation import gettext as _

from apps.console.wire.exchange import Message
from apps.console.wire.outcomes import Check, Fact, Outcome
from apps.sealing import cipher

#: Whoever goes on and on loses the oldest messages.
_MAX_MESSAGES = 40


@dataclass
class Flow:
    """One run. The first half is secret, the second is what the page shows."""

    state: str = ""
    verifier: str = ""
    issuer: str = ""
    redirect_uri: str = ""
    #: The parameters of the authorization request.
    query: dict[str, str] = field(default_factory=dict)
    code: str = ""
    access_token: str = ""
    refresh_token: str = ""
    connection_id: str = ""
    is_ended: bool = False
    #: What the person is told at the top of the page, until the next step.
    notice: str = ""
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)

    @property
    def main_message(self) -> Message | None:
        """The latest message that is what its step is about."""
        return next((message for message in reversed(self.messages) if not message.is_aside), None)

    def make_verifier(self) -> None:
        """Think of a PKCE verifier: 64 characters (RFC 7636 4.1)."""
        self.verifier = secrets.token_urlsafe(48)

    @property
    def challenge(self) -> str:
        """The S256 challenge for the verifier (RFC 7636 4.2)."""
        return urlsafe_b64encode(sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()

    def check(self, answer: dict[str, str]) -> list[Check]:
        """Compare state and issuer of an authorization response (RFC 6749 10.12, RFC 9207 2.4).

        A state is good for one answer: it is forgotten.
        """
        is_ours = bool(self.state) and secrets.compare_digest(answer.get("state", "").encode(), self.state.encode())
        checks = [
            Check(_("state is the one we sent"), is_ours),
            # RFC 9207 2.4: an answer of another server must not be taken for this one's.
            Check(_("iss is %(issuer)s") % {"issuer": self.issuer}, answer.get("iss") == self.issuer),
        ]
        self.state = ""
        return checks

    def take_tokens(self, tokens: dict[str, Any]) -> None:
        """Remember the tokens of a token response."""
        self.access_token = str(tokens.get("access_token", ""))
        self.refresh_token = str(tokens.get("refresh_token", ""))
        self.is_ended = False

    def keep(self, step: str, outcome: Outcome) -> None:
        """Keep what came of a step, as the latest."""
        self.outcomes.pop(step, None)
        self.outcomes[step] = outcome

    def seal(self, purpose: str) -> str:
        """Return the flow encrypted for one purpose: it holds tokens, which never stand in the database in clear."""
        return cipher(purpose).encrypt(json.dumps(self.as_document()).encode()).decode()

    @classmethod
    def unseal(cls, sealed: str | None, purpose: str) -> Self:
        """Return a sealed flow, a new one if there is none that can be read."""
        if sealed is None:
            return cls()
        try:
            return cls.from_document(json.loads(cipher(purpose).decrypt(sealed)))
        except (InvalidToken, ValueError, KeyError, TypeError):
            # Written under another deployment secret, or by an older version.
            return cls()

    def as_document(self) -> dict[str, Any]:
        self.messages[:-_MAX_MESSAGES] = []
        return asdict(self)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
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
