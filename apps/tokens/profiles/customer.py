from apps.tokens.issuance import Issuance
from apps.tokens.keys import signing_key
from apps.tokens.profiles.base import TokenProfile


class CustomerProfile(TokenProfile):
    """Aura's programme: a two-year RS256 token that anyone verifies by the published keys, with refresh."""

    response_keys = ("token_type", "expires_in", "access_token", "refresh_token")
    access_token_lifetime = 63_158_400
    refresh_token_lifetime = 63_158_400
    signing_algorithm = "RS256"
    resource = "customer"

    def make_access_token(self, issuance: Issuance) -> str:
        issued_at = issuance.issued_at_seconds
        claims = {
            "aud": issuance.client_id,
            "jti": issuance.jti,
            "iat": issued_at,
            "nbf": issued_at,
            "exp": issued_at + self.access_token_lifetime,
            "sub": str(issuance.user_id),
            "scopes": issuance.scopes,
            "iss": issuance.issuer,
            "client_id": issuance.client_id,
        }
        return signing_key("RS256").sign(claims)
