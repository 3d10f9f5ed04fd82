"""Indexes by which housekeeping finds what is dead, made without holding up anybody who writes.

Two are on tables of django-oauth-toolkit, whose models' state is not ours to change: they are in the database only.
All are dropped by name first: a migration that is broken off is run again from its beginning, and what was made before
is then there, the last one perhaps invalid.
"""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

OUTSIDE_THE_STATE = {
    # Services' tokens: each of their requests leaves one.
    "service_tokens_by_end": "oauth2_provider_accesstoken (expires) WHERE user_id IS NULL",
    # Users': how long a refresh token is valid beyond its access token depends on the application's profile.
    "user_tokens_by_end": "oauth2_provider_accesstoken (application_id, expires) WHERE user_id IS NOT NULL",
}


def make_outside_the_state():
    return [
        migrations.RunSQL(
            [f"DROP INDEX CONCURRENTLY IF EXISTS {name}", f"CREATE INDEX CONCURRENTLY {name} ON {definition}"],
            [f"DROP INDEX CONCURRENTLY IF EXISTS {name}"],
        )
        for name, definition in OUTSIDE_THE_STATE.items()
    ]


class MakeIndexAnew(AddIndexConcurrently):
    """Makes the index whether or not there is one of that name already."""

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        schema_editor.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {schema_editor.quote_name(self.index.name)}")
        super().database_forwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("tokens", "0001_initial"),
        # The last of the library's that touches these tables.
        ("oauth2_provider", "0022_refreshtoken_token_family_index"),
    ]

    operations = [
        MakeIndexAnew(
            "grant",
            models.Index(
                fields=["expires"], condition=models.Q(("spent_at__isnull", True)), name="unspent_codes_by_end"
            ),
        ),
        MakeIndexAnew(
            "grant",
            models.Index(
                fields=["spent_at"], condition=models.Q(("spent_at__isnull", False)), name="spent_codes_by_age"
            ),
        ),
        MakeIndexAnew(
            "tokenfamily",
            models.Index(
                fields=["revoked_at"],
                condition=models.Q(("revoked_at__isnull", False)),
                name="revoked_families_by_age",
            ),
        ),
        *make_outside_the_state(),
    ]
