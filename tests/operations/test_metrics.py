"""What Prometheus reads: figures of every kind, nothing about anybody, to those who know the token only."""

import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateEvent, ProcrastinateJob
from prometheus_client.parser import text_string_to_metric_families

from apps.audit import trail
from apps.audit.models import AuditEvent
from apps.housekeeping.models import HousekeepingRun
from apps.operations import selectors
from apps.operations.backups.history import last_backups
from apps.telemetry import shared_folder
from apps.telemetry.exposition import serve_figures
from apps.webhooks.models import Endpoint, Notification
from apps.webhooks.services import send_test, set_endpoint
from tests.conftest import queue_mails, run_worker
from tests.webhooks.receivers import receiving, respond

TOKEN = secrets.token_urlsafe(24)


@pytest.fixture
def scrape(settings):
    """Read the page as Prometheus does; returns its samples by name and labels."""
    settings.METRICS_TOKEN = TOKEN

    def read():
        response = Client(headers={"host": "10.42.0.17"}).get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})
        assert response.status_code == 200
        return samples_of(response.content.decode())

    return read


def samples_of(text):
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def grown(before, after):
    """What has been counted in between, without the parts of histograms."""
    differences = {key: value - before.get(key, 0) for key, value in after.items()}
    return {key: value for key, value in differences.items() if value and key[0].endswith(("_total", "_count"))}


# --- who may read them -------------------------------------------------------------------------------------


def test_without_a_token_in_the_settings_there_is_no_such_page(settings):
    settings.METRICS_TOKEN = ""

    for authorization in ("", "Bearer ", "Bearer"):
        assert Client().get("/metrics", headers={"authorization": authorization}).status_code == 404


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", TOKEN, f"Basic {TOKEN}", "Bearer \xe9"],
    # The processes of a parallel run have to find the same names.
    ids=["nothing", "no token", "empty", "longer", "shorter", "no scheme", "another scheme", "not ASCII"],
)
def test_without_the_token_nothing_is_told(settings, authorization):
    settings.METRICS_TOKEN = TOKEN

    response = Client().get("/metrics", headers={"authorization": authorization})

    assert (response.status_code, response.content) == (401, b"")
    assert response["WWW-Authenticate"] == "Bearer"


def test_administrator_without_the_token_is_not_told(settings, administrator):
    settings.METRICS_TOKEN = TOKEN

    assert administrator.get("/metrics").status_code == 401


# --- requests ------------------------------------------------------------------------------------------------


def test_requests_are_counted_by_door_grant_and_outcome(scrape, transactional_db, application, browser, exchange):
    code = browser.authorize(application)
    before = scrape()

    exchange(application, code, client_secret="wrong")
    exchange(application, code)
    exchange(application, code)

    after = scrape()
    name, door, grant = "countersign_oauth_requests_total", ("door", "token-receipts"), ("grant", "authorization_code")
    counted = {key: value for key, value in grown(before, after).items() if key[0] == name}
    assert counted == {
        (name, door, grant, ("outcome", outcome)): 1 for outcome in ("ok", "invalid_client", "invalid_grant")
    }
    seconds = ("countersign_request_seconds_count", door)
    assert grown(before, after)[seconds] == 3


def test_authorizations_are_counted_by_outcome(scrape, transactional_db, application, browser):
    before = scrape()

    browser.authorize(application)
    browser.answer(browser.ask(application, prompt="consent"), decision="deny")
    browser.ask(application, redirect_uri="https://evil.example/")
    browser.ask(application, response_type="token")

    counted = grown(before, scrape())
    outcomes = {dict(key[1:])["outcome"] for key in counted if key[0] == "countersign_oauth_requests_total"}
    assert outcomes == {"ok", "access_denied", "redirect_uri_mismatch", "unsupported_response_type"}


def test_strangers_make_no_labels(scrape, db):
    scrape()
    before = set(scrape())

    for number in range(5):
        Client().get(f"/nothing-{number}/")
        Client().generic(f"METHOD{number}", "/oauth/token")
        Client().post("/oauth/token", {"grant_type": f"made-up-{number}"})

    new = set(scrape()) - before
    assert not any("made-up" in str(key) or "nothing" in str(key) or "METHOD" in str(key) for key in new)
    assert len({key for key in new if key[0] == "countersign_requests_total"}) <= 3


def test_no_label_tells_of_a_user_or_a_client(scrape, transactional_db, member, make_application, connect, password):
    application = make_application("portal")
    connect(application)
    Client().post("/account/login/", {"login": member.email, "password": password})

    text = str(scrape())

    for personal in (member.email, str(member.pk), application.client_id, str(application.row.pk), "Example"):
        assert personal not in text


