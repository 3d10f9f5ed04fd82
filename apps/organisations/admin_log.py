"""The administration's own log, which Django writes: it says which rows somebody changed, and names no person.

Pages call a reviewer or somebody on a team by their name, so that nobody deletes the wrong one. The log outlives the
page, and the account; there, such a row is called by what it has as `name_in_log`.
"""

import json
from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.http import HttpRequest


class NamelessLogAdmin(admin.ModelAdmin):
    """An administration page whose log calls rows, and the rows inside them, by `name_in_log` if they have one."""

    def log_addition(self, request: HttpRequest, obj: models.Model, message: Any) -> LogEntry:
        return _log(request, obj, ADDITION, message)

    def log_change(self, request: HttpRequest, obj: models.Model, message: Any) -> LogEntry:
        return _log(request, obj, CHANGE, message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[models.Model]) -> list[LogEntry]:
        return [_log(request, row, DELETION, "") for row in queryset]

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        message: Any = super().construct_change_message(request, form, formsets, add)
        # One entry for each of the rows inside, in this order; what is said of the form itself has no object.
        rows = [
            row
            for formset in formsets or ()
            for row in (
                *formset.new_objects,
                *(changed for changed, _fields in formset.changed_objects),
                *formset.deleted_objects,
            )
        ]
        inside = [facts for change in message for facts in change.values() if "object" in facts]
        for facts, row in zip(inside, rows, strict=True):
            facts["object"] = _name_of(row)
        return message


def _name_of(row: models.Model) -> str:
    return str(getattr(row, "name_in_log", row))


def _log(request: HttpRequest, row: models.Model, flag: int, message: Any) -> LogEntry:
    return LogEntry.objects.create(
        user_id=str(request.user.pk),
        content_type=ContentType.objects.get_for_model(row, for_concrete_model=False),
        object_id=str(row.pk),
        object_repr=_name_of(row)[:200],
        action_flag=flag,
        change_message=json.dumps(message) if isinstance(message, list) else message,
    )
