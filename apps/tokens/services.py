"""Everything that ends tokens. Rows are always locked in the same order: codes, connection, families, tokens."""

import logging
import uuid
from collections.abc import Iterable
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from oauth2_provider.models import AccessToken, RefreshToken

from apps.accounts.models import User
from apps.audit import trail
from apps.connections.models import Connection, EndReason
from apps.developers.models import Application
from apps.tokens import keys
from apps.tokens.issuance import PREFIXES, hash_token
from apps.tokens.models import Grant, SigningKey, TokenFamily
from apps.tokens.profiles import PROFILES
from apps.tokens.selectors import PresentedToken
from apps.webhooks.services import queue_revoke

log = logging.getLogger(__name__)

_TOLD_REASONS = frozenset({EndReason.USER, EndReason.ADMINISTRATOR})

_ENDED_BY = {
    EndReason.USER: "user",
    EndReason.PARTNER: "partner",
    EndReason.ADMINISTRATOR: "administrator",
    EndReason.APPLICATION: "server",
}

AUTHORIZATION_CODE_LIFETIME = timedelta(seconds=settings.OAUTH2_PROVIDER["AUTHORIZATION_CODE_EXPIRE_SECONDS"])


@transaction.atomic
def revoke_family(*, family_id: uuid.UUID) -> bool:
    """End every token of the family, and the family itself, so that none can be added.

    Returns False if it had been ended before.
    """
    return bool(_revoke_families(TokenFamily.objects.filter(id=family_id)))


def end_replayed_code(*, grant: Grant) -> None:
    """End what a code has issued, because it was presented a second time (RFC 6749 4.1.2)."""
    family_id = Grant.objects.filter(pk=grant.pk).values_list("token_family", flat=True).first()
    if family_id is not None:
        _end_replayed_family(family_id, grant.connection, "authorization code")


def end_replayed_refresh_token(*, family: TokenFamily) -> None:
    """End what a refresh token has issued, because it was presented after its time (RFC 9700 4.14.2)."""
    _end_replayed_family(family.pk, family.connection, "refresh token")


@transaction.atomic
def _end_replayed_family(family_id: uuid.UUID, connection: Connection, what: str) -> None:
    # Once: whoever holds a spent code could fill the trail with it.
    if not revoke_family(family_id=family_id):
        return
    trail.record(
        "server:family:refused_replay",
        about=connection.user_id,
        application=connection.application,
        connection=connection,
        family=str(family_id),
        presented=what,
    )
    log.warning("%s replayed: family %s of application %s ended", what, family_id, connection.application_id)


def revoke_token(*, token: str, application: Application) -> None:
    """End the family of one of the application's own tokens; an unknown token is no error (RFC 7009 2.2).

    A rotated refresh token ends its family as well (CONTRACT section 6).
    """
    checksum = hash_token(token)
    if token.startswith(PREFIXES["refresh"]):
        row = RefreshToken.objects.filter(token_checksum=checksum, application=application).first()
        if row is not None and row.token_family is not None:
            revoke_family(family_id=row.token_family)
        return
    access_token = (
        AccessToken.objects.filter(token_checksum=checksum, application=application).select_related("family").first()
    )
    if access_token is None:
        return
    if hasattr(access_token, "family"):
        revoke_family(family_id=access_token.family.pk)
    else:
        access_token.delete()


@transaction.atomic
def end_connection(*, connection: Connection, reason: EndReason, actor: User | None = None) -> bool:
    """End everything the application may do for the user.

    Codes go first, so that none can be redeemed afterwards. The application's webhook is told, unless the partner
    did it itself or there is nobody to tell (CONTRACT sections 6 and 10). Returns False if the connection had been
    ended before.
    """
    Grant.objects.filter(connection=connection, spent_at__isnull=True).delete()
    ended = Connection.objects.active().filter(pk=connection.pk).update(ended_at=timezone.now(), end_reason=reason)
    _revoke_families(TokenFamily.objects.filter(connection=connection))
    if ended and reason in _TOLD_REASONS:
        queue_revoke(connection=connection)
    if ended:
        _record_end(connection, reason, actor)
    return bool(ended)


@transaction.atomic
def end_connections(*, connections: QuerySet[Connection], reason: EndReason, actor: User | None = None) -> int:
    """End all of them, or none if one cannot be ended; returns how many this call ended.

    In the order of their ids, so that two calls at the same time wait for each other instead of failing.
    """
    rows = list(connections.order_by("pk"))
    return sum(end_connection(connection=connection, reason=reason, actor=actor) for connection in rows)


def _record_end(connection: Connection, reason: EndReason, actor: User | None) -> None:
    is_own = reason == EndReason.USER
    trail.record(
        f"{_ENDED_BY[reason]}:connection:ended",
        actor=actor or (connection.user_id if is_own else None),
        about=None if is_own else connection.user_id,
        application=connection.application,
        connection=connection,
    )


def end_with_token(*, token: PresentedToken, reason: EndReason) -> bool:
    """End what an access token stands for: its connection, or just itself if it is a service's.

    Returns False if it had been ended before.
    """
    if token.connection is None:
        return bool(AccessToken.objects.filter(pk=token.row.pk).delete()[0])
    return end_connection(connection=token.connection, reason=reason)


@transaction.atomic
def change_scopes(*, connection: Connection, scopes: Iterable[str], actor: User | None = None) -> bool:
    """Let the connection grant exactly `scopes`, as far as the application has them; says whether that changed it.

    Live tokens lose the others at once, because what a token may do is worked out when it is used
    (selectors.effective_scopes); no token ever gets more than its code granted.
    """
    wanted = set(scopes)
    row = Connection.objects.active().select_for_update().filter(pk=connection.pk).first()
    if row is None:
        return False
    chosen = [scope for scope in connection.application.scopes if scope in wanted]
    # A scope that the application has given up meanwhile is no change of the user's.
    if set(chosen) == set(row.scopes) & set(connection.application.scopes):
        return False
    row.scopes = chosen
    row.save(update_fields=["scopes", "changed_at"])
    trail.record(
        "user:connection:changed",
        actor=actor or row.user_id,
        application=connection.application,
        connection=row,
        scopes=chosen,
    )
    return True


def rotate_signing_keys() -> list[SigningKey]:
    """Make a new key for each algorithm; the old one verifies until the last token it signed has expired."""
    lifetimes: dict[str, timedelta | None] = {}
    for profile in PROFILES.values():
        if profile.signing_algorithm:
            seconds = profile.access_token_lifetime
            lifetimes[profile.signing_algorithm] = timedelta(seconds=seconds) if seconds else None
    with transaction.atomic():
        fresh = keys.rotate_signing_keys(lifetimes=lifetimes)
        trail.record("operator:signing_keys:rotated", kids=[key.kid for key in fresh])
    # Once more: until the commit another thread may have loaded the old ones again.
    keys.forget_loaded_keys()
    return fresh


def _revoke_families(families: QuerySet[TokenFamily]) -> int:
    """End the families; returns how many had not been ended before.

    Their rows are locked first: a rotation under way commits before or finds them revoked.
    """
    rows = list(families.select_for_update().order_by("id").values_list("id", "access_token_id"))
    ids = [family_id for family_id, _ in rows]
    now = timezone.now()
    ended = TokenFamily.objects.filter(id__in=ids, revoked_at__isnull=True).update(revoked_at=now)
    RefreshToken.objects.filter(token_family__in=ids, revoked__isnull=True).update(revoked=now, updated=now)
    AccessToken.objects.filter(id__in=[access_token_id for _, access_token_id in rows]).delete()
    return ended
