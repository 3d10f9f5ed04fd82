"""Indexes by which housekeeping finds what is old, made without holding up anybody who writes.

They are dropped by name first: a migration that is broken off is run again from its beginning, and what was made before
is then there, the last one perhaps invalid.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class MakeIndexAnew(AddIndexConcurrently):
    """Makes the index whether or not there is one of that name already."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")
        super().database_forwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("developers", "0006_added_members")]

    operations = [
        MakeIndexAnew("draft", models.Index(fields=["updated_at"], name="drafts_by_age")),
        MakeIndexAnew(
            "invitation",
            models.Index(
                fields=["expires_at"],
                condition=models.Q(("accepted_at__isnull", True)),
                name="open_invitations_by_end",
            ),
        ),
    ]
