"""Deleting an application: everything of it stops at once, its connections end in the background, the record stays."""

import pytest
from django.test import Client
from oauth2_provider.models import AccessToken, RefreshToken
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.connections.models import Connection, EndReason
from apps.console.services import delete_application
from apps.developers.models import HistoryKind, Role, Status, TeamMember
from apps.tokens import tasks
from apps.tokens.models import Grant
from tests.conftest import run_job
from tests.console.test_dashboard_pages import address, text_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def team_client(owner):
    client = Client()
    client.force_login(owner)
    return client


@pytest.fixture
def customer(make_application, owner):
    """A loyalty application with a team: its access and refresh tokens expire, so there is one of each to try."""
    registered = make_application("customer")
    TeamMember.objects.create(application=registered.row, user=owner, role=Role.OWNER)
    return registered


@pytest.fixture
def delete(team_client):
    def call(application, name=None):
        data = {"name": application.name if name is None else name}
        return team_client.post(address(application, "delete/"), data, follow=True)

    return call


def run_jobs():
    for row in ProcrastinateJob.objects.filter(
        task_name="apps.tokens.tasks.end_connections_of_application", status="todo"
    ):
        run_job(row)


@pytest.mark.parametrize("name", ["", "penni budget", "Penni Budget!", "Penni"])
def test_nothing_is_deleted_unless_the_name_is_typed(delete, live, name):
    response = delete(live, name)

    live.refresh_from_db()
    assert response.status_code == 400
    assert live.status == Status.APPROVED


def test_how_the_name_is_spaced_does_not_matter(delete, live):
    delete(live, "  Penni   Budget ")

    live.refresh_from_db()
    assert live.status == Status.DELETED


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.VIEWER])
def test_only_owners_delete(live, join, role):
    client = Client()
    client.force_login(join(live, role=role).user)

    assert "Only an owner" in text_of(client.get(address(live, "delete/")))
    assert client.post(address(live, "delete/"), {"name": live.name}).status_code == 403
    live.refresh_from_db()
    assert live.status == Status.APPROVED


def test_a_deleted_application_is_gone_for_its_team_and_stays_on_record(delete, live, team_client, mails):
    mails()
    response = delete(live)

    assert "Penni Budget is deleted" in text_of(response)
    assert team_client.get(address(live)).status_code == 404
    assert delete(live, "Penni Budget").status_code == 404
    live.refresh_from_db()
    assert live.history.latest("pk").kind == HistoryKind.DELETED
    assert live.submissions.exists()


def test_every_door_and_token_refuses_at_once(
    customer, connect, browser, exchange, refresh, call_with, introspect, make_application, partner, delete
):
    """Before the background worker has done anything."""
    tokens = connect(customer)
    code = browser.authorize(customer)
    service = make_application("service")
    assert introspect(service, tokens["access_token"])["active"]
    path = f"/membership?receipthero_id={Connection.objects.get().pk}&redirect_uri=https://partner.example/callback"
    assert browser.client.get(path).status_code == 200

    delete(customer.row)

    assert browser.ask(customer).status_code == 400
    assert exchange(customer, code).status_code == 401
    assert refresh(customer, tokens["refresh_token"]).status_code == 401
    assert call_with("/oauth/user", tokens["access_token"]).status_code == 401
    assert introspect(service, tokens["access_token"]) == {"active": False}
    assert introspect(service, tokens["refresh_token"]) == {"active": False}
    assert partner.post("/oauth/introspect", {"token": code, **customer.credentials}).status_code == 401
    assert partner.post("/oauth/revoke", {"token": code, **customer.credentials}).status_code == 401
    assert call_with("/api/oauth/revoke", tokens["access_token"], method="delete").status_code == 404
    assert browser.client.get(path).status_code == 404
    assert Connection.objects.active().count() == 1, "the worker has done its part already"


def test_users_no_longer_see_their_connection_to_it(customer, connect, browser, delete):
    connect(customer)
    connection = Connection.objects.get()
    assert customer.row.name in text_of(browser.client.get("/account/connections/"))

    delete(customer.row)

    assert customer.row.name not in text_of(browser.client.get("/account/connections/"))
    assert browser.client.get(f"/account/connections/{connection.pk}/remove/").status_code == 404


def test_the_background_worker_ends_all_connections(customer, connect, delete, make_user, monkeypatch):
    monkeypatch.setattr(tasks, "CONNECTION_BATCH_SIZE", 2)
    connect(customer)
    for number in range(5):
        Connection.objects.create(user=make_user(f"c{number}@example.com"), application=customer.row)
    delete(customer.row)

    run_jobs()

    assert not Connection.objects.active().exists()
    assert set(Connection.objects.values_list("end_reason", flat=True)) == {EndReason.APPLICATION}
    assert not AccessToken.objects.exists()
    assert not RefreshToken.objects.filter(revoked__isnull=True).exists()
    assert not Grant.objects.filter(spent_at__isnull=True).exists()


def test_a_run_that_was_broken_off_is_finished_by_the_next(customer, delete, make_user, monkeypatch):
    for number in range(4):
        Connection.objects.create(user=make_user(f"c{number}@example.com"), application=customer.row)
    delete(customer.row)
    end, ended = tasks.end_connection, []

    def end_two(**arguments):
        if len(ended) == 2:
            raise KeyboardInterrupt
        ended.append(arguments)
        return end(**arguments)

    monkeypatch.setattr(tasks, "end_connection", end_two)
    with pytest.raises(KeyboardInterrupt):
        run_jobs()
    assert Connection.objects.active().count() == 2
    monkeypatch.setattr(tasks, "end_connection", end)

    assert tasks.end_connections_of_deleted_applications(timestamp=0) == 2
    assert tasks.end_connections_of_deleted_applications(timestamp=0) == 0
    assert not Connection.objects.active().exists()


def test_connections_of_what_is_not_deleted_are_left_alone(customer, connect):
    connect(customer)

    assert tasks.end_connections_of_application(application_id=str(customer.row.pk)) == 0
    assert tasks.end_connections_of_deleted_applications(timestamp=0) == 0
    assert Connection.objects.active().count() == 1


def test_deleting_queues_the_job_in_the_same_transaction(customer, owner, monkeypatch):
    def fail(**arguments):
        raise RuntimeError

    monkeypatch.setattr(tasks.end_connections_of_application, "defer", fail)
    with pytest.raises(RuntimeError):
        delete_application(application=customer.row, actor=owner)

    customer.row.refresh_from_db()
    assert customer.row.status == Status.APPROVED
