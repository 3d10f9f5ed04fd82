from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Count",
            fields=[
                ("key", models.UUIDField(primary_key=True, serialize=False, verbose_name="key")),
                ("span", models.BigIntegerField(verbose_name="span")),
                ("hits", models.IntegerField(verbose_name="hits")),
                ("ends_at", models.DateTimeField(verbose_name="ends")),
            ],
            options={
                "verbose_name": "count",
                "verbose_name_plural": "counts",
                "default_permissions": (),
                "indexes": [models.Index(fields=["ends_at"], name="counts_by_end")],
            },
        ),
        # Not logged: counting costs no write to disk that anybody waits for, and a count is worth no recovery.
        # Room in each page: a row is changed many times, in place.
        migrations.RunSQL(
            "ALTER TABLE limits_count SET UNLOGGED; ALTER TABLE limits_count SET (fillfactor = 50)",
            migrations.RunSQL.noop,
        ),
    ]
