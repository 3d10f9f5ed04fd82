"""Indexes by which housekeeping finds what is old, made without holding up anybody who writes."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("developers", "0006_added_members")]

    operations = [
        AddIndexConcurrently("draft", models.Index(fields=["updated_at"], name="drafts_by_age")),
        AddIndexConcurrently(
            "invitation",
            models.Index(
                fields=["expires_at"],
                condition=models.Q(("accepted_at__isnull", True)),
                name="open_invitations_by_end",
            ),
        ),
    ]
