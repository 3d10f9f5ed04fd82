"""The review desk's template filters."""

from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

register = template.Library()


@register.filter
def age(moment: datetime) -> str:
    """Return how long ago that was, in its largest unit only: "3 days"."""
    return timesince(moment, depth=1) if (timezone.now() - moment).total_seconds() >= 60 else _("less than a minute")


@register.filter
def status_badge(status: str) -> str:
    """Return the class of the badge that shows a status or an outcome."""
    return {
        "approved": "badge-success",
        "waiting": "badge-warning",
        "pending": "badge-warning",
        "changes_requested": "badge-warning",
        "rejected": "badge-error",
        "suspended": "badge-error",
    }.get(status, "")
