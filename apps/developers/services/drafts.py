"""Drafts: what has been typed and not sent.

A page's script saves what is typed, and what it sends may come after the form itself. So each form carries a key, and
nothing is kept of one that is over: it was sent, or its draft was thrown away. Of a new application that is the form's
own key, which its id is made of, and the one that was thrown away last is kept (`EndedForm`); of a next version it is
on the member's row, which whoever saves locks first.
"""

import json
import uuid
from collections.abc import Mapping, Sequence

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.developers import rules
from apps.developers.errors import FormOverError, RefusedError
from apps.developers.models import Application, Draft, EndedForm, Submission, TeamMember
from apps.developers.models.review import SubmittedScope
from apps.developers.services.applications import id_of_registration
from apps.developers.services.locking import lock_application, lock_person
from apps.developers.services.versions import live_scopes, mark_of
from apps.organisations.text import is_storable

#: Of the JSON that is kept, in characters: several times the longest application there can be.
MAX_LENGTH = 100_000


@transaction.atomic
def save_draft(
    *, user: User, application: Application | None, fields: Mapping[str, Sequence[str]], form_key: str | None = None
) -> Draft:
    """Keep what `user` has typed, instead of what was kept before.

    `form_key` is what the form carries: `TeamMember.form_key`, of a new application a UUID.
    Raises FormOverError when that form was sent or thrown away, RefusedError if it is too much or no text.
    """
    kept = {name: list(values) for name, values in fields.items() if any(values)}
    if not all(is_storable(text) for name, values in kept.items() for text in (name, *values)):
        raise RefusedError(_("There is a character in this that cannot be kept."))
    if len(json.dumps(kept)) > MAX_LENGTH:
        raise RefusedError(_("This is too much to keep as a draft. Shorten the description."))
    # Registering locks the person, too: it is through, or has not begun.
    lock_person(user)
    if form_key is not None:
        _refuse_over(user, application, form_key)
    draft, _is_new = Draft.objects.update_or_create(user=user, application=application, defaults={"fields": kept})
    return draft


def keep_submission(*, user: User, submission: Submission) -> None:
    """Let `user` go on with a submission that was taken back, unless they are writing something else by now.

    To be called with the user locked (`lock_person`): nobody keeps a draft of whoever has closed the account.
    """
    application = submission.application
    fields = _fields_of(application, submission.description, submission.scopes)
    Draft.objects.get_or_create(user=user, application=application, defaults={"fields": fields})


@transaction.atomic
def start_from_live(*, user: User, application: Application) -> Draft:
    """Let the user's draft be what is live, instead of what they have typed. Nothing else changes.

    Raises RefusedError when nothing is live.
    """
    lock_person(user)
    row = lock_application(application)
    if not row.is_approved:
        raise RefusedError(_("Nothing of this application is live."))
    end_draft(user=user, application=row)
    return Draft.objects.create(user=user, application=row, fields=_fields_of(row, row.description, live_scopes(row)))


@transaction.atomic
def throw_draft_away(*, user: User, application: Application | None) -> None:
    """Forget what `user` has typed, and what comes late of that form. Raises RefusedError if the account is closed."""
    # Waits for a save that is under way, whose draft goes next.
    lock_person(user)
    if application is not None:
        end_draft(user=user, application=application)
        return
    draft = Draft.objects.filter(user=user, application=None).first()
    if draft is None:
        return
    form_key = _form_key_of(draft)
    if form_key is not None:
        ended = {"form_key": form_key, "ended_at": timezone.now()}
        EndedForm.objects.update_or_create(user=user, defaults=ended)
    draft.delete()


@transaction.atomic
def end_draft(*, user: User | None, application: Application) -> None:
    """Forget what was kept of a next version, because it was sent or begun anew; what comes late of it is not kept."""
    # Waits for a save that is under way, whose draft goes next.
    TeamMember.objects.filter(user=user, application=application).update(form_key=uuid.uuid4().hex)
    Draft.objects.filter(user=user, application=application).delete()


def _form_key_of(draft: Draft) -> uuid.UUID | None:
    """Return the key of the form of a new application; None if somebody has changed it into something else."""
    try:
        return uuid.UUID(draft.fields.get("form_key", [""])[0])
    except ValueError:
        return None


def _refuse_over(user: User, application: Application | None, form_key: str) -> None:
    if application is None:
        key = uuid.UUID(form_key)
        if EndedForm.objects.filter(user=user, form_key=key).exists():
            raise FormOverError
        application_id = id_of_registration(user=user, form_key=key)
        # What has been deleted since may be registered anew.
        if Application.objects.existing().filter(pk=application_id).exists():
            raise FormOverError
        return
    member = TeamMember.objects.select_for_update(no_key=True).filter(user=user, application=application).first()
    if member is None:
        raise RefusedError(_("You are not on the team of this application any more."))
    if member.form_key != form_key:
        raise FormOverError


def _fields_of(application: Application, description: str, scopes: Sequence[SubmittedScope]) -> dict[str, list[str]]:
    return {
        "description": [description],
        "scopes": [entry["scope"] for entry in scopes],
        "optional": [entry["scope"] for entry in scopes if entry["is_optional"]],
        **{rules.reason_field(entry["scope"]): [entry["reason"]] for entry in scopes},
        "seen": [mark_of(application)],
    }
