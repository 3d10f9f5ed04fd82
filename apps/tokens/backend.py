"""Between Django's requests and oauthlib's."""

from typing import Any
from urllib.parse import quote, urlencode

from django.http import HttpRequest
from oauth2_provider.exceptions import FatalClientError, OAuthToolkitError
from oauth2_provider.oauth2_backends import OAuthLibCore
from oauthlib import oauth2

from apps.organisations.middleware import host_of
from apps.tokens.limits import headers_for_validator
from apps.tokens.parameters import read_query

#: Names that travel to the validator beside the real headers; no client can send them.
HOST_NAME = "countersign-host"
MALFORMED_PARAMETERS = "countersign-malformed"

AUTHORIZATION_PARAMETERS = (
    "client_id",
    "redirect_uri",
    "response_type",
    "scope",
    "state",
    "code_challenge",
    "code_challenge_method",
)


def append_query(uri: str, parameters: list[tuple[str, str]]) -> str:
    """Return `uri` with parameters added to its query; what the query already has stays as it is."""
    separator = "&" if "?" in uri else "?"
    return uri + separator + urlencode(parameters, quote_via=quote, safe="")


class OAuthBackend(OAuthLibCore):
    """Hands oauthlib only the parameters it is to know, from where they belong, and the host they came to.

    An unknown parameter must never reach oauthlib's request object: its attributes are the parameters.
    """

    def extract_headers(self, request: HttpRequest) -> dict[str, str]:
        headers = {HOST_NAME: host_of(request), **headers_for_validator(request)}
        if authorization := request.META.get("HTTP_AUTHORIZATION"):
            headers["Authorization"] = headers["HTTP_AUTHORIZATION"] = authorization
        return headers

    def extract_body(self, request: HttpRequest) -> list[tuple[str, str]]:
        """Return what `read_parameters` has read; a consent form's fields are never protocol parameters."""
        return list(getattr(request, "oauth_parameters", {}).items())

    def _get_escaped_full_path(self, request: HttpRequest) -> str:
        # Token requests carry nothing in the query (RFC 6749 2.3.1); a query at all is refused by oauthlib.
        return request.path + ("?query" if request.META.get("QUERY_STRING") else "")

    def _authorization_request(self, request: HttpRequest) -> tuple[str, dict[str, str]]:
        parameters, malformed = read_query(request, known=AUTHORIZATION_PARAMETERS)
        headers = self.extract_headers(request)
        for name in ("client_id", "redirect_uri"):
            if name in malformed:
                # It cannot be told whom to send the error to.
                raise FatalClientError(
                    error=oauth2.InvalidRequestFatalError(description=f"Repeated or malformed parameter: {name}.")
                )
        if malformed:
            headers[MALFORMED_PARAMETERS] = ", ".join(malformed)
        return f"{request.path}?{urlencode(parameters)}", headers

    def validate_authorization_request(self, request: HttpRequest) -> tuple[list[str], dict[str, Any]]:
        """Return the requested scopes and what the request asks for.

        Raises FatalClientError when nothing may be sent back to the client, else OAuthToolkitError.
        """
        uri, headers = self._authorization_request(request)
        try:
            return self.server.validate_authorization_request(uri, http_method="GET", headers=headers)
        except oauth2.FatalClientError as error:
            raise FatalClientError(error=error) from error
        except oauth2.OAuth2Error as error:
            raise OAuthToolkitError(error=error) from error

    def create_authorization_response(
        self, request: HttpRequest, scopes: list[str], credentials: dict[str, Any], allow: bool
    ) -> tuple[str, dict[str, str], str | None, int]:
        """Store a code and return where the user goes with it: (uri, headers, body, status).

        `credentials` are attributes for oauthlib's request; ours are `user`, `connection`,
        `has_redirect_uri` and `partner_metadata`.
        """
        uri, request_headers = self._authorization_request(request)
        try:
            headers, body, status = self.server.create_authorization_response(
                uri, http_method="GET", headers=request_headers, scopes=scopes, credentials=credentials
            )
        except oauth2.FatalClientError as error:
            raise FatalClientError(error=error) from error
        return headers["Location"], headers, body, status

    def verify_request(self, request: HttpRequest, scopes: list[str]) -> tuple[bool, Any]:
        """Check the bearer token of the Authorization header; one in the URL is not looked at (RFC 9700 4.3.2)."""
        return self.server.verify_request(
            request.path, request.method, "", self.extract_headers(request), scopes=scopes
        )
