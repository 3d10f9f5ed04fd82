from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_shared_cache")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="closed_at",
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name="closed"),
        ),
        migrations.AddConstraint(
            model_name="user",
            constraint=models.CheckConstraint(
                condition=models.Q(("closed_at__isnull", True), ("is_active", False), _connector="OR"),
                name="closed_account_is_inactive",
                violation_error_message="This account is closed for good.",
            ),
        ),
    ]
