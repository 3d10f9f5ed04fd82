"""What the background worker tidies away, and what it must leave alone."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.management import CommandError, call_command
from django.utils import timezone
from oauth2_provider.models import AccessToken
from procrastinate.contrib.django import app

from apps.accounts.tasks import delete_expired_sessions
from apps.tokens import tasks
from apps.tokens.models import Grant


@pytest.fixture
def codes(browser, application, exchange) -> dict[str, int]:
    """Return the ids of a fresh, an expired, a just spent and a long spent code."""
    ids = {}
    for name, spend in {"fresh": False, "expired": False, "spent": True, "old": True}.items():
        code = browser.authorize(application)
        ids[name] = Grant.objects.latest("id").pk
        if spend:
            assert exchange(application, code).status_code == 200
    past = timezone.now() - timedelta(days=31)
    Grant.objects.filter(pk=ids["expired"]).update(expires=past)
    Grant.objects.filter(pk=ids["old"]).update(spent_at=past)
    return ids


@pytest.mark.parametrize("batch_size", [1, 5000])
def test_dead_codes_go_and_live_codes_and_recent_tombstones_stay(codes, monkeypatch, batch_size):
    monkeypatch.setattr(tasks, "BATCH_SIZE", batch_size)

    assert tasks.delete_dead_codes(timestamp=0) == 2

    assert set(Grant.objects.values_list("pk", flat=True)) == {codes["fresh"], codes["spent"]}


def test_expired_tokens_of_services_go_and_all_others_stay(partner, make_application, connect):
    service = make_application("service")
    body = {"grant_type": "client_credentials", **service.credentials}
    for _ in range(2):
        assert partner.post("/oauth/token", body).status_code == 200
    past = timezone.now() - timedelta(seconds=1)
    AccessToken.objects.filter(pk=AccessToken.objects.latest("pk").pk).update(expires=past)
    connect(make_application("portal"))
    AccessToken.objects.exclude(user=None).update(expires=past)

    assert tasks.delete_dead_service_tokens(timestamp=0) == 1

    assert AccessToken.objects.count() == 2


def test_dot_s_own_command_would_delete_tombstones_and_refuses():
    with pytest.raises(CommandError, match="background worker"):
        call_command("cleartokens")


def test_expired_sessions_go_and_live_ones_stay(browser):
    live = browser.client.session.session_key
    Session.objects.create(session_key="x" * 32, session_data="", expire_date=timezone.now() - timedelta(days=1))

    delete_expired_sessions(timestamp=0)

    assert list(Session.objects.values_list("session_key", flat=True)) == [live]


def test_the_worker_knows_its_periodic_tasks():
    names = {periodic.task.name for periodic in app.periodic_registry.periodic_tasks.values()}

    assert names == {
        "apps.tokens.tasks.delete_dead_codes",
        "apps.tokens.tasks.delete_dead_service_tokens",
        "apps.tokens.tasks.end_connections_of_deleted_applications",
        "apps.accounts.tasks.delete_expired_sessions",
        "apps.activity.tasks.delete_old_activity_counts",
        "apps.organisations.tasks.remove_old_jobs",
        "apps.organisations.tasks.resume_mails",
    }
