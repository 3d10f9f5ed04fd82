"""The index by which a closed account's notifications are found, made without holding up anybody who writes."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("webhooks", "0004_sent_again_at")]

    operations = [
        AddIndexConcurrently(
            "notification",
            models.Index(fields=["connection_id"], name="notifications_by_connection"),
        ),
    ]
