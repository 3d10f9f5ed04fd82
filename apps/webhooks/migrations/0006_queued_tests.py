"""The index of test messages, the only ones that a paused endpoint is sent; made without holding up anybody who writes."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("webhooks", "0005_notifications_by_connection")]

    operations = [
        AddIndexConcurrently(
            "notification",
            models.Index(
                fields=["endpoint", "next_attempt_at"],
                condition=models.Q(("notification_type", "test"), ("state", "queued")),
                name="queued_tests",
            ),
        ),
    ]
