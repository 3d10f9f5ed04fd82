from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("developers", "0007_indexes_for_housekeeping")]

    operations = [
        migrations.AddField(
            model_name="teammember",
            name="form_key",
            field=models.CharField(db_default="", default="", editable=False, max_length=32),
        ),
    ]
