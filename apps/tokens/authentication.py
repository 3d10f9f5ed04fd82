"""DRF's way to the validator: the bearer token of a resource request."""

from typing import Any

from oauth2_provider.oauth2_backends import get_oauthlib_core
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

_REFUSAL = "The access token is missing, unknown, expired or revoked."


class BearerAuthentication(BaseAuthentication):
    """Authenticates the user of an access token (RFC 6750 2.1, the header only).

    `request.auth` is the selectors.PresentedToken.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        """Return the token's user and the token. Raises AuthenticationFailed: nothing here is for anonymous."""
        is_valid, oauth_request = get_oauthlib_core().verify_request(request, scopes=[])
        if not is_valid:
            raise AuthenticationFailed({"error": "invalid_token", "error_description": _REFUSAL})
        return oauth_request.user, oauth_request.access_token

    def authenticate_header(self, request: Request) -> str:
        return f'Bearer error="invalid_token", error_description="{_REFUSAL}"'
