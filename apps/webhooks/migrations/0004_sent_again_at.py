from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0003_keys_by_end")]

    operations = [
        migrations.AddField(
            model_name="endpoint",
            name="sent_again_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
