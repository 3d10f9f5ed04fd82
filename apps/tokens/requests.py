"""What the validator keeps on oauthlib's request while it answers one."""

from datetime import datetime
from typing import Any

from oauth2_provider.models import RefreshToken
from oauthlib.common import Request

from apps.connections.models import Connection
from apps.tokens.issuance import Issuance
from apps.tokens.models import Grant, TokenFamily


class OAuthRequest(Request):
    """oauthlib's request, with the names and types of what we add to it. Annotations only: oauthlib makes it.

    A parameter the client sent is an attribute too, which is why `read_parameters` lets only known names pass.
    """

    headers: Any
    #: The Application, once it is found.
    client: Any
    client_id: str | None
    client_secret: str | None
    grant_type: str
    scope: str | None
    scopes: list[str]
    redirect_uri: Any
    state: str | None
    response_type: str | None
    code_challenge: str | None
    code_challenge_method: str | None
    code_verifier: str | None
    refresh_token: str
    user: Any
    #: Of a resource request: selectors.PresentedToken.
    access_token: Any

    # an authorization that the user has allowed
    connection: Connection
    granted_scopes: list[str]
    has_redirect_uri: bool
    partner_metadata: dict[str, Any] | None

    # a token request under way
    grant: Grant
    family: TokenFamily
    presented_refresh_token: RefreshToken
    retried_scope: str | None
    issuance: Issuance | None
    issuance_seed: bytes
    issued_at: datetime
