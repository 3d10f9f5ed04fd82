from apps.tokens.issuance import Issuance
from apps.tokens.keys import signing_key
from apps.tokens.profiles.base import TokenProfile


class ConnectionProfile(TokenProfile):
    """ReceiptHero's programme: an HS256 token that carries the connection's id and never expires."""

    response_keys = ("token_type", "access_token")
    grant_types = frozenset({"authorization_code"})
    access_token_lifetime = None
    signing_algorithm = "HS256"
    reads_state = True

    def make_access_token(self, issuance: Issuance) -> str:
        connection_id = str(issuance.connection_id)
        claims = {
            "receipthero_id": connection_id,
            # The published sample token spells the claim like this.
            "receipt_hero_id": connection_id,
            "iat": issuance.issued_at_seconds,
            "jti": issuance.jti,
        }
        return signing_key("HS256").sign(claims)
