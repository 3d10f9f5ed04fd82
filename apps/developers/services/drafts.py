"""Drafts: what has been typed and not sent."""

import json
from collections.abc import Mapping, Sequence

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.developers import rules
from apps.developers.errors import RefusedError, StaleVersionError
from apps.developers.models import Application, Draft, HistoryKind, Submission
from apps.developers.services.locking import lock_application, lock_person
from apps.developers.services.versions import mark_of
from apps.organisations.text import is_storable

#: Of the JSON that is kept, in characters: several times the longest application there can be.
MAX_LENGTH = 100_000

_SENT_KINDS = [HistoryKind.SUBMITTED, HistoryKind.SCOPES_REMOVED]
#: What changes the mark of an application.
_VERSION_KINDS = [
    *_SENT_KINDS,
    HistoryKind.APPROVED,
    HistoryKind.SUSPENDED,
    HistoryKind.REINSTATED,
    HistoryKind.VERSION_CHANGED,
]


@transaction.atomic
def save_draft(
    *, user: User, application: Application | None, fields: Mapping[str, Sequence[str]], seen: str | None = None
) -> Draft:
    """Keep what `user` has typed, instead of what was kept before.

    `seen` is the mark (`versions.mark_of`) of what the page showed. What a page's script sends may come after the form
    itself: once the user has sent a version, what they typed beside an older one is not kept.
    Raises StaleVersionError, RefusedError if it is too much or no text.
    """
    kept = {name: list(values) for name, values in fields.items() if any(values)}
    if not all(is_storable(text) for name, values in kept.items() for text in (name, *values)):
        raise RefusedError(_("There is a character in this that cannot be kept."))
    if len(json.dumps(kept)) > MAX_LENGTH:
        raise RefusedError(_("This is too much to keep as a draft. Shorten the description."))
    lock_person(user)
    if application is not None and seen is not None:
        _refuse_sent(application, user=user, seen=seen)
    draft, _is_new = Draft.objects.update_or_create(user=user, application=application, defaults={"fields": kept})
    return draft


def keep_submission(*, user: User, submission: Submission) -> None:
    """Let `user` go on with a submission that was taken back, unless they are writing something else by now.

    To be called with the user locked (`lock_person`): nobody keeps a draft of whoever has closed the account.
    """
    application = submission.application
    fields = {
        "description": [submission.description],
        "scopes": submission.scope_names,
        "optional": [entry["scope"] for entry in submission.scopes if entry["is_optional"]],
        **{rules.reason_field(entry["scope"]): [entry["reason"]] for entry in submission.scopes},
        "seen": [mark_of(application)],
    }
    Draft.objects.get_or_create(user=user, application=application, defaults={"fields": fields})


def delete_draft(*, user: User, application: Application | None) -> None:
    """Forget what was kept, because it has been sent or is no longer wanted."""
    Draft.objects.filter(user=user, application=application).delete()


def _refuse_sent(application: Application, *, user: User, seen: str) -> None:
    # A version that is being sent is through, or has not begun.
    row = lock_application(application)
    if seen == mark_of(row):
        return
    latest = row.history.filter(kind__in=_VERSION_KINDS).order_by("-pk").first()
    if latest is not None and latest.actor_id == user.pk and latest.kind in _SENT_KINDS:
        raise StaleVersionError(
            _(
                "Not kept as a draft: you have sent a version since you opened this page. If you want to go on with "
                "this text, press “Save draft” once more."
            )
        )
