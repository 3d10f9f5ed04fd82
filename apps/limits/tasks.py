"""What the background worker does for this app."""

from datetime import datetime

from django.utils.translation import gettext_lazy as _
from procrastinate.contrib.django import app

from apps.housekeeping.chores import chore
from apps.housekeeping.dead import Dead, DeadRows
from apps.limits.models import Count


@app.periodic(cron="*/10 * * * *")
@app.task(queueing_lock="delete-old-counts", pass_context=False)
@chore(_("Counts of limits, when their time is over"))
def delete_old_counts(now: datetime) -> list[Dead]:
    """Delete counts whose span of time has ended."""
    return [DeadRows(Count.objects.filter(ends_at__lt=now))]
