import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0006_queued_tests")]

    operations = [
        migrations.CreateModel(
            name="PersonToForget",
            fields=[
                ("user_id", models.UUIDField(editable=False, primary_key=True, serialize=False)),
                ("asked_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="asked")),
            ],
            options={
                "verbose_name": "person to forget",
                "verbose_name_plural": "people to forget",
            },
        ),
    ]