def test_log_ins_are_counted_by_outcome(scrape, transactional_db, organisation, member, password):
    before = scrape()

    for word in ("wrong", password):
        Client().post("/account/login/", {"login": member.email, "password": word})

    counted = grown(before, scrape())
    assert counted["countersign_logins_total", ("outcome", "refused")] == 1
    assert counted["countersign_logins_total", ("outcome", "ok")] == 1


def test_counting_sends_no_statement(transactional_db, make_application, connect, refresh, django_assert_num_queries):
    """Three is what a refresh takes anyway (tests/protocol/test_statements.py)."""
    application = make_application("portal")
    token = connect(application)["refresh_token"]

    with django_assert_num_queries(3):
        refresh(application, token)


# --- the worker ------------------------------------------------------------------------------------------------


def test_deliveries_jobs_and_mails_are_counted_by_outcome(scrape, transactional_db, make_application, settings):
    ProcrastinateJob.objects.all().delete()
    before = scrape()

    for status in (200, 500):
        application = make_application("connection")
        with receiving(respond(status)) as receiver:
            set_endpoint(application=application.row, actor=None, url=receiver.url)
            send_test(application=application.row)
            run_worker(queues=["webhooks"])
    settings.EMAIL_BACKEND = "tests.telemetry.broken_mail.BrokenBackend"
    queue_mails("somebody@example.com")
    run_worker(queues=["mail"])

    counted = grown(before, scrape())
    assert counted["countersign_webhook_deliveries_total", ("outcome", "delivered")] == 1
    assert counted["countersign_webhook_deliveries_total", ("outcome", "status")] == 1
    assert counted["countersign_webhook_delivery_seconds_count",] == 2
    assert counted["countersign_mails_total", ("outcome", "tried_again")] == 1
    labels = [dict(key[1:]) for key in counted if key[0] == "countersign_jobs_total"]
    tasks = {one["task"]: one["outcome"] for one in labels if "forgotten" not in one["task"]}
    assert tasks == {"apps.webhooks.tasks.deliver": "ok", "apps.organisations.tasks.send_mail": "failed"}
    assert "somebody" not in str(scrape())


def test_worker_tells_its_figures_at_a_port_of_its_own():
    server = serve_figures(host="127.0.0.1", port=0, token=TOKEN)
    address = f"http://127.0.0.1:{server.server_port}"

    def read(path, authorization):
        request = urllib.request.Request(address + path, headers={"Authorization": authorization})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    try:
        assert read("/metrics", "Bearer wrong") == (401, "")
        assert read("/metrics", "") == (401, "")
        assert read("/other", f"Bearer {TOKEN}") == (404, "")
        status, text = read("/metrics", f"Bearer {TOKEN}")
    finally:
        server.shutdown()
        server.server_close()

    assert status == 200
    assert ("countersign_mails_total", ("outcome", "sent")) in samples_of(text)


# --- what the database knows -------------------------------------------------------------------------------------


def test_queue_workers_keys_and_chores_are_told(scrape, transactional_db):
    ProcrastinateJob.objects.all().delete()
    queue_mails(*(f"{number}@example.com" for number in range(3)))
    first = ProcrastinateJob.objects.order_by("pk").first()
    ProcrastinateEvent.objects.filter(job_id=first.pk).update(at=timezone.now() - timedelta(minutes=5))
    ended = timezone.now() - timedelta(hours=2)
    name = "apps.tokens.tasks.delete_dead_codes"
    HousekeepingRun.objects.create(task=name, started_at=ended, ended_at=ended)
    HousekeepingRun.objects.create(task=name, ended_at=timezone.now(), error="OperationalError")
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_workers")
        cursor.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '90 s')")
        cursor.execute(
            "INSERT INTO tokens_signingkey (kid, algorithm, encrypted_private_key, public_jwk, created_at)"
            " SELECT 'old', 'RS256', '', '{}', now() - interval '400 days'"
            " WHERE NOT EXISTS (SELECT FROM tokens_signingkey WHERE algorithm = 'RS256' AND retired_at IS NULL)"
        )
        cursor.execute("UPDATE tokens_signingkey SET created_at = now() - interval '400 days'")

    try:
        told = scrape()
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_workers")
            cursor.execute("DELETE FROM tokens_signingkey WHERE kid = 'old'")
            cursor.execute("UPDATE tokens_signingkey SET created_at = now()")
        ProcrastinateJob.objects.all().delete()

    assert told["countersign_database_up",] == 1
    assert told["countersign_queue_jobs", ("queue", "mail"), ("state", "ready")] == 3
    assert 290 < told["countersign_queue_oldest_job_age_seconds", ("queue", "mail")] < 310
    assert told["countersign_workers",] == 0
    assert 89 < told["countersign_worker_heartbeat_age_seconds",] < 120
    assert told["countersign_signing_key_age_seconds", ("algorithm", "RS256")] >= 400 * 86400
    chore = told["countersign_housekeeping_last_success_timestamp_seconds", ("task", name)]
    assert abs(chore - ended.timestamp()) < 1
    assert told["countersign_database_connections", ("state", "active")] >= 1
    assert told["countersign_database_max_connections",] > 1


