"""What administrators change at /admin/, taken where Django writes its own log of it.

Not by a signal: a deletion of several rows is logged in bulk, and sends none.
"""

import functools
import re
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.admin.models import ADDITION, CHANGE, DELETION
from django.db import transaction

from apps.audit.context import current_request
from apps.audit.trail import record

_ACTIONS = {ADDITION: "added", CHANGE: "changed", DELETION: "deleted"}


def with_audit(log_actions: Callable[..., Any]) -> Callable[..., Any]:
    """Return LogEntryManager.log_actions so that each of its entries is an event as well."""

    @functools.wraps(log_actions)
    def logging_and_recording(
        manager: Any, user_id: Any, queryset: Iterable[Any], action_flag: int, change_message: Any = "", **options: Any
    ) -> Any:
        rows = list(queryset)
        with transaction.atomic():
            logged = log_actions(manager, user_id, rows, action_flag, change_message, **options)
            for row in rows:
                _record(user_id, row, _ACTIONS[action_flag], _fields(change_message))
        return logged

    return logging_and_recording


def _record(user_id: Any, row: Any, action: str, fields: list[str]) -> None:
    label = row._meta.label
    facts: dict[str, Any] = {}
    if label == settings.AUTH_USER_MODEL:
        facts["about"] = row
    else:
        facts["object"] = str(row.pk)
        if isinstance(owner := getattr(row, "user_id", None), UUID):
            facts["about"] = owner
    if label == settings.OAUTH2_PROVIDER_APPLICATION_MODEL:
        facts["application"] = row
    elif label == "organisations.Organisation":
        facts["organisation"] = row
    if fields:
        facts["fields"] = fields
    name = re.sub(r"[^a-z]", "_", row._meta.model_name)
    record(f"administrator:{name}:{action}", actor=_actor(user_id), model=row._meta.label_lower, **facts)


def _actor(user_id: Any) -> Any:
    """Return the user of the request, who has a name; if it was somebody else, the id."""
    user = getattr(current_request.get(), "user", None)
    return user if user is not None and user.pk == user_id else user_id


def _fields(change_message: Any) -> list[str]:
    """Return the names of the fields that a form has changed, and of the kinds of rows added or deleted with it.

    Values, and what rows are called, stay out.
    """
    found: set[str] = set()
    for entry in change_message if isinstance(change_message, list) else []:
        for action, change in entry.items():
            found.update(map(str, change.get("fields", [])))
            if action != "changed" and "name" in change:
                found.add(f"{change['name']} ({action})")
    return sorted(found)
