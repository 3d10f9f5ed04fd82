import base64
import json
import secrets
from typing import Any
from urllib.parse import urlencode

import jwt
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from apps.console.wire import Answer, Call, Check, Encoding, Fact, Flow, Outcome, Step, Wire
from apps.console.wire.outcomes import refused, show_claims, show_value
from apps.demo.partners.base import CONNECT, EXCHANGE, RECEIVE, Partner


class ReceiptsPartner(Partner):
    """ReceiptHero's programme: JSON in, a token that carries the connection's id, DELETE to end it."""

    slug = "receipts"
    programme = _lazy("Receipts")
    summary = _lazy("A household budget that fills itself in from your receipts.")
    member_email = "aino@example.com"
    highlights = (
        _lazy("A message on the consent screen"),
        _lazy("A token that never expires"),
        _lazy("A page to change or remove the connection"),
    )
    authorize_path = "/auth"
    token_path = "/api/oauth/token"
    token_encoding = Encoding.JSON
    steps = (
        CONNECT,
        RECEIVE,
        EXCHANGE,
        Step(
            "call",
            _lazy("Ask what the token may do"),
            _lazy("The token never expires, but it can be ended at any time. Only the server knows: we introspect."),
            _lazy("Introspect the token"),
            _lazy("What the server knows"),
        ),
        Step(
            "membership",
            _lazy("Let the user change their mind"),
            _lazy("The user switches permissions off or removes the connection at the server, and comes back to us."),
            _lazy("Manage the connection"),
            _lazy("What came back"),
        ),
        Step(
            "revoke",
            _lazy("End the connection"),
            _lazy("The user closes their account with us, so we delete the connection and everything it allowed."),
            _lazy("Delete the connection"),
        ),
        Step(
            "call-again",
            _lazy("Try the dead token"),
            _lazy("The signature still holds. It does not help: the server looks every token up."),
            _lazy("Introspect once more"),
        ),
    )

    def make_state(self) -> str:
        """Return the programme's state: base64 of JSON. The nonce makes it one that nobody can guess."""
        document = {
            "message": _("From today on your budget fills itself in."),
            "partner_metadata": {"customer_number": "C-2041", "campaign": "spring"},
            "nonce": secrets.token_urlsafe(16),
        }
        return base64.b64encode(json.dumps(document).encode()).decode()

    def explain_state(self, state: str) -> dict[str, str]:
        document = json.loads(base64.b64decode(state))
        return {f"state → {name}": show_value(value) for name, value in document.items()}

    def authorization_query(self, flow: Flow) -> dict[str, str]:
        query = super().authorization_query(flow)
        return {"response_type": "code", "scope": "receipt:write receipt:read", **query}

    def inspect(self, flow: Flow, wire: Wire, outcome: Outcome) -> None:
        """Read the connection's id. We do not have the key (HS256), so we take the token as a label, no more."""
        claims: dict[str, Any] = jwt.decode(flow.access_token, options={"verify_signature": False})
        flow.connection_id = str(claims.get("receipthero_id", ""))
        outcome.checks.append(Check(_("The token names the connection"), bool(flow.connection_id)))
        outcome.facts += show_claims(claims)

    def resource_call(self, title: str, flow: Flow) -> Call:
        credentials = (self.client_id, self.client_secret)
        return Call(title, "POST", "/oauth/introspect", body={"token": flow.access_token}, basic=credentials)

    def call(self, flow: Flow, wire: Wire) -> Outcome:
        answer = wire.send(self.resource_call(_("The server is asked about the token"), flow))
        if not answer.is_success or answer.document is None:
            return refused(answer)
        if not answer.document.get("active"):
            return Outcome(_("The token is not active any more."), False)
        return Outcome(_("The token is active."), facts=list(show_claims(answer.document)))

    def membership_address(self, flow: Flow, wire: Wire) -> str:
        """Return where the user changes the connection; they come back to our callback."""
        query = {"receipthero_id": flow.connection_id, "redirect_uri": flow.redirect_uri}
        wire.step = "membership"
        wire.note_browser(_("The user is sent to the connection's page"), "GET", "/membership", query)
        return wire.url("/membership") + "?" + urlencode(query)

    def receive_membership(self, flow: Flow, wire: Wire, answer: dict[str, str]) -> None:
        """Take note of what the user did with the connection (CONTRACT section 7)."""
        wire.step = "membership"
        wire.note_browser(_("The user's browser comes back"), "GET", self.callback_path, answer)
        headlines = {
            "modified": _("modified: the user changed what we may do. Introspect to see it."),
            "removed": _("removed: the connection is over, and so is our token."),
            "cancelled": _("cancelled: nothing was changed."),
        }
        status = answer.get("status", "")
        is_ours = bool(flow.connection_id) and answer.get("receipthero_id") == flow.connection_id
        flow.is_ended = flow.is_ended or (is_ours and status == "removed")
        headline = headlines.get(status, _("The server sent a status that we do not know."))
        outcome = Outcome(
            headline if is_ours else _("This answer is about a connection that is not ours, so we ignore it."),
            is_ours and status in headlines,
            [Check(_("receipthero_id is our connection"), is_ours)],
            [Fact("status", status)],
        )
        flow.keep("membership", outcome)

    def revoke(self, flow: Flow, wire: Wire) -> Outcome:
        title = _("The connection is deleted")
        answer = wire.send(Call(title, "DELETE", "/api/oauth/revoke", bearer=flow.access_token))
        flow.is_ended = flow.is_ended or answer.is_success
        return Outcome(_("Deleted, with every token it had.")) if answer.is_success else refused(answer)

    def is_dead(self, answer: Answer) -> bool:
        return answer.is_success and answer.document == {"active": False}