def test_last_backup_is_told(scrape, transactional_db):
    last = AuditEvent.objects.filter(tag="operator:backup:made").order_by("happened_at").last()
    before = scrape()["countersign_backup_last_success_timestamp_seconds",]
    assert abs(before - (last.happened_at.timestamp() if last else 0)) < 1

    with transaction.atomic():
        trail.record("operator:backup:made", secret_key=True)
        trail.record("operator:backup:restored", made_at="2026-11-21")

    assert abs(scrape()["countersign_backup_last_success_timestamp_seconds",] - time.time()) < 30


def test_last_backup_is_found_by_an_index(db):
    with connection.cursor() as cursor:
        # Of as few rows as here it would rather read all.
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    plan = last_backups().explain()
    assert "audit_by_tag" in plan
    assert "Sort" not in plan


def test_no_more_waiting_notifications_are_counted_than_is_quick(scrape, transactional_db, application, monkeypatch):
    endpoint = Endpoint.objects.create(application=application.row, url="https://partner.example/hooks")
    for _ in range(3):
        Notification.objects.create(application=application.row, endpoint=endpoint, body="{}", state="queued")
    assert scrape()["countersign_webhook_notifications_waiting",] == 3

    monkeypatch.setattr(selectors, "MOST_COUNTED", 2)
    assert scrape()["countersign_webhook_notifications_waiting",] == 2


def test_scrape_takes_the_same_few_statements_however_much_there_is(transactional_db, django_assert_num_queries):
    from apps.operations.gauges import _read_gauges

    with django_assert_num_queries(10):
        list(_read_gauges())
    queue_mails(*(f"{number}@example.com" for number in range(20)))
    with django_assert_num_queries(10):
        list(_read_gauges())


# --- several processes ----------------------------------------------------------------------------------------------

_COUNT = """
import sys, django
django.setup()
from apps.telemetry import exposition, metrics, shared_folder
shared_folder.fold_ended_processes()
metrics.requests.labels("token", "POST", "200").inc(int(sys.argv[1]))
metrics.request_seconds.labels("token").observe(0.03)
sys.stdout.write(exposition.write_figures().decode())
sys.stdout.flush()
sys.stdin.read()
"""
_REQUESTS = ("countersign_requests_total", ("door", "token"), ("method", "POST"), ("status", "200"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(shared_folder.VARIABLE, "")  # put back afterwards
    folder = tmp_path / "figures"
    shared_folder.prepare(folder)
    return folder


def counting(number):
    """A process of the web server that counts so many requests; returns it and what it tells then."""
    process = subprocess.Popen(
        [sys.executable, "-c", _COUNT, str(number)],
        cwd=django_settings.BASE_DIR,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    text = ""
    while "countersign_request_seconds_sum" not in text:
        line = process.stdout.readline()
        assert line, "the process has ended"
        text += line
    return process, text


def test_processes_are_added_up_and_those_that_ended_are_kept(folder):
    first, _told = counting(1)
    second, _told = counting(10)
    first.kill()
    first.communicate()
    third, _told = counting(100)  # folds what the first has left
    second.communicate("")
    fourth, told = counting(1000)

    try:
        assert told
        from apps.telemetry.exposition import write_figures

        together = samples_of(write_figures().decode())
        files = sorted(file.name for file in folder.glob("counter_*.db"))
    finally:
        third.communicate("")
        fourth.communicate("")

    assert together[_REQUESTS] == 1111
    assert together["countersign_request_seconds_count", ("door", "token")] == 4
    assert together["countersign_request_seconds_bucket", ("door", "token"), ("le", "0.05")] == 4
    assert files == sorted(["counter_0.db", f"counter_{third.pid}.db", f"counter_{fourth.pid}.db"])


def test_start_begins_with_an_empty_folder(folder):
    process, _told = counting(1)
    process.communicate("")
    assert list(folder.glob("*.db"))

    shared_folder.prepare(folder)

    assert list(folder.glob("*.db")) == []


def test_folder_that_others_may_write_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv(shared_folder.VARIABLE, "")
    folder = tmp_path / "figures"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        shared_folder.prepare(folder)

    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(PermissionError):
        shared_folder.prepare(link)
