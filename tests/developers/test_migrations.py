"""The migrations run forward over a database that has applications already."""

import importlib

import pytest
from django.apps import apps as current_apps
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from apps.accounts.models import User
from apps.developers.models import Application, Submission, TeamMember
from apps.organisations.models import Organisation

BEFORE = [("developers", "0001_initial")]
STATUSES = ["pending", "approved", "rejected", "suspended"]


@pytest.fixture
def old_apps(transactional_db):
    """The models as they were before the portal; afterwards the database is as it was."""
    executor = MigrationExecutor(connection)
    executor.migrate(BEFORE)
    yield executor.loader.project_state(BEFORE).apps
    migrate_to_latest()


def migrate_to_latest():
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


@pytest.fixture
def old_applications(old_apps, make_user):
    """An application in every status, one without an owner, and a service; more than one of the migration's batches."""
    old_application_model = old_apps.get_model("developers", "Application")
    organisation = Organisation.objects.create(slug="receipts", name="Kuittila", domain="receipts.example")
    owner = make_user("owner@example.com")

    def make(name, **fields):
        return old_application_model.objects.create(
            name=name,
            organisation_id=organisation.pk,
            client_type="confidential",
            authorization_grant_type="authorization-code",
            **{"profile": "connection", "scopes": ["receipt:write"], "description": f"About {name}", **fields},
        )

    for status in STATUSES:
        make(status, status=status, user_id=owner.pk)
    make("nobody", status="pending")
    make("service", status="pending", profile="service", scopes=[])
    requested_scope_model = old_apps.get_model("developers", "RequestedScope")
    for row in old_application_model.objects.filter(profile="connection"):
        requested_scope_model.objects.create(application=row, scope="receipt:write", reason=f"For {row.name}.")
    return owner


def everything():
    """Every row that the migration writes."""
    return [list(model.objects.order_by("pk").values()) for model in (Application, TeamMember, Submission)]


@pytest.mark.django_db(transaction=True)
def test_what_there_was_gets_its_team_and_what_waits_its_submission(old_applications):
    secrets = dict(raw("SELECT name, client_secret FROM developers_application"))
    migrate_to_latest()

    owner = User.objects.get()
    members = TeamMember.objects.values_list("application__name", "user", "role")
    assert set(members) == {(status, owner.pk, "owner") for status in STATUSES}
    submissions = {row.application.name: row for row in Submission.objects.select_related("application")}
    assert set(submissions) == {"pending", "nobody"}
    waiting = submissions["pending"]
    assert (waiting.number, waiting.outcome, waiting.submitted_by, waiting.terms) == (1, "waiting", owner, None)
    assert waiting.description == "About pending"
    assert waiting.scopes == [{"scope": "receipt:write", "reason": "For pending.", "is_optional": False}]
    assert waiting.submitted_at == waiting.application.created
    assert submissions["nobody"].submitted_by is None
    for row in Application.objects.all():
        assert row.status == (row.name if row.name in STATUSES else "pending")
        assert row.client_secret_created_at == row.created
        assert (row.client_secret, row.previous_client_secret) == (secrets[row.name], "")
        assert not row.has_previous_secret


@pytest.mark.django_db(transaction=True)
def test_running_it_again_changes_nothing(old_applications):
    migrate_to_latest()
    before = everything()
    migration = importlib.import_module("apps.developers.migrations.0003_teams_and_submissions_of_what_is_there")
    migration.fill(current_apps, None)

    assert everything() == before


@pytest.mark.django_db(transaction=True)
def test_more_applications_than_one_batch(old_applications, monkeypatch):
    migration = importlib.import_module("apps.developers.migrations.0003_teams_and_submissions_of_what_is_there")
    monkeypatch.setattr(migration, "BATCH", 2)
    migrate_to_latest()

    assert TeamMember.objects.count() == len(STATUSES)
    assert Submission.objects.count() == 2


def raw(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()
