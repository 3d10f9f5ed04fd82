"""Which applications the queue shows, in which order."""

import uuid
from collections.abc import Collection

from django.db.models import F, QuerySet

from apps.console.reviewing.forms import SHOW_ALL, SHOW_WAITING
from apps.developers.models import Application
from apps.developers.selectors import (
    reviewable_applications,
    search_applications,
    with_owners,
    with_waiting_submission,
)


def list_queue(
    *, organisation_ids: Collection[uuid.UUID], status: str, profile: str, organisation: str, text: str
) -> QuerySet[Application]:
    """Return the applications of the queue: what waits longest first, of other statuses what changed last first.

    An approved application of which an update waits is under "waiting" and under "approved".
    """
    applications = with_waiting_submission(reviewable_applications(organisation_ids))
    if status == SHOW_WAITING:
        applications = applications.filter(waiting__isnull=False).order_by("waiting_since", "pk")
    elif status == SHOW_ALL:
        applications = applications.order_by(F("waiting_since").asc(nulls_last=True), "-updated", "pk")
    else:
        applications = applications.filter(status=status).order_by("-updated", "pk")
    if profile:
        applications = applications.filter(profile=profile)
    if organisation:
        applications = applications.filter(organisation__slug=organisation)
    return with_owners(search_applications(applications, text)).defer("description")
