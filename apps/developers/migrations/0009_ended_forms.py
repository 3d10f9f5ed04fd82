import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("developers", "0008_form_keys"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="EndedForm",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="ended_form",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("form_key", models.UUIDField()),
                ("ended_at", models.DateTimeField(default=django.utils.timezone.now, verbose_name="ended")),
            ],
            options={
                "verbose_name": "ended form",
                "verbose_name_plural": "ended forms",
                "indexes": [models.Index(fields=["ended_at"], name="ended_forms_by_age")],
            },
        ),
    ]
