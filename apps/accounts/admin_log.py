"""The administration's own log, which Django writes: it says what the rows were called that somebody changed."""

import json
from collections.abc import Iterable

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext

from apps.accounts.models import User
from apps.audit.models import AuditPerson

#: Rows that are called by a person's name or address, or were by earlier versions.
_KINDS = ("user", "reviewer", "teammember", "emailaddress")
#: What comes after the name: "… (Viewer)", "… @ Receipts".
_AFTER_A_NAME = (" (", " @ ")


def names_of(user: User, *, addresses: Iterable[str]) -> set[str]:
    """Return what the user is called in logs: now, and as far as the audit trail remembers, before."""
    events = AuditPerson.objects.filter(user_id=user.pk).exclude(name="")
    return {str(user), user.email, *addresses, *events.values_list("name", flat=True).distinct()} - {""}


def forget_in_admin_log(*, user: User, names: set[str]) -> None:
    """Take out of the log what names the user. That somebody changed something, and when, stays.

    A namesake loses their name there as well: of whom an entry tells is to be found in the audit trail.
    """
    about = LogEntry.objects.filter(content_type=ContentType.objects.get_for_model(User), object_id=str(user.pk))
    about.update(object_repr=str(user.pk))
    for name in names:
        of_people = LogEntry.objects.filter(content_type__model__in=_KINDS, object_repr__startswith=name[:200])
        for entry in of_people.iterator():
            LogEntry.objects.filter(pk=entry.pk).update(object_repr=_without(name, entry.object_repr))
        # JSON, in ASCII.
        for entry in LogEntry.objects.filter(change_message__contains=json.dumps(name)[1:-1]).iterator():
            LogEntry.objects.filter(pk=entry.pk).update(change_message=_message_without(name, entry.change_message))


def _without(name: str, label: str) -> str:
    """Return what a row was called, without the name, if it is that name or begins with it."""
    is_name = label == name or label.startswith(tuple(name + after for after in _AFTER_A_NAME)) or label == name[:200]
    return f"{gettext('Closed account')}{label[len(name) :]}" if is_name else label


def _message_without(name: str, message: str) -> str:
    try:
        changes = json.loads(message)
    except ValueError:  # in words of somebody's own: not ours
        return message
    if not isinstance(changes, list):
        return message
    for facts in (facts for change in changes if isinstance(change, dict) for facts in change.values()):
        if isinstance(facts, dict) and str(facts.get("name", "")).replace(" ", "") in _KINDS:
            facts["object"] = _without(name, str(facts.get("object", "")))
    return json.dumps(changes)
