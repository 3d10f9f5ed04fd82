"""What the introspection endpoint says of a token (RFC 7662 2.2)."""

from typing import Any

from apps.accounts.models import User
from apps.connections.models import Connection
from apps.connections.services import note_use
from apps.developers.models import Application
from apps.tokens import selectors
from apps.tokens.issuance import PREFIXES
from apps.tokens.issuing import refresh_token_expiry
from apps.tokens.profiles.base import NEVER

INACTIVE: dict[str, Any] = {"active": False}
#: The scope that lets a service look into every token of its organisation.
INTROSPECT_SCOPE = "introspect"


def describe_token(token: str, *, caller: Application, host: str) -> dict[str, Any]:
    """Return the response for `token`; all there is to say of one that is unusable or none of `caller`'s
    business is that it is not active (RFC 7662 2.2).

    A service asks because somebody has just come to it with the access token, so that is a use of the connection; a
    client's questions about its own token, or anybody's about a refresh token, are none.
    """
    if token.startswith(PREFIXES["refresh"]):
        return _describe_refresh_token(token, caller=caller)
    presented = selectors.find_access_token(token, host=host)
    if presented is None or not _may_see(caller, presented.application):
        return INACTIVE
    if presented.connection is not None and presented.application.pk != caller.pk:
        note_use(presented.connection)
    return _describe_access_token(presented)


def _may_see(caller: Application, owner: Application) -> bool:
    if owner.pk == caller.pk:
        return True
    return INTROSPECT_SCOPE in caller.scopes and owner.organisation_id == caller.organisation_id


def _describe_access_token(presented: selectors.PresentedToken) -> dict[str, Any]:
    row = presented.row
    response: dict[str, Any] = {
        "active": True,
        "token_type": "Bearer",
        "client_id": presented.application.client_id,
        "scope": " ".join(presented.scopes),
        "iat": int(row.created.timestamp()),
        "iss": presented.application.organisation.issuer,
    }
    if row.expires - row.created < NEVER:
        response["exp"] = int(row.expires.timestamp())
    if presented.user is not None and presented.connection is not None:
        response |= _describe_connection(presented.user, presented.connection)
    return response


def _describe_refresh_token(token: str, *, caller: Application) -> dict[str, Any]:
    found = selectors.find_live_refresh_token(token)
    if found is None or not _may_see(caller, found[0].application):
        return INACTIVE
    row, family = found
    scopes = selectors.effective_scopes(family.scope, family.connection, row.application)
    return {
        "active": True,
        "client_id": row.application.client_id,
        "scope": " ".join(scopes),
        "iat": int(row.created.timestamp()),
        "exp": int(refresh_token_expiry(row).timestamp()),
        **_describe_connection(row.user, family.connection),
    }


def _describe_connection(user: User, connection: Connection) -> dict[str, str]:
    return {"sub": str(user.pk), "username": user.username, "receipthero_id": str(connection.pk)}
