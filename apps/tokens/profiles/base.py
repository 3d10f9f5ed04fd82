from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar

from apps.tokens.issuance import Issuance

#: What stands in the database for "never": the column must have a value.
NEVER = timedelta(days=36_525)


@dataclass(frozen=True)
class TokenProfile:
    """What one programme's applications get and how their users are treated.

    A subclass overrides the constants and `make_access_token`.
    """

    #: The keys of a token response, in the order they are sent (CONTRACT section 1).
    response_keys: ClassVar[tuple[str, ...]]
    grant_types: ClassVar[frozenset[str]] = frozenset({"authorization_code", "refresh_token"})
    #: In seconds; None: the token does not expire.
    access_token_lifetime: ClassVar[int | None]
    #: In seconds; None: no refresh tokens are issued.
    refresh_token_lifetime: ClassVar[int | None] = None
    #: The key of SigningKey.algorithm that signs its access tokens; None: they are opaque.
    signing_algorithm: ClassVar[str | None] = None
    #: The resource endpoint its access tokens open (apps/members); None: none of ours.
    resource: ClassVar[str | None] = None
    #: `state` may carry a message for the user and metadata for webhooks (CONTRACT section 2).
    reads_state: ClassVar[bool] = False
    #: A user who denies goes to the home page instead of back to the application (CONTRACT section 3).
    denial_goes_home: ClassVar[bool] = False

    def make_access_token(self, issuance: Issuance) -> str:
        """Return the access token for `issuance`, the same one whenever it is asked with the same issuance."""
        return issuance.opaque("access")
