"""DRF's way to the validator: the bearer token of a resource request."""

from http import HTTPStatus
from typing import Any

from oauth2_provider.oauth2_backends import get_oauthlib_core
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException, AuthenticationFailed
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from apps.tokens import limits

_REFUSAL = "The access token is missing, unknown, expired or revoked."


class TooManyResourceRequests(APIException):
    """Answered as RFC 6585 4 says; DRF makes the Retry-After header of `wait` (seconds)."""

    status_code = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, error: limits.TooManyRequestsError) -> None:
        super().__init__(error.body)
        self.wait = error.refusal.seconds


class BearerAuthentication(BaseAuthentication):
    """Authenticates the user of an access token (RFC 6750 2.1, the header only).

    `request.auth` is the selectors.PresentedToken.
    """

    def authenticate(self, request: Request) -> tuple[Any, Any]:
        """Return the token's user and the token. Raises AuthenticationFailed: nothing here is for anonymous.

        After too many failures from one address, TooManyResourceRequests instead.
        """
        is_valid, oauth_request = get_oauthlib_core().verify_request(request, scopes=[])
        if not is_valid:
            try:
                limits.count_failure(request)
            except limits.TooManyRequestsError as error:
                raise TooManyResourceRequests(error) from error
            raise AuthenticationFailed({"error": "invalid_token", "error_description": _REFUSAL})
        return oauth_request.user, oauth_request.access_token

    def authenticate_header(self, request: Request) -> str:
        return f'Bearer error="invalid_token", error_description="{_REFUSAL}"'


class ResourceThrottle(BaseThrottle):
    """Counts requests of one client, and those about one user."""

    def allow_request(self, request: Request, view: Any) -> bool:
        """Return True, or raise TooManyResourceRequests, which answers in the shape of our other errors."""
        try:
            token: Any = request.auth
            limits.admit_resource_request(token)
        except limits.TooManyRequestsError as error:
            raise TooManyResourceRequests(error) from error
        return True
