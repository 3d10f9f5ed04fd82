"""The index by which housekeeping finds keys that have ended, made without holding up anybody who writes."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("webhooks", "0002_rest_and_gone")]

    operations = [
        AddIndexConcurrently(
            "endpointkey",
            models.Index(
                fields=["ends_at"], condition=models.Q(("ends_at__isnull", False)), name="webhook_keys_by_end"
            ),
        ),
    ]
