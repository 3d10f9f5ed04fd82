"""How often partners' servers may call: what they get right by client, what they get wrong by address.

A client is counted only once it has authenticated itself: nobody else can use up what it may do. What is wrong is
counted by address and by the client that it claims to be; it never stops what is right, because a partner may serve
all its users from one address, and the secrets and tokens are too long to guess.
"""

import base64
import binascii

from django.http import HttpRequest, HttpResponse
from oauthlib.oauth2.rfc6749 import errors

from apps.developers.models import Application
from apps.limits.addresses import network_of
from apps.limits.counting import bucket, take, take_in_turn
from apps.limits.refusals import Refusal
from apps.tokens.selectors import PresentedToken

#: Names that travel to the validator beside the real headers; no client can send them.
RULE = "countersign-rule"
NETWORK = "countersign-network"


class TooManyRequestsError(errors.TemporarilyUnavailableError):
    """The client, or somebody at that address, called too often (RFC 6585 4).

    RFC 6749 has no word for it at the token endpoint; `temporarily_unavailable` (4.1.2.1) is the registered one that
    says to come back later. `slow_down` (RFC 8628 3.5) would tell a device to poll for ever.
    """

    status_code = 429
    refusal: Refusal

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(description=f"Too many requests. Try again in {refusal.seconds} seconds.")
        self.refusal = refusal

    @property
    def headers(self) -> dict[str, str]:
        """The header that says when to come back (RFC 9110 10.2.3)."""
        return {"Retry-After": str(self.refusal.seconds)}

    @property
    def body(self) -> dict[str, str]:
        return {"error": self.error, "error_description": self.description}


def headers_for_validator(request: HttpRequest) -> dict[str, str]:
    """Return what the validator has to know to count: the rule, if the endpoint has one, and from where it comes."""
    rule = getattr(request, "limit_rule", None)
    return {RULE: rule, NETWORK: network_of(request)} if rule else {}


def admit_client(application: Application, headers: dict[str, str]) -> None:
    """Count a request of a client that has authenticated itself, or of a public one at its address.

    Raises TooManyRequestsError.
    """
    rule = headers.get(RULE)
    if rule is None:
        return
    subject = (application.pk, headers[NETWORK]) if application.is_public else (application.pk,)
    _raise_if_refused(take(bucket(rule, *subject), application=application).refusal)


def admit_token(application: Application, rule: str) -> None:
    """Count a request with an access token of the application. Raises TooManyRequestsError."""
    _raise_if_refused(take(bucket(rule, application.pk), application=application).refusal)


def admit_resource_request(token: PresentedToken) -> None:
    """Count a resource request. Raises TooManyRequestsError."""
    application = token.application
    buckets = [bucket("resource", application.pk)]
    if token.connection is not None:
        buckets.append(bucket("resource_user", token.connection.pk))
    _raise_if_refused(take(*buckets, application=application).refusal)


def count_failure(request: HttpRequest, *, claimed_client: str = "") -> None:
    """Count a request that failed to authenticate. Raises TooManyRequestsError, to be answered instead."""
    network = network_of(request)
    buckets = [bucket("client_failures_address", network)]
    if claimed_client:
        buckets.append(bucket("client_failures", network, claimed_client))
    # The address's first: what it claims can be made up.
    _raise_if_refused(take_in_turn(*buckets).refusal)


def claimed_client(request: HttpRequest) -> str:
    """Return the client ID that the request claims, by its Basic header or else its body; "" if it claims none."""
    scheme, _, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials.strip(), validate=True).decode("utf-8", "replace").partition(":")[0]
        except (binascii.Error, ValueError):
            return ""
    return str(getattr(request, "oauth_parameters", {}).get("client_id", ""))


def answer(error: TooManyRequestsError) -> HttpResponse:
    """Return the error as RFC 6749 5.2 spells errors."""
    return HttpResponse(error.json, status=error.status_code, content_type="application/json", headers=error.headers)


def _raise_if_refused(refusal: Refusal | None) -> None:
    if refusal is not None:
        raise TooManyRequestsError(refusal)
