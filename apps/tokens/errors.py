import json

from oauthlib.oauth2.rfc6749.errors import FatalClientError, OAuth2Error

from apps.developers.models import Application


class ApplicationNotApprovedError(FatalClientError):
    """The application exists but nobody may authorise it yet, or not any more (CONTRACT section 2)."""

    error = "unauthorized_client"
    description = "The application is not approved."


#: What is said of an error that oauthlib raises without a word (CONTRACT sections 2 and 4 promise one).
DESCRIPTIONS = {
    "access_denied": "The user did not allow it.",
    "consent_required": "The user has to be asked.",
    "invalid_client": "The client is unknown, or its authentication failed.",
    "invalid_grant": "The code or refresh token is wrong, expired, used, or was issued to another client.",
    "invalid_request": "The request is malformed.",
    "invalid_scope": "A requested scope is not registered for this application, or was not granted.",
    "login_required": "The user has to log in.",
    "temporarily_unavailable": "Too many requests. Try again later.",
    "unauthorized_client": "The application may not use this grant type, or is not approved.",
    "unsupported_grant_type": "Use authorization_code, refresh_token or client_credentials.",
    "unsupported_response_type": "The only response type is code.",
}


def application_of(error: OAuth2Error) -> Application | None:
    """Return the application whose authorization request failed; None if it was not found."""
    application: Application | None = getattr(error, "application", None)
    return application


def describe(error: OAuth2Error) -> OAuth2Error:
    """Return `error` with a description."""
    error.description = error.description or DESCRIPTIONS.get(error.error, "")
    return error


def describe_body(body: bytes) -> bytes:
    """Return an error response of oauthlib's (RFC 6749 5.2) with a description."""
    document = json.loads(body)
    return json.dumps({"error_description": DESCRIPTIONS.get(document["error"], ""), **document}).encode()
