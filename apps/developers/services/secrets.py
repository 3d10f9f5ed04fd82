"""Client secrets: at most two work at a time, so that a client can change over without a pause."""

from datetime import timedelta

from django.contrib.auth.hashers import check_password
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from oauth2_provider.generators import generate_client_secret

from apps.accounts.models import User
from apps.developers import mails
from apps.developers.errors import RefusedError
from apps.developers.history import note
from apps.developers.models import Application, HistoryKind
from apps.developers.services.locking import lock_application

#: How long the old secret works on unless something else is chosen, and at most (CONTRACT section 9).
DEFAULT_OVERLAP = timedelta(hours=24)
LONGEST_OVERLAP = timedelta(days=7)

_COLUMNS = [
    "client_secret",
    "client_secret_created_at",
    "client_secret_used_at",
    "previous_client_secret",
    "previous_client_secret_created_at",
    "previous_client_secret_used_at",
    "previous_client_secret_ends_at",
    "updated",
]


def mark_of(application: Application) -> str:
    """Return what tells the newest secret from the one before and the one after it; it says nothing of the secret."""
    made_at = application.client_secret_created_at
    return made_at.isoformat() if made_at else "unknown"


@transaction.atomic
def create_secret(
    *,
    application: Application,
    actor: User | None,
    overlap: timedelta = DEFAULT_OVERLAP,
    seen: str | None = None,
) -> str:
    """Make a new client secret and return it; it is nowhere to be had again.

    The secret before it works on for `overlap`, at most `LONGEST_OVERLAP`; with zero it ends at once. One that was
    still working from an earlier change ends now. `seen` is the mark of the newest secret that the page showed: if it
    is not the newest any more, somebody else has been faster, or the form was sent twice, and nothing is changed.
    Raises RefusedError.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise RefusedError(_("Let the old secret work on for at most 7 days."))
    row = lock_application(application)
    _refuse_stale(row, seen)
    if row.is_public:
        raise RefusedError(_("A public client has no secret: it cannot keep one."))
    now = timezone.now()
    if overlap:
        row.previous_client_secret = row.client_secret
        row.previous_client_secret_created_at = row.client_secret_created_at
        row.previous_client_secret_used_at = row.client_secret_used_at
        row.previous_client_secret_ends_at = now + overlap
    else:
        _forget_previous(row)
    secret = generate_client_secret()
    # Hashed by the field when it is saved.
    row.client_secret, row.client_secret_created_at, row.client_secret_used_at = secret, now, None
    row.save(update_fields=_COLUMNS)
    note(row, HistoryKind.SECRET_CREATED, actor=actor, overlap_seconds=int(overlap.total_seconds()))
    mails.secret_created(row, actor=actor)
    application.refresh_from_db(fields=_COLUMNS)
    return secret


@transaction.atomic
def end_previous_secret(*, application: Application, actor: User | None, seen: str | None = None) -> bool:
    """Let the secret before the newest one work no more; says whether it still did.

    `seen` as above: the previous secret is another one by now. Raises RefusedError.
    """
    row = lock_application(application)
    _refuse_stale(row, seen)
    if not row.has_previous_secret:
        return False
    _forget_previous(row)
    row.save(update_fields=_COLUMNS[3:])
    note(row, HistoryKind.SECRET_ENDED, actor=actor)
    mails.secret_ended(row, actor=actor)
    application.refresh_from_db(fields=_COLUMNS)
    return True


def replace_secret(*, application: Application, client_secret: str) -> bool:
    """Make `client_secret` the application's newest secret; says whether it was another one before.

    For the demo's data, whose secrets follow from the deployment secret.
    """
    if check_password(client_secret, application.client_secret):
        return False
    application.client_secret = client_secret
    application.client_secret_created_at = timezone.now()
    application.save(update_fields=["client_secret", "client_secret_created_at", "updated"])
    return True


def _refuse_stale(row: Application, seen: str | None) -> None:
    if seen is not None and seen != mark_of(row):
        raise RefusedError(
            _(
                "A new client secret has been made since you opened this page, and it was shown once. Nothing was "
                "changed now. If nobody has copied it, make another."
            )
        )


def _forget_previous(row: Application) -> None:
    row.previous_client_secret = ""
    row.previous_client_secret_created_at = None
    row.previous_client_secret_used_at = None
    row.previous_client_secret_ends_at = None
