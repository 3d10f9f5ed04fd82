"""What the audit trail knows of backups that were made."""

from datetime import datetime

from django.db.models import QuerySet

from apps.audit.models import AuditEvent

#: Recorded when an archive was written and read back.
MADE = "operator:backup:made"


def last_backups() -> "QuerySet[AuditEvent, datetime]":
    """Return when backups were made, the latest first, by the index of tags."""
    return AuditEvent.objects.filter(tag=MADE).order_by("-happened_at", "-id").values_list("happened_at", flat=True)


def find_last_backup() -> datetime | None:
    """Return when the last one was made."""
    return last_backups().first()
