"""What the introspection endpoint says of a token (RFC 7662 2.2)."""

from typing import Any

from oauth2_provider.models import AccessToken

from apps.accounts.models import User
from apps.developers.models import Application
from apps.tokens import selectors
from apps.tokens.issuing import PREFIXES, refresh_token_expiry
from apps.tokens.profiles.base import NEVER

INACTIVE: dict[str, Any] = {"active": False}
#: The scope that lets a service look into every token of its organisation.
INTROSPECT_SCOPE = "introspect"


def describe_token(token: str, *, caller: Application, host: str) -> dict[str, Any]:
    """Return the response for `token`; all there is to say of one that is unusable or none of `caller`'s
    business is that it is not active (RFC 7662 2.2).
    """
    if token.startswith(PREFIXES["refresh"]):
        return _describe_refresh_token(token, caller=caller)
    row = selectors.find_access_token(token, host=host)
    if row is None or not _may_see(caller, row.application):
        return INACTIVE
    return _describe_access_token(row)


def _may_see(caller: Application, owner: Application) -> bool:
    if owner.pk == caller.pk:
        return True
    return INTROSPECT_SCOPE in caller.scopes and owner.organisation_id == caller.organisation_id


def _describe_access_token(row: AccessToken) -> dict[str, Any]:
    response: dict[str, Any] = {
        "active": True,
        "token_type": "Bearer",
        "client_id": row.application.client_id,
        "scope": row.scope,
        "iat": int(row.created.timestamp()),
        "iss": row.application.organisation.issuer,
    }
    if row.expires - row.created < NEVER:
        response["exp"] = int(row.expires.timestamp())
    if row.user is not None:
        response |= _describe_user(row.user)
        response["receipthero_id"] = str(row.family.connection_id)
    return response


def _describe_refresh_token(token: str, *, caller: Application) -> dict[str, Any]:
    row = selectors.find_live_refresh_token(token)
    if row is None or not _may_see(caller, row.application):
        return INACTIVE
    family = row.access_token.family
    scopes = selectors.effective_scopes(family.scope, family.connection, row.application)
    return {
        "active": True,
        "client_id": row.application.client_id,
        "scope": " ".join(scopes),
        "iat": int(row.created.timestamp()),
        "exp": int(refresh_token_expiry(row).timestamp()),
        **_describe_user(row.user),
        "receipthero_id": str(family.connection_id),
    }


def _describe_user(user: User) -> dict[str, str]:
    return {"sub": str(user.pk), "username": user.username}
