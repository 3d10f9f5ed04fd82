from django.conf import settings
from django.db import migrations
from django.db.models import F

BATCH = 500


def fill(apps, schema_editor):
    """Give each application what the portal needs of it: its team, its waiting submission, its secret's age.

    In batches, each its own transaction; running it twice does nothing the second time.
    """
    Application = apps.get_model("developers", "Application")
    TeamMember = apps.get_model("developers", "TeamMember")
    Submission = apps.get_model("developers", "Submission")
    keys = list(Application.objects.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), BATCH):
        batch = Application.objects.filter(pk__in=keys[start : start + BATCH])
        batch.update(client_secret_created_at=F("created"))
        TeamMember.objects.bulk_create(
            [
                TeamMember(application_id=pk, user_id=user_id, role="owner")
                for pk, user_id in batch.filter(user__isnull=False).values_list("pk", "user_id")
            ],
            ignore_conflicts=True,
        )
        waiting = batch.filter(status="pending", submissions__isnull=True).exclude(profile="service")
        Submission.objects.bulk_create(
            [
                Submission(
                    application=application,
                    number=1,
                    description=application.description,
                    scopes=[
                        {"scope": row.scope, "reason": row.reason, "is_optional": row.is_optional}
                        for row in application.requested_scopes.order_by("pk")
                    ],
                    submitted_by=application.user,
                    submitted_at=application.created,
                )
                for application in waiting.select_related("user").prefetch_related("requested_scopes")
            ],
            ignore_conflicts=True,
        )


class Migration(migrations.Migration):

    atomic = False

    dependencies = [
        ("developers", "0002_portal"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [migrations.RunPython(fill, migrations.RunPython.noop)]
