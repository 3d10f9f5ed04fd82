"""What orchestrators ask: is the process alive, and can it serve?"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.fernet import Fernet
from django.conf import settings as django_settings
from django.db import DatabaseError, connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.operations import readiness
from apps.operations.deadline import Question
from apps.operations.readiness import inspector
from apps.telemetry import metrics
from apps.tokens import keys
from apps.tokens.models import SigningKey

#: How an orchestrator calls: by the address it knows, which is no host name of ours.
BY_ADDRESS = {"host": "10.42.0.17:8000"}


@pytest.fixture(autouse=True)
def _just_started():
    inspector.forget()
    yield
    inspector.forget()


@pytest.fixture
def worker(transactional_db):
    """Let a worker show a sign of life, so many seconds ago."""

    def show(seconds=0):
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM procrastinate_workers")
            cursor.execute(
                "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - make_interval(secs => %s))",
                [seconds],
            )

    yield show
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_workers")


def ask(query=""):
    response = Client(headers=BY_ADDRESS).get(f"/readyz{query}")
    return response.status_code, response.json()


# --- livez ----------------------------------------------------------------------------------------------


def test_process_that_answers_is_alive_whatever_the_database_does():
    """The test has no database: asking it would fail."""
    response = Client(headers=BY_ADDRESS).get("/livez")

    assert (response.status_code, response.json()) == (200, {"status": "ok"})
    assert response["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
def test_probes_are_read_only(path):
    assert Client().post(path).status_code == 405


@pytest.mark.parametrize("path", ["/livez/", "/livezz", "/account/login/", "/.well-known/jwks.json", "//livez"])
def test_other_addresses_still_refuse_a_foreign_host(path, db):
    assert Client(headers=BY_ADDRESS).get(path).status_code == 400


# --- readyz ---------------------------------------------------------------------------------------------


def test_everything_in_place_is_ready(worker):
    worker()

    assert ask() == (
        200,
        {"status": "ready", "database": "ok", "migrations": "ok", "keys": "ok", "worker": "ok"},
    )


@pytest.mark.parametrize("seconds", [61, 3600])
def test_web_serves_without_a_worker_and_says_so(worker, seconds):
    """A web server taken out of service for a worker's restart would make it an outage."""
    worker(seconds)

    status, answer = ask()

    assert (status, answer["status"], answer["worker"]) == (200, "degraded", "failed")


def test_whoever_needs_a_worker_is_told_that_there_is_none(worker):
    worker(3600)
    assert ask("?worker=required")[0] == 503
    inspector.forget()
    worker()
    assert ask("?worker=required")[0] == 200


def test_pending_migration_is_not_ready(worker):
    worker()
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'tokens' AND name = '0001_initial' RETURNING *")
        _id, app, name, applied = cursor.fetchone()
    try:
        status, answer = ask()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", [app, name, applied]
            )
    assert (status, answer["status"], answer["database"], answer["migrations"]) == (503, "unavailable", "ok", "failed")
    assert answer["keys"] == "unknown"

    inspector.forget()
    assert ask()[0] == 200


def test_keys_that_cannot_be_read_are_not_ready(worker):
    """As after a start with another deployment secret than that which they are encrypted with."""
    worker()
    keys.ensure_signing_keys()
    keys.forget_loaded_keys()
    SigningKey.objects.update(encrypted_private_key=Fernet(Fernet.generate_key()).encrypt(b"key"))

    status, answer = ask()

    assert (status, answer["status"], answer["keys"]) == (503, "unavailable", "failed")
    SigningKey.objects.all().delete()


def test_migrations_are_read_until_they_are_complete_and_then_no_more(worker, monkeypatch):
    worker()
    asked = []
    complete = readiness.are_migrations_complete

    def noted():
        asked.append(1)
        return complete()

    monkeypatch.setattr(readiness, "are_migrations_complete", noted)
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 0)
    for _ in range(3):
        assert ask()[0] == 200

    assert len(asked) == 1


