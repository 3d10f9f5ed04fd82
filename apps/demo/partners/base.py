"""What every demo partner does in the same way, and the steps it goes through."""

import secrets
from collections.abc import Iterable
from typing import Any, ClassVar
from urllib.parse import urlencode

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from apps.console.wire import Answer, Call, Encoding, Fact, Flow, Outcome, ServerUnreachableError, Step, Wire, mask
from apps.console.wire.outcomes import refused, show_tokens
from apps.console.wire.steps import Text
from apps.demo.seeding import demo_client_secret


class Partner:
    """A partner of one programme. A subclass says how the programme's document wants each request."""

    slug: ClassVar[str]
    programme: ClassVar[Text]
    summary: ClassVar[Text]
    #: Whom to log in as: somebody the demo data knows enough of.
    member_email: ClassVar[str]
    #: What is worth a look in this programme.
    highlights: ClassVar[tuple[Text, ...]]
    authorize_path: ClassVar[str]
    token_path: ClassVar[str]
    token_encoding: ClassVar[Encoding]
    steps: ClassVar[tuple[Step, ...]]

    @property
    def client_id(self) -> str:
        return f"demo-{self.slug}"

    @property
    def client_secret(self) -> str:
        return demo_client_secret(self.client_id)

    @property
    def callback_path(self) -> str:
        return f"/demo/{self.slug}/callback"

    # --- the way there and back -----------------------------------------------------------------------

    def connect(self, flow: Flow, wire: Wire, *, asks_again: bool = False) -> str:
        """Begin a new run; return the address to send the browser to. Raises ServerUnreachableError."""
        metadata = wire.send(
            Call(_("Who is the authorization server?"), "GET", "/.well-known/oauth-authorization-server")
        )
        flow.issuer = str((metadata.document or {}).get("issuer", ""))
        flow.redirect_uri = wire.url(self.callback_path)
        flow.state = self.make_state()
        flow.make_verifier()
        query = {**self.authorization_query(flow), **({"prompt": "consent"} if asks_again else {})}
        wire.note_browser(_("The user is sent to the authorization server"), "GET", self.authorize_path, query)
        facts = [Fact(name, value) for name, value in {**query, **self.explain_state(flow.state)}.items()]
        headline = _("The browser went to %(path)s.") % {"path": self.authorize_path}
        flow.keep("connect", Outcome(headline, facts=facts))
        return wire.url(self.authorize_path) + "?" + urlencode(query)

    def authorization_query(self, flow: Flow) -> dict[str, str]:
        """Return the parameters of the authorization request; PKCE by RFC 7636 4.2."""
        return {
            "client_id": self.client_id,
            "redirect_uri": flow.redirect_uri,
            "state": flow.state,
            "code_challenge": flow.challenge,
            "code_challenge_method": "S256",
        }

    def make_state(self) -> str:
        """Return what nobody can guess, so that nobody can make the user's browser come back (RFC 6749 10.12)."""
        return secrets.token_urlsafe(24)

    def explain_state(self, state: str) -> dict[str, str]:
        """Return what the state says, if it is more than a random string."""
        return {}

    def receive(self, flow: Flow, wire: Wire, answer: dict[str, str]) -> None:
        """Check the authorization server's answer and exchange the code, if there is one.

        A state is good for one answer. Nothing is sent to the token endpoint before both checks have held.
        """
        wire.step = "receive"
        wire.note_browser(_("The user's browser comes back"), "GET", self.callback_path, answer)
        checks = flow.check(answer)
        is_genuine = all(check.passed for check in checks)
        if not is_genuine:
            headline = _("This answer does not belong to our request, so we ignore it.")
            flow.keep("receive", Outcome(headline, False, checks))
        elif "code" not in answer:
            headline = _("No: the server says %(error)s. Start again whenever you like.")
            facts = [Fact(name, answer[name]) for name in ("error", "error_description") if name in answer]
            error = answer.get("error", _("nothing"))
            flow.keep("receive", Outcome(headline % {"error": error}, False, checks, facts))
        else:
            facts = [Fact("code", mask(answer["code"]))]
            flow.keep("receive", Outcome(_("Yes: there is a code."), True, checks, facts))
            flow.code = answer["code"]
            self.take("exchange", flow, wire)

    # --- the steps ------------------------------------------------------------------------------------

    def available(self, flow: Flow) -> set[str]:
        """Return the names of the steps that have a button now."""
        is_live = bool(flow.access_token) and not flow.is_ended
        return {
            name
            for name, is_possible in {
                "connect": not flow.access_token,
                "exchange": bool(flow.code) and not flow.access_token,
                "replay": bool(flow.code and flow.access_token),
                "call": is_live,
                "refresh": is_live and bool(flow.refresh_token),
                "membership": is_live and bool(flow.connection_id),
                "revoke": is_live,
                "call-again": bool(flow.access_token) and flow.is_ended,
            }.items()
            if is_possible
        }

    def take(self, step: str, flow: Flow, wire: Wire) -> None:
        """Take a step that is available, and keep what came of it."""
        wire.step = step
        try:
            outcome = getattr(self, step.replace("-", "_"))(flow, wire)
        except ServerUnreachableError as error:
            outcome = Outcome(str(error), False)
        flow.keep(step, outcome)

    def exchange(self, flow: Flow, wire: Wire) -> Outcome:
        """Exchange the code for tokens (RFC 6749 4.1.3)."""
        answer = wire.send(self._exchange_call(_("The code is exchanged for tokens"), flow))
        if not answer.is_success or answer.document is None:
            return refused(answer)
        flow.take_tokens(answer.document)
        outcome = Outcome(_("We are connected."), facts=show_tokens(answer.document))
        self.inspect(flow, wire, outcome)
        return outcome

    def replay(self, flow: Flow, wire: Wire) -> Outcome:
        """Exchange the same code once more, as a thief would (RFC 6749 4.1.2)."""
        answer = wire.send(self._exchange_call(_("The same code is exchanged again"), flow))
        if answer.is_success:
            return Outcome(_("The server took the code a second time. It should not have."), False)
        flow.is_ended = True
        headline = _("Refused (%(error)s), and the tokens that the code had brought are revoked.")
        return Outcome(headline % {"error": answer.error})

    def inspect(self, flow: Flow, wire: Wire, outcome: Outcome) -> None:
        """Add to `outcome` what the access token itself says. An opaque one says nothing."""

    def call(self, flow: Flow, wire: Wire) -> Outcome:
        """Use the access token."""
        raise NotImplementedError

    def revoke(self, flow: Flow, wire: Wire) -> Outcome:
        """Give the access back."""
        raise NotImplementedError

    def call_again(self, flow: Flow, wire: Wire) -> Outcome:
        """Use the access token although it has been given back."""
        answer = wire.send(self.resource_call(_("The dead token is tried"), flow))
        if self.is_dead(answer):
            return Outcome(_("The token is dead, as it should be."))
        return Outcome(_("The token still works. It should not."), False)

    def is_dead(self, answer: Answer) -> bool:
        """Say whether this is how the server answers a dead token (RFC 6750 3.1)."""
        return answer.status == 401

    def resource_call(self, title: str, flow: Flow) -> Call:
        """Return the request that the access token opens."""
        raise NotImplementedError

    def _exchange_call(self, title: str, flow: Flow) -> Call:
        body = {
            "grant_type": "authorization_code",
            **self._credentials(),
            "redirect_uri": flow.redirect_uri,
            "code": flow.code,
            "code_verifier": flow.verifier,
        }
        return Call(title, "POST", self.token_path, body=body, encoding=self.token_encoding)

    def _credentials(self) -> dict[str, str]:
        return {"client_id": self.client_id, "client_secret": self.client_secret}


