from apps.tokens.profiles.base import TokenProfile


class ServiceProfile(TokenProfile):
    """The host's own backends and resource servers: client credentials, an opaque one-hour token."""

    response_keys = ("access_token", "expires_in", "token_type", "scope")
    grant_types = frozenset({"client_credentials"})
    access_token_lifetime = 3_600
