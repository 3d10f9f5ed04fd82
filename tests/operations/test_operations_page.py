"""The page that shows administrators what the background worker does."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob

from apps.housekeeping import chores
from apps.housekeeping.models import HousekeepingRun
from apps.operations import selectors
from apps.organisations.models import Reviewer
from apps.organisations.queue import queue_jobs
from apps.organisations.tasks import send_mail
from apps.tokens import tasks
from apps.tokens.models import Grant
from apps.webhooks.models import Endpoint, Notification
from tests.conftest import queue_mails


def logged_in(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def operator(organisation, make_user):
    user = make_user("operator@example.com", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_housekeepingrun"))
    return logged_in(user)


@pytest.fixture
def others(organisation, make_user):
    reviewer = make_user("reviewer@example.com")
    Reviewer.objects.create(user=reviewer, organisation=organisation)
    return {
        "anonymous": Client(),
        "user": logged_in(make_user("user@example.com")),
        "reviewer": logged_in(reviewer),
        "staff": logged_in(make_user("staff@example.com", is_staff=True)),
    }


@pytest.mark.parametrize(("who", "status"), [("anonymous", 302), ("user", 403), ("reviewer", 403), ("staff", 403)])
def test_nobody_without_the_permission_sees_it(others, who, status):
    assert others[who].get("/operations/").status_code == status


def test_whoever_has_the_permission_sees_it_and_so_does_a_superuser(operator, administrator):
    assert operator.get("/operations/").status_code == 200
    assert administrator.get("/operations/").status_code == 200
    assert operator.post("/operations/").status_code == 405


def test_administration_leads_to_the_page(operator):
    assert "/admin/housekeeping/housekeepingrun/" in operator.get("/admin/").content.decode()
    assert operator.get("/admin/housekeeping/housekeepingrun/")["Location"] == "/operations/"
    assert operator.get("/admin/housekeeping/housekeepingrun/add/").status_code == 403


def shown(operator):
    response = operator.get("/operations/")
    assert response.status_code == 200
    return {task.name.rpartition(".")[2]: task for task in response.context["tasks"]}


def test_every_periodic_task_of_the_worker_is_there(operator):
    names = {periodic.task.name.rpartition(".")[2] for periodic in app.periodic_registry.periodic_tasks.values()}

    assert set(shown(operator)) == names
    assert set(chores.CHORES) <= set(app.tasks)


def test_latest_run_is_shown_and_what_is_due(operator, browser, application):
    browser.authorize(application)
    Grant.objects.update(expires=timezone.now() - timedelta(days=1))
    assert shown(operator)["delete_dead_codes"].run is None
    assert shown(operator)["delete_dead_codes"].due == 1

    HousekeepingRun.objects.create(
        task="apps.tokens.tasks.delete_dead_codes", rows=7, started_at=timezone.now() - timedelta(hours=1)
    )
    tasks.delete_dead_codes(timestamp=0)

    task = shown(operator)["delete_dead_codes"]
    assert task.due == 0
    assert (task.run.rows, task.run.is_failed, task.run.is_running) == (1, False, False)
    assert task.run.milliseconds >= 0


def test_more_than_can_be_counted_is_over_so_many(operator, browser, application, monkeypatch):
    monkeypatch.setattr(selectors, "MOST_COUNTED", 1)
    for _ in range(3):
        browser.authorize(application)
    Grant.objects.update(expires=timezone.now() - timedelta(days=1))

    task = shown(operator)["delete_dead_codes"]

    assert task.due == 2
    assert task.is_due_beyond_counting


def test_failed_running_and_broken_off_runs_are_told_apart(operator):
    now = timezone.now()
    name = "apps.tokens.tasks.delete_dead_"
    HousekeepingRun.objects.create(task=name + "codes", started_at=now, ended_at=now, error="OperationalError")
    HousekeepingRun.objects.create(task=name + "families", started_at=now)
    HousekeepingRun.objects.create(task=name + "service_tokens", started_at=now - timedelta(hours=1))

    found = shown(operator)

    assert found["delete_dead_codes"].run.is_failed
    assert found["delete_dead_families"].run.is_running
    assert found["delete_dead_service_tokens"].run.is_lost
    page = operator.get("/operations/").content.decode()
    assert "OperationalError" in page
    assert "broken off" in page


@pytest.fixture
def jobs(db):
    """Three mails that wait, one for later, one that was given up."""
    queue_mails(*(f"somebody-{number}@example.com" for number in range(4)))
    in_an_hour = timezone.now() + timedelta(hours=1)
    queue_jobs(send_mail, {"template": "greeting", "sealed": ""}, schedule_at=in_an_hour)
    first, *_, last = ProcrastinateJob.objects.filter(scheduled_at=None).order_by("pk")
    ProcrastinateEvent.objects.filter(job_id=first.pk).update(at=timezone.now() - timedelta(minutes=5))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'failed' WHERE id = %s", [last.pk])
    return first, last


def test_queues_are_shown_with_their_depth_and_the_oldest_that_waits(operator, jobs):
    response = operator.get("/operations/")

    [queue] = [queue for queue in response.context["queues"] if queue.name == "mail"]
    assert (queue.ready, queue.later, queue.doing, queue.failed) == (3, 1, 0, 1)
    assert timedelta(minutes=4) < timezone.now() - queue.oldest_at < timedelta(minutes=6)


def test_failed_jobs_are_shown_without_what_they_were_to_do(operator, jobs):
    response = operator.get("/operations/")

    [job] = response.context["failed_jobs"]
    assert (job.id, job.queue, job.task) == (jobs[1].pk, "mail", "apps.organisations.tasks.send_mail")
    assert "somebody" not in response.content.decode()


def test_it_says_whether_a_worker_is_alive(operator):
    assert "No worker has given a sign of life" in operator.get("/operations/").content.decode()
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")

    assert "A worker is running" in operator.get("/operations/").content.decode()


def test_webhooks_are_shown_with_what_waits_and_what_fails(operator, application):
    endpoint = Endpoint.objects.create(application=application.row, url="https://partner.example/hooks")
    for state, age in (("delivered", 1), ("delivered", 2), ("failed", 3), ("queued", 1), ("delivered", 25)):
        created_at = timezone.now() - timedelta(hours=age)
        Notification.objects.create(
            application=application.row, endpoint=endpoint, body="{}", state=state, created_at=created_at
        )
    Endpoint.objects.update(failing_since=timezone.now())

    webhooks = operator.get("/operations/").context["webhooks"]

    assert (webhooks.delivered, webhooks.failed, webhooks.waiting) == (2, 1, 1)
    assert (webhooks.failing_endpoints, webhooks.paused_endpoints) == (1, 0)
    assert not webhooks.are_not_all


def test_no_more_notifications_are_looked_at_than_is_quick(operator, application, monkeypatch):
    monkeypatch.setattr(selectors, "MOST_COUNTED", 2)
    endpoint = Endpoint.objects.create(application=application.row, url="https://partner.example/hooks")
    for state in ("delivered", "queued", "queued", "queued"):
        Notification.objects.create(application=application.row, endpoint=endpoint, body="{}", state=state)

    webhooks = operator.get("/operations/").context["webhooks"]

    assert webhooks.waiting == 2
    assert webhooks.is_waiting_beyond_counting
    assert webhooks.are_not_all


def test_task_without_a_record_of_its_own_is_read_from_the_queue(operator):
    task = app.tasks["apps.organisations.tasks.remove_old_jobs"]
    queue_jobs(task, {"timestamp": 1})
    row = ProcrastinateJob.objects.get()
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_periodic_defers (task_name, defer_timestamp, job_id) VALUES (%s, 1, %s)",
            [task.name, row.pk],
        )
        cursor.execute("UPDATE procrastinate_jobs SET status = 'doing' WHERE id = %s", [row.pk])
        cursor.execute("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id = %s", [row.pk])

    run = shown(operator)["remove_old_jobs"].run

    assert run.milliseconds is not None
    assert not run.is_failed


def test_page_takes_the_same_queries_however_much_there_is(operator, browser, application, jobs):
    def count():
        with CaptureQueriesContext(connection) as captured:
            assert operator.get("/operations/").status_code == 200
        return len(captured)

    before = count()
    for _ in range(3):
        browser.authorize(application)
    Grant.objects.update(expires=timezone.now() - timedelta(days=1))
    HousekeepingRun.objects.bulk_create(
        HousekeepingRun(task=name, ended_at=timezone.now()) for name in chores.CHORES for _ in range(3)
    )
    queue_mails(*["x@example.com"] * 5)

    assert count() == before
    assert before < 40
