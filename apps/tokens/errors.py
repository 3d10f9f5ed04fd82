from oauthlib.oauth2.rfc6749.errors import FatalClientError


class ApplicationNotApprovedError(FatalClientError):
    """The application exists but nobody may authorise it yet, or not any more (CONTRACT section 2)."""

    error = "unauthorized_client"
    description = "The application is not approved."
