"""What the background worker does for this app."""

from datetime import datetime, timedelta

from django.utils.translation import gettext_lazy as _
from procrastinate.contrib.django import app

from apps.activity.models import ActivityCount
from apps.housekeeping.chores import chore
from apps.housekeeping.dead import Dead, DeadRows

#: A year and some days, so that a year can be compared with the one before.
COUNT_LIFETIME = timedelta(days=400)


@app.periodic(cron="41 3 * * *")
@app.task(queueing_lock="delete-old-activity-counts", pass_context=False)
@chore(_("Counts of applications’ activity, after 400 days"))
def delete_old_activity_counts(now: datetime) -> list[Dead]:
    """Delete counts of days past their time."""
    return [DeadRows(ActivityCount.objects.filter(day__lt=now.date() - COUNT_LIFETIME))]
