from apps.tokens.profiles.base import TokenProfile


class PortalProfile(TokenProfile):
    """Omniport's programme: an opaque ten-hour token with refresh."""

    response_keys = ("access_token", "expires_in", "token_type", "scope", "refresh_token")
    access_token_lifetime = 36_000
    refresh_token_lifetime = 31_536_000
    resource = "data_points"
    denial_goes_home = True
