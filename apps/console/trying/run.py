"""The steps of a run: what is sent for each, and what came of it."""

import base64
import json
import secrets
from typing import Any
from urllib.parse import urlencode

import jwt
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy
from django.views.decorators.debug import sensitive_variables

from apps.console.snippets import Address, Addresses
from apps.console.wire import (
    Answer,
    Call,
    Fact,
    Flow,
    Outcome,
    ServerUnreachableError,
    Step,
    Wire,
    mask,
)
from apps.console.wire.outcomes import refused, show_claims, show_tokens
from apps.developers.models import Application

#: What may stand in an authorization response (RFC 6749 4.1.2, RFC 9207); the rest is not ours.
_ANSWER_PARAMETERS = frozenset({"code", "state", "iss", "error", "error_description"})
#: What each parameter of an authorization request is for.
_PURPOSES = {
    "response_type": _lazy("We want a code, to be exchanged for tokens."),
    "client_id": _lazy("Who asks."),
    "redirect_uri": _lazy("Where the answer goes: one of your redirect URLs, compared character by character."),
    "scope": _lazy("What is asked for. Without it: everything that the application registered."),
    "state": _lazy("Comes back unchanged, so an answer that you never asked for is noticed."),
    "code_challenge": _lazy("The SHA-256 hash of a secret that only you know (PKCE)."),
    "code_challenge_method": _lazy("How the challenge was made."),
    "prompt": _lazy("Asks the user even if they have agreed before."),
}

REQUEST = Step(
    "request",
    _lazy("Ask for permission"),
    _lazy("Your application sends the user's browser to its authorize address and says who it is and what it wants."),
    facts_title=_lazy("The request, parameter by parameter"),
)
RECEIVE = Step(
    "receive",
    _lazy("Receive the answer"),
    _lazy("Allow brings a code, Deny an error. Before you believe either, compare state and issuer."),
    facts_title=_lazy("What came back"),
)
EXCHANGE = Step(
    "exchange",
    _lazy("Exchange the code"),
    _lazy("Your server hands in the code and the PKCE verifier. The code works once, for a minute."),
    _lazy("Exchange the code"),
    _lazy("What the tokens are"),
    needs_secret=True,
)
CALL = Step(
    "call",
    _lazy("Use the access token"),
    _lazy("The token opens one address: what the user shared with you."),
    _lazy("Call it"),
)
INTROSPECT = Step(
    "introspect",
    _lazy("Ask about the token"),
    _lazy("Introspection says whether a token still works, and what it may do."),
    _lazy("Introspect the token"),
    _lazy("What the server knows"),
    needs_secret=True,
)
REFRESH = Step(
    "refresh",
    _lazy("Refresh the tokens"),
    _lazy("The refresh token brings a new pair, once. The old pair is dead afterwards."),
    _lazy("Refresh"),
    _lazy("The new tokens"),
    needs_secret=True,
)
REVOKE = Step(
    "revoke",
    _lazy("Give the tokens back"),
    _lazy("When somebody leaves you, hand in what you have. After this, try the access token again: it is dead."),
    _lazy("Revoke"),
    needs_secret=True,
)
REVOKE_BY_BEARER = Step(
    "revoke",
    _lazy("End the connection"),
    _lazy("When somebody leaves you, delete the connection with its token. It does not work afterwards."),
    _lazy("Delete the connection"),
)


