"""What the background worker does for this app."""

from datetime import datetime, timedelta

from django.utils.translation import gettext_lazy as _
from procrastinate.contrib.django import app

from apps.housekeeping.chores import chore
from apps.housekeeping.dead import Dead, DeadRows
from apps.housekeeping.models import HousekeepingRun

#: Runs are shown, and kept, for so long.
RUN_LIFETIME = timedelta(days=30)


@app.periodic(cron="31 3 * * *")
@app.task(queueing_lock="delete-old-runs", pass_context=False)
@chore(_("Records of these runs, after 30 days"))
def delete_old_runs(now: datetime) -> list[Dead]:
    """Delete the records of old runs."""
    return [DeadRows(HousekeepingRun.objects.filter(started_at__lt=now - RUN_LIFETIME))]
