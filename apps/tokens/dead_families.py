"""Which token families are dead, and how they go. docs/decisions/0013 says which row is needed until when."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, QuerySet
from oauth2_provider.models import AccessToken, RefreshToken

from apps.developers.models import Application
from apps.housekeeping.dead import Batch, Dead, count_up_to, short_transaction
from apps.tokens.models import TokenFamily
from apps.tokens.profiles import PROFILES, TokenProfile

#: An expired family goes so long after its last token has expired: no request that began before is still under way.
GRACE = timedelta(hours=1)
#: A revoked family is kept so long, as are the tombstones of the codes that open families.
REVOKED_LIFETIME = timedelta(days=30)


@dataclass(frozen=True)
class DeadFamilies:
    """Families with all their tokens, locked in the order in which requests lock them: families, then tokens."""

    families: QuerySet[TokenFamily]
    batch_size: int = 100
    #: A family may have thousands of rotated refresh tokens, so they are counted by themselves.
    token_batch_size: int = 2_000

    def delete_batch(self) -> Batch:
        with short_transaction():
            free = self.families.order_by().select_for_update(skip_locked=True, of=("self",))
            chosen = list(free.values_list("pk", "access_token_id")[: self.batch_size])
            families = [family_id for family_id, _ in chosen]
            tokens = RefreshToken.objects.filter(token_family__in=families)
            # An access token refers to the refresh token it came from: those two go together, at the end.
            rotated = tokens.filter(refreshed_access_token__isnull=True).values("pk")[: self.token_batch_size]
            refresh_tokens = _delete(RefreshToken.objects.filter(pk__in=rotated))
            if refresh_tokens == self.token_batch_size:
                return Batch(rows=refresh_tokens, is_last=False)
            refresh_tokens += _delete(tokens)
            access_tokens = _delete(AccessToken.objects.filter(pk__in=[token_id for _, token_id in chosen]))
            gone = _delete(TokenFamily.objects.filter(pk__in=families))
            return Batch(rows=refresh_tokens + access_tokens + gone, is_last=len(chosen) < self.batch_size)

    def count(self, most: int) -> int:
        return count_up_to(self.families, most)


def find_dead_families(now: datetime) -> list[Dead]:
    """Return the families that were revoked long ago, and those of which nothing is valid any more."""
    revoked = TokenFamily.objects.filter(revoked_at__lt=now - REVOKED_LIFETIME)
    expired = [
        _expired(name, profile, profile.access_token_lifetime, now - GRACE)
        for name, profile in PROFILES.items()
        if profile.access_token_lifetime is not None and "authorization_code" in profile.grant_types
    ]
    return [DeadFamilies(revoked), *map(DeadFamilies, expired)]


def _expired(name: str, profile: TokenProfile, access_lifetime: int, at: datetime) -> QuerySet[TokenFamily]:
    """Return the profile's families of which, at that instant, no token was valid.

    The index is on application and the access token's end. The refresh token that was issued with it is valid for
    longer by a time that is the profile's, and so says where in the index to stop; its own row has the last word.
    """
    # As a list, so that the index is used for each of them, whatever the statistics say of their tokens.
    applications = list(Application.objects.filter(profile=name).values_list("pk", flat=True))
    refresh_lifetime = timedelta(seconds=profile.refresh_token_lifetime or 0)
    longer = max(refresh_lifetime - timedelta(seconds=access_lifetime), timedelta())
    valid = RefreshToken.objects.filter(
        token_family=OuterRef("pk"), revoked__isnull=True, created__gt=at - refresh_lifetime
    )
    return TokenFamily.objects.filter(
        ~Exists(valid),
        access_token__application__in=applications,
        access_token__user__isnull=False,
        access_token__expires__lt=at - longer,
    )


def _delete(rows: QuerySet) -> int:
    """Delete in one statement: what refers to these rows goes in the same transaction, and is not looked for."""
    return rows._raw_delete(rows.db) or 0  # None: of no row at all