class Run:
    """One run of an application's flow: `flow` remembers it, `wire` leads to this server.

    The client secret is a parameter of the steps that send it, and is kept nowhere.
    """

    def __init__(self, application: Application, addresses: Addresses, flow: Flow, wire: Wire) -> None:
        self.application = application
        self.addresses = addresses
        self.flow = flow
        self.wire = wire

    @property
    def steps(self) -> list[Step]:
        """The steps that the application's profile has, in order."""
        here = self.addresses
        optional = {
            CALL: here.resource is not None,
            # Whoever introspects must be known (RFC 7662 2.1).
            INTROSPECT: not self.application.is_public,
            REFRESH: here.refreshes,
        }
        last = REVOKE_BY_BEARER if here.revokes_by_bearer else REVOKE
        return [REQUEST, RECEIVE, EXCHANGE, *(step for step, is_there in optional.items() if is_there), last]

    @property
    def available(self) -> set[str]:
        """The names of the steps that can be taken now."""
        flow = self.flow
        is_live = bool(flow.access_token) and not flow.is_ended
        possible = {
            "request": not flow.outcomes,
            "exchange": bool(flow.code) and not flow.access_token,
            "call": bool(flow.access_token),
            "introspect": bool(flow.access_token),
            "refresh": is_live and bool(flow.refresh_token),
            "revoke": is_live,
        }
        return {step.name for step in self.steps if possible.get(step.name)}

    def needs_secret(self, step: str) -> bool:
        """Say whether the client's secret must be given for the step."""
        return not self.application.is_public and any(each.name == step and each.needs_secret for each in self.steps)

    # --- the way there and back -------------------------------------------------------------------------

    def prepare(self, redirect_uri: str, *, asks_again: bool) -> None:
        """Make the authorization request; nothing is sent before the developer has seen it."""
        flow = self.flow
        flow.issuer, flow.redirect_uri = self.addresses.issuer, redirect_uri
        flow.state = self._make_state()
        flow.make_verifier()
        query = self.authorization_query(asks_again=asks_again)
        facts = [Fact(name, value, str(_PURPOSES.get(name, ""))) for name, value in query.items()]
        kept = _("Stays with you, and is handed in with the code.")
        facts.append(Fact(_("(code_verifier)"), mask(flow.verifier), kept))
        self.wire.step = "request"
        self.wire.note_browser(_("Your browser is sent to the authorize address"), "GET", self._authorize.path, query)
        flow.query = query
        flow.keep("request", Outcome(_("The request is ready."), facts=facts))

    def authorization_query(self, *, asks_again: bool) -> dict[str, str]:
        """Return the parameters of the authorization request; PKCE by RFC 7636 4.3."""
        scope = " ".join(self.application.scopes)
        return {
            "response_type": "code",
            "client_id": self.application.client_id,
            "redirect_uri": self.flow.redirect_uri,
            **({"scope": scope} if scope else {}),
            "state": self.flow.state,
            "code_challenge": self.flow.challenge,
            "code_challenge_method": "S256",
            **({"prompt": "consent"} if asks_again else {}),
        }

    @property
    def authorization_address(self) -> str:
        """Where the browser goes: the prepared request; "" when there is none that waits."""
        if not self.flow.state:
            return ""
        return f"{self._authorize.url}?{urlencode(self.flow.query)}"

    def receive(self, answer: dict[str, str], path: str) -> None:
        """Check an authorization response that came to the redirect URI at `path`.

        A state is good for one answer. Nothing is sent to the token door before both checks have held.
        """
        flow = self.flow
        answer = {name: value for name, value in answer.items() if name in _ANSWER_PARAMETERS}
        self.wire.step = "receive"
        self.wire.note_browser(_("Your browser comes back"), "GET", path, answer)
        checks = flow.check(answer)
        facts = [Fact(name, mask(value) if name == "code" else value) for name, value in answer.items()]
        if not all(check.passed for check in checks):
            headline = _("This answer does not belong to the request, so a client must ignore it.")
            flow.keep("receive", Outcome(headline, False, checks, facts))
        elif "code" not in answer:
            headline = _("No: the server says %(error)s. Start again whenever you like.")
            error = answer.get("error", _("nothing"))
            flow.keep("receive", Outcome(headline % {"error": error}, False, checks, facts))
        else:
            flow.code = answer["code"]
            flow.keep("receive", Outcome(_("Yes: there is a code."), True, checks, facts))

    # --- the steps that a server takes -----------------------------------------------------------------------

    @sensitive_variables("secret")
    def take(self, step: str, secret: str) -> None:
        """Take a step that is available, and keep what came of it."""
        self.wire.step = step
        try:
            outcome = getattr(self, step)(secret)
        except ServerUnreachableError as error:
            outcome = Outcome(str(error), False)
        self.flow.keep(step, outcome)

    @sensitive_variables("secret")
    def exchange(self, secret: str) -> Outcome:
        """Exchange the code for tokens (RFC 6749 4.1.3)."""
        body = {
            "grant_type": "authorization_code",
            "code": self.flow.code,
            "redirect_uri": self.flow.redirect_uri,
            "code_verifier": self.flow.verifier,
        }
        answer = self._post(_("The code is exchanged for tokens"), self.addresses.token, body, secret)
        if not answer.is_success or answer.document is None:
            if answer.error == "invalid_grant":
                # Spent or expired: there is no second try.
                self.flow.code = ""
            return self._refused(answer)
        self.flow.take_tokens(answer.document)
        facts = [*show_tokens(answer.document), *self._claims()]
        return Outcome(_("You are connected."), facts=facts)

    @sensitive_variables("secret")
    def call(self, secret: str) -> Outcome:
        """Ask the resource endpoint."""
        resource = self.addresses.resource
        if resource is None:
            raise LookupError("The profile has no resource endpoint.")
        call = Call(
            _("The resource endpoint is asked"),
            "GET",
            resource.path,
            query=self.addresses.resource_query,
            bearer=self.flow.access_token,
        )
        answer = self.wire.send(call)
        if answer.is_success:
            return Outcome(_("This is what the user shared: look into the answer."))
        if self.flow.is_ended and answer.status == 401:
            return Outcome(_("The token is dead, as it should be."))
        return self._refused(answer)

    @sensitive_variables("secret")
    def introspect(self, secret: str) -> Outcome:
        """Ask what the server knows of the access token (RFC 7662)."""
        body = {"token": self.flow.access_token}
        answer = self._post(_("The server is asked about the token"), self.addresses.introspect, body, secret)
        if not answer.is_success or answer.document is None:
            return self._refused(answer)
        if not answer.document.get("active"):
            return Outcome(_("The token is not active."), self.flow.is_ended)
        return Outcome(_("The token is active."), facts=list(show_claims(answer.document)))

    @sensitive_variables("secret")
    def refresh(self, secret: str) -> Outcome:
        """Get a new pair of tokens for the refresh token (RFC 6749 section 6)."""
        body = {"grant_type": "refresh_token", "refresh_token": self.flow.refresh_token}
        answer = self._post(_("The refresh token is exchanged for a new pair"), self.addresses.token, body, secret)
        if not answer.is_success or answer.document is None:
            return self._refused(answer)
        self.flow.take_tokens(answer.document)
        return Outcome(_("A new pair; the old one is dead."), facts=show_tokens(answer.document))

    @sensitive_variables("secret")
    def revoke(self, secret: str) -> Outcome:
        """Give the access back, in the way of the programme (CONTRACT section 6)."""
        door = self.addresses.revoke
        if self.addresses.revokes_by_bearer:
            title = _("The connection is deleted")
            answer = self.wire.send(Call(title, door.method, door.path, bearer=self.flow.access_token))
        else:
            # The refresh token takes its access tokens along (RFC 7009 2.1).
            body = {"token": self.flow.refresh_token, "token_type_hint": "refresh_token"}
            answer = self._post(_("The tokens are given back"), door, body, secret)
        self.flow.is_ended = self.flow.is_ended or answer.is_success
        return Outcome(_("Done: the tokens are dead.")) if answer.is_success else self._refused(answer)

    @sensitive_variables("secret", "credentials")
    def _post(self, title: str, door: Address, body: dict[str, str], secret: str) -> Answer:
        """Send a form as the client: with its secret, or with nothing but its id if it is a public one."""
        credentials = {"client_id": self.application.client_id}
        if not self.application.is_public:
            credentials["client_secret"] = secret
        return self.wire.send(Call(title, door.method, door.path, body={**body, **credentials}))

    def _refused(self, answer: Answer) -> Outcome:
        outcome = refused(answer)
        advice = {
            "invalid_client": _("Is that the client secret? It can be typed again; the code is not spent."),
            "invalid_grant": _("A code works once and for a minute. Start again."),
        }
        if not self.flow.access_token and answer.error in advice:
            outcome.facts.append(Fact(_("What to do"), advice[answer.error]))
        return outcome

    def _claims(self) -> list[Fact]:
        """Return what the access token itself says. It came straight from the server, so nothing is verified."""
        if self.addresses.profile.signing_algorithm is None:
            return []
        claims: dict[str, Any] = jwt.decode(self.flow.access_token, options={"verify_signature": False})
        return [Fact(_("token → %(name)s") % {"name": fact.label}, fact.value) for fact in show_claims(claims)]

    def _make_state(self) -> str:
        """Return what nobody can guess (RFC 6749 10.12); where the programme reads it, with something to read."""
        if not self.addresses.profile.reads_state:
            return secrets.token_urlsafe(24)
        document = {
            "message": _("This is a trial run."),
            "partner_metadata": {"trial": "yes"},
            "nonce": secrets.token_urlsafe(16),
        }
        return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()

    @property
    def _authorize(self) -> Address:
        if self.addresses.authorize is None:
            raise LookupError("The profile has no users to ask.")
        return self.addresses.authorize
