from collections.abc import Iterable
from typing import Any

import jwt
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy as _lazy

from apps.console.wire import Call, Check, Encoding, Fact, Flow, Outcome, Step, Wire
from apps.console.wire.outcomes import show_claims, show_value
from apps.demo.partners.base import CONNECT, EXCHANGE, RECEIVE, RefreshingPartner


class LoyaltyPartner(RefreshingPartner):
    """Aura's programme: multipart in, a signed two-year token that the partner verifies itself."""

    slug = "loyalty"
    programme = _lazy("Loyalty")
    summary = _lazy("All your loyalty cards, and the points on them, on one page.")
    member_email = "aino@example.com"
    highlights = (
        _lazy("A signed token that we verify ourselves"),
        _lazy("Two years, with refresh"),
        _lazy("The customer and their points"),
    )
    authorize_path = "/oauth/authorize"
    token_path = "/oauth/token"
    token_encoding = Encoding.MULTIPART
    resource_path = "/oauth/user"
    resource_query = {"include": "memberships"}
    revocation_path = "/oauth/revoke"
    steps = (
        CONNECT,
        RECEIVE,
        EXCHANGE,
        Step(
            "call",
            _lazy("Ask who the customer is"),
            _lazy("The token opens one address: the customer's details, and their memberships at this brand."),
            _lazy("Get the customer"),
            _lazy("The customer"),
        ),
        Step(
            "refresh",
            _lazy("Refresh the tokens"),
            _lazy("Before two years are over we swap the refresh token for a new pair. The old pair is spent."),
            _lazy("Refresh"),
            _lazy("The new tokens"),
        ),
        Step(
            "revoke",
            _lazy("Give the tokens back"),
            _lazy(
                "The customer takes the card off the page. We hand in the refresh token; the access token dies with it."
            ),
            _lazy("Revoke the tokens"),
        ),
        Step(
            "call-again",
            _lazy("Try the dead token"),
            _lazy("Signature and expiry are still fine. The server refuses the token all the same."),
            _lazy("Call once more"),
        ),
    )

    def authorization_query(self, flow: Flow) -> dict[str, str]:
        return {"response_type": "code", **super().authorization_query(flow)}

    def inspect(self, flow: Flow, wire: Wire, outcome: Outcome) -> None:
        """Verify the token by nothing but the published keys (RFC 7519 7.2)."""
        title = _("The server's public keys are fetched")
        answer = wire.send(Call(title, "GET", "/.well-known/jwks.json", is_aside=True))
        try:
            kid = jwt.get_unverified_header(flow.access_token).get("kid", "")
            key = jwt.PyJWKSet.from_dict(answer.document or {})[kid]
            claims: dict[str, Any] = jwt.decode(
                flow.access_token,
                key,
                algorithms=["RS256"],
                audience=self.client_id,
                issuer=flow.issuer,
                options={"require": ["aud", "exp", "iat", "iss", "sub"]},
            )
        except (jwt.PyJWTError, KeyError) as error:
            outcome.is_expected = False
            outcome.checks.append(Check(_("Verified by the published keys: %(error)s") % {"error": error}, False))
            return
        outcome.checks += [
            Check(_("Signed (RS256) by the published key %(kid)s…") % {"kid": kid[:8]}, True),
            Check(_("Issued by %(issuer)s for us, not expired") % {"issuer": flow.issuer}, True),
        ]
        outcome.facts += show_claims(claims)

    def describe(self, document: dict[str, Any]) -> Iterable[Fact]:
        """Return the customer and their memberships in words."""
        customer = document.get("data", {})
        memberships = customer.pop("memberships", {}).get("data", [])
        for membership in memberships:
            value = _("%(points)s points (%(expiring)s expire next)") % {
                "points": f"{membership['points']:n}",
                "expiring": f"{membership['expiring']:n}",
            }
            yield Fact(membership["scheme_name"], value)
        for name, value in customer.items():
            yield Fact(name, show_value(value))

    def revocation_call(self, flow: Flow) -> Call:
        """The client's credentials by HTTP Basic, for a change (RFC 6749 2.3.1)."""
        body = {"token": flow.refresh_token, "token_type_hint": "refresh_token"}
        credentials = (self.client_id, self.client_secret)
        return Call(_("The tokens are given back"), "POST", self.revocation_path, body=body, basic=credentials)