class RefreshingPartner(Partner):
    """A partner whose programme has refresh tokens and a resource endpoint of ours."""

    resource_path: ClassVar[str]
    resource_query: ClassVar[dict[str, str]] = {}
    revocation_path: ClassVar[str]

    def call(self, flow: Flow, wire: Wire) -> Outcome:
        answer = wire.send(self.resource_call(_("The server is asked about the user"), flow))
        if not answer.is_success or answer.document is None:
            return refused(answer)
        return Outcome(_("This is what the user shared."), facts=list(self.describe(answer.document)))

    def describe(self, document: dict[str, Any]) -> Iterable[Fact]:
        """Return what the resource endpoint's answer says, in words."""
        raise NotImplementedError

    def resource_call(self, title: str, flow: Flow) -> Call:
        return Call(title, "GET", self.resource_path, query=self.resource_query, bearer=flow.access_token)

    def revoke(self, flow: Flow, wire: Wire) -> Outcome:
        """Give the refresh token back; its access tokens go with it (RFC 7009 2.1)."""
        answer = wire.send(self.revocation_call(flow))
        flow.is_ended = answer.is_success
        return Outcome(_("Revoked.")) if answer.is_success else refused(answer)

    def refresh(self, flow: Flow, wire: Wire) -> Outcome:
        """Get a new pair of tokens for the refresh token (RFC 6749 section 6)."""
        answer = wire.send(self.refresh_call(flow))
        if not answer.is_success or answer.document is None:
            return refused(answer)
        flow.take_tokens(answer.document)
        return Outcome(_("A new pair; the old one is dead."), facts=show_tokens(answer.document))

    def refresh_call(self, flow: Flow) -> Call:
        body = {"grant_type": "refresh_token", **self._credentials(), "refresh_token": flow.refresh_token}
        title = _("The refresh token is exchanged for a new pair")
        return Call(title, "POST", self.token_path, body=body, encoding=self.token_encoding)

    def revocation_call(self, flow: Flow) -> Call:
        body = {**self._credentials(), "token": flow.refresh_token, "token_type_hint": "refresh_token"}
        return Call(_("The tokens are given back"), "POST", self.revocation_path, body=body)


CONNECT = Step(
    "connect",
    _lazy("Ask the user"),
    _lazy(
        "We send the browser to the authorization server and say who we are, where to come back to, and a random "
        "state that only this browser's return can carry."
    ),
    _lazy("Connect my account"),
    _lazy("What we asked"),
)
RECEIVE = Step(
    "receive",
    _lazy("Welcome the browser back"),
    _lazy("Allow brings a code, Deny an error. Before we believe either we compare state and issuer."),
    facts_title=_lazy("What came back"),
)
EXCHANGE = Step(
    "exchange",
    _lazy("Exchange the code"),
    _lazy("Our server hands in the code, its secret and the PKCE verifier. The code works once, for a minute."),
    _lazy("Exchange the code"),
    _lazy("What the tokens are"),
)