def test_many_who_ask_at_once_cost_one_look(worker, monkeypatch):
    worker()
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 60)
    looks = []
    look = inspector._look
    monkeypatch.setattr(inspector, "_look", lambda: looks.append(1) or look())

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: ask(), range(16)))

    assert {status for status, _answer in answers} == {200}
    assert len(looks) == 1


def test_who_asks_while_another_asks_the_database_gets_the_answer_before(worker, monkeypatch):
    worker()
    assert ask()[0] == 200
    monkeypatch.setattr(readiness, "KEPT_SECONDS", 0)
    is_asked, may_answer = threading.Event(), threading.Event()

    def look():
        is_asked.set()
        assert may_answer.wait(20)
        return readiness.Readiness(database=readiness.FAILED)

    monkeypatch.setattr(inspector, "_look", look)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask)
        assert is_asked.wait(20)
        assert ask()[0] == 200
        # One that is too old is worth nothing: then everybody waits.
        monkeypatch.setattr(readiness, "PASSED_ON_SECONDS", 0)
        with ThreadPoolExecutor(1) as another:
            second = another.submit(ask)
            time.sleep(0.2)
            assert not second.done()
            may_answer.set()
            assert second.result()[0] == 503
        assert first.result()[0] == 503


def test_question_that_no_thread_could_ask_is_asked_the_next_time(transactional_db, monkeypatch):
    question = Question(lambda: "answer", seconds=5)
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "question":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(TimeoutError):
        question.answer()

    monkeypatch.undo()
    assert question.answer() == "answer"


def ready_in_a_process_of_its_own(url):
    """Ask a process that has just started on that database; returns the answer and how many seconds it took."""
    program = (
        "import time, json, config.wsgi\n"
        "from django.test import Client\n"
        "start = time.monotonic()\n"
        "response = Client().get('/readyz')\n"
        "print(json.dumps([response.status_code, response.json(), time.monotonic() - start]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=django_settings.BASE_DIR,
        env=os.environ | {"DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("is_silent", [True, False])
def test_database_that_is_away_or_silent_is_told_in_time(is_silent):
    """One refuses to be talked to, the other one takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"postgresql://somebody:hush-hush@127.0.0.1:{listener.getsockname()[1]}/nothing"
        if not is_silent:
            listener.close()
        status, answer, seconds = ready_in_a_process_of_its_own(url)

    assert status == 503
    assert answer == {
        "status": "unavailable",
        "database": "failed",
        "migrations": "unknown",
        "keys": "unknown",
        "worker": "unknown",
    }
    assert seconds < 15  # 1.5 of them, on a machine that does much else


def test_question_is_given_up_in_time_and_asked_once_at_a_time(transactional_db):
    asked = []

    def ask_slowly():
        asked.append(1)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")

    question = Question(ask_slowly, seconds=0.3)
    start = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        results = [pool.submit(question.answer) for _ in range(4)]
        errors = [result.exception() for result in results]

    assert time.monotonic() - start < 20
    assert all(isinstance(error, TimeoutError | DatabaseError) for error in errors)
    assert len(asked) == 1


# --- what probes leave behind -----------------------------------------------------------------------------


def test_probes_are_neither_counted_nor_logged_nor_in_need_of_a_session(worker, caplog, settings):
    settings.METRICS_TOKEN = ""
    worker(3600)
    caplog.set_level("INFO")
    before = metrics.request_seconds.collect()

    paths = ("/livez", "/readyz", "/readyz?worker=required", "/metrics")
    responses = [Client(headers=BY_ADDRESS).get(path) for path in paths]

    assert [response.status_code for response in responses] == [200, 200, 503, 404]
    assert metrics.request_seconds.collect() == before
    assert [record for record in caplog.records if record.name in ("countersign.access", "django.request")] == []
    assert not any(response.cookies for response in responses)


def test_probes_send_nothing_over_the_connection_of_requests(worker):
    worker()

    with CaptureQueriesContext(connection) as captured:
        ask()

    assert len(captured) == 0
