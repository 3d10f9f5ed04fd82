"""Drafts: what has been typed and not sent."""

import json
from collections.abc import Mapping, Sequence

from django.db import transaction
from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.developers.errors import RefusedError
from apps.developers.models import Application, Draft
from apps.organisations.text import is_storable

#: Of the JSON that is kept, in characters: several times the longest application there can be.
MAX_LENGTH = 100_000


@transaction.atomic
def save_draft(*, user: User, application: Application | None, fields: Mapping[str, Sequence[str]]) -> Draft:
    """Keep what `user` has typed, instead of what was kept before. Raises RefusedError if it is too much or no text."""
    kept = {name: list(values) for name, values in fields.items() if any(values)}
    if not all(is_storable(text) for name, values in kept.items() for text in (name, *values)):
        raise RefusedError(_("There is a character in this that cannot be kept."))
    if len(json.dumps(kept)) > MAX_LENGTH:
        raise RefusedError(_("This is too much to keep as a draft. Shorten the description."))
    draft, _is_new = Draft.objects.update_or_create(user=user, application=application, defaults={"fields": kept})
    return draft


def delete_draft(*, user: User, application: Application | None) -> None:
    """Forget what was kept, because it has been sent or is no longer wanted."""
    Draft.objects.filter(user=user, application=application).delete()
