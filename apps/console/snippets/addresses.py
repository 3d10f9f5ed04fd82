"""Where an application finds what it needs: its programme's own doors, and the standard addresses."""

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.organisations.middleware import organisation_of
from apps.organisations.models import Organisation
from apps.tokens.profiles import PROFILES, TokenProfile


@dataclass(frozen=True)
class _Doors:
    """The URL names of the doors that a programme's document names (CONTRACT section 1)."""

    authorize: str
    token: str
    revoke: str
    #: The revocation door takes the access token as a bearer token, by DELETE, instead of RFC 7009's form.
    revokes_by_bearer: bool = False
    membership: str | None = None


_DOORS = {
    "connection": _Doors(
        "authorize-receipts", "token-receipts", "revoke-connection", revokes_by_bearer=True, membership="membership"
    ),
    "customer": _Doors("authorize", "token", "revoke-token"),
    "portal": _Doors("authorize-campus", "token-campus", "revoke-token-campus"),
    "service": _Doors("authorize", "token", "revoke-token"),
}
#: The URL names of the resource endpoints, by what a profile calls them.
_RESOURCES = {"customer": "customer", "data_points": "data-points"}


@dataclass(frozen=True)
class Address:
    """One address, for people: what it is for and how it is called."""

    label: str | Promise
    method: str
    url: str

    @property
    def path(self) -> str:
        return urlsplit(self.url).path


@dataclass(frozen=True)
class Addresses:
    """Every address that an application uses; None where its programme has none."""

    profile: TokenProfile
    issuer: str
    authorize: Address | None
    token: Address
    resource: Address | None
    #: What the resource endpoint is asked for beside the token.
    resource_query: dict[str, str]
    refreshes: bool
    introspect: Address
    revoke: Address
    revokes_by_bearer: bool
    membership: Address | None
    metadata: Address
    jwks: Address | None

    def __iter__(self) -> Iterator[Address]:
        """Go through the addresses there are, in the order in which an application comes to need them."""
        everything = (
            self.authorize,
            self.token,
            self.resource,
            self.introspect,
            self.revoke,
            self.membership,
            self.metadata,
            self.jwks,
        )
        return (address for address in everything if address is not None)


def addresses_of(profile: str, *, base: str, issuer: str) -> Addresses:
    """Return the addresses of a profile's applications at `base`: scheme and host of their organisation's site."""
    doors, facts = _DOORS[profile], PROFILES[profile]

    def address(label: str | Promise, method: str, name: str) -> Address:
        return Address(label, method, base + reverse(name))

    has_users = "authorization_code" in facts.grant_types
    resource = _RESOURCES[facts.resource] if facts.resource else None
    return Addresses(
        profile=facts,
        issuer=issuer,
        authorize=address(_("Authorization"), "GET", doors.authorize) if has_users else None,
        token=address(_("Tokens"), "POST", doors.token),
        resource=address(_("What the user shared"), "GET", resource) if resource else None,
        resource_query={"include": "memberships"} if facts.resource == "customer" else {},
        refreshes=facts.refresh_token_lifetime is not None,
        introspect=address(_("Introspection"), "POST", "introspect-token"),
        revoke=address(_("Revocation"), "DELETE" if doors.revokes_by_bearer else "POST", doors.revoke),
        revokes_by_bearer=doors.revokes_by_bearer,
        membership=address(_("The user's page for the connection"), "GET", doors.membership)
        if doors.membership
        else None,
        metadata=address(_("Server metadata"), "GET", "metadata"),
        # Only keys of an asymmetric algorithm are published.
        jwks=address(_("Public keys"), "GET", "jwks") if facts.signing_algorithm == "RS256" else None,
    )


def site_of(organisation: Organisation, request: HttpRequest) -> str:
    """Return scheme and host of the organisation's site: the one that `request` came to, if that is the organisation's.

    A domain is served by https; by plain http, on the port of the request, only on a developer's own machine.
    """
    if organisation_of(request).pk == organisation.pk:
        return f"{request.scheme}://{request.get_host()}"
    if not settings.INSECURE_HTTP:
        return organisation.issuer
    _host, _colon, port = request.get_host().rpartition(":")
    return f"http://{organisation.domain}:{port}" if port.isdecimal() else f"http://{organisation.domain}"
