"""What the background worker does for this app."""

from datetime import timedelta

from django.utils import timezone
from procrastinate.contrib.django import app

from apps.activity.models import ActivityCount

#: A year and some days, so that a year can be compared with the one before.
COUNT_LIFETIME = timedelta(days=400)
#: Rows deleted in one statement, so that none holds its locks for long.
BATCH_SIZE = 5_000


@app.periodic(cron="41 3 * * *")
@app.task(queueing_lock="delete-old-activity-counts", pass_context=False)
def delete_old_activity_counts(timestamp: int) -> int:
    """Delete counts of days past their time; returns how many rows went."""
    old = ActivityCount.objects.filter(day__lt=timezone.now().date() - COUNT_LIFETIME)
    total = 0
    while batch := list(old.values_list("pk", flat=True)[:BATCH_SIZE]):
        total += ActivityCount.objects.filter(pk__in=batch).delete()[0]
    return total
