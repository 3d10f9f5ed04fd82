from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("webhooks", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="endpoint",
            name="rests_until",
            field=models.DateTimeField(blank=True, null=True, verbose_name="rests until"),
        ),
        migrations.AlterField(
            model_name="endpoint",
            name="pause_reason",
            field=models.CharField(
                blank=True,
                choices=[
                    ("team", "Paused by the team"),
                    ("failing", "Paused because it failed for days"),
                    ("gone", "Paused because the receiver answered 410 Gone"),
                ],
                max_length=16,
                verbose_name="why it is paused",
            ),
        ),
    ]
