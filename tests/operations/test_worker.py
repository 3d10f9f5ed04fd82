"""`manage.py work`, as a process of its own: one process for everything that is queued."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from django.conf import settings
from django.db import connection as database
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.connections.models import Connection, EndReason
from apps.operations import probe, worker
from apps.operations.worker import WEBHOOKS_AT_ONCE, other_queues
from apps.organisations.tasks import resume_jobs
from apps.tokens.services import end_connection
from apps.webhooks.models import Notification, State
from apps.webhooks.services import set_endpoint
from tests.conftest import queue_mails
from tests.webhooks.conftest import empty_queue, listen, receive  # noqa: F401 (fixtures)
from tests.webhooks.receivers import respond
from tests.webhooks.test_killed_worker import Server, url_of_test_database, wait_until

pytestmark = [pytest.mark.timeout(300)]


@contextlib.contextmanager
def working(database_url, stderr=None, **environment):
    """`manage.py work` on this database; ended if it has not ended by itself."""
    process = subprocess.Popen(
        [sys.executable, "manage.py", "work"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "DATABASE_URL": database_url, **environment},
        stderr=stderr,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=60)


@contextlib.contextmanager
def silent_mail_server():
    """Takes connections and never says a word; yields its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=50) as server:
        yield server.getsockname()[1]


def end_a_connection(user, application):
    end_connection(connection=Connection.objects.create(user=user, application=application.row), reason=EndReason.USER)


@pytest.mark.django_db(transaction=True)
def test_mails_to_a_server_that_does_not_answer_hold_up_no_webhook(application, member, make_user, listen, empty_queue):  # noqa: F811
    receiver = listen(application)
    with silent_mail_server() as port, working(url_of_test_database(), EMAIL_URL=f"smtp://127.0.0.1:{port}"):
        for number in range(20):
            queue_mails(f"{number}@example.com")
        wait_until(lambda: ProcrastinateJob.objects.filter(queue_name="mail", status="doing").count() == 4)
        end_a_connection(make_user("someone@example.com"), application)
        wait_until(lambda: receiver.requests)
        # Not one of them was given up before.
        assert ProcrastinateJob.objects.filter(queue_name="mail", attempts=0).count() == 20


@pytest.mark.django_db(transaction=True)
def test_webhooks_that_hang_hold_up_no_mail(make_application, member, receive, empty_queue):  # noqa: F811
    may_answer = threading.Event()
    receiver = receive(lambda connection: may_answer.wait(60))
    for _ in range(70):
        application = make_application()
        set_endpoint(application=application.row, actor=None, url=receiver.url)
        end_a_connection(member, application)
    of_webhooks = ProcrastinateJob.objects.filter(queue_name="webhooks")
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        working(url_of_test_database(), EMAIL_URL=f"smtp://127.0.0.1:{server.getsockname()[1]}"),
    ):
        wait_until(lambda: of_webhooks.filter(status="doing").count() >= WEBHOOKS_AT_ONCE)
        queue_mails("someone@example.com")
        server.settimeout(60)
        connection, _address = server.accept()
        connection.close()
        # It has overtaken some that were queued before it.
        mail = ProcrastinateJob.objects.get(queue_name="mail")
        assert of_webhooks.filter(status="todo", pk__lt=mail.pk).exists()
        may_answer.set()


def test_every_queue_has_a_worker():
    """A task with a queue of its own would otherwise wait for ever."""
    queues = other_queues()

    assert {*queues, "webhooks"} == {task.queue for task in app.tasks.values()}
    assert {"mail", "default"} <= set(queues)
    assert "webhooks" not in queues


@pytest.fixture
def sign(monkeypatch, tmp_path):
    """The sign of life, which is among this test's files."""
    sign = tmp_path / "private" / "alive"
    monkeypatch.setattr(worker, "SIGN_OF_LIFE", sign)
    monkeypatch.setattr(probe, "SIGN_OF_LIFE", sign)
    monkeypatch.setattr(worker, "SIGN_SECONDS", 0.02)
    return sign


def show_sign_until(condition):
    """Until it holds, and a few times more."""

    async def show():
        showing = asyncio.create_task(worker._show_sign_of_life())
        async with asyncio.timeout(60):
            while not condition():
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        assert not showing.done()
        showing.cancel()

    asyncio.run(show())


def test_sign_of_life_is_in_a_folder_of_its_own(sign):
    show_sign_until(lambda: probe.main(["worker"]) == 0)

    assert stat.S_IMODE(sign.parent.stat().st_mode) == 0o700
    os.utime(sign, (0, 0))
    assert not probe.worker_is_well()


def test_link_that_somebody_has_laid_is_not_followed(sign, tmp_path, caplog):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sign.parent.symlink_to(elsewhere)

    show_sign_until(lambda: caplog.records)

    assert list(elsewhere.iterdir()) == []
    assert len(caplog.records) == 1


def test_sign_of_life_that_cannot_be_given_is_told_once_and_tried_again(sign, caplog):
    """As on a full disk, or one that is read-only: in the place of the folder there is a file."""
    sign.parent.touch()
    show_sign_until(lambda: caplog.records)
    assert [record.levelname for record in caplog.records] == ["ERROR"]

    sign.parent.unlink()
    show_sign_until(lambda: probe.main(["worker"]) == 0)


@pytest.mark.django_db(transaction=True)
def test_stop_lets_a_delivery_end_that_is_under_way(application, member, make_user, listen, empty_queue):  # noqa: F811
    may_answer = threading.Event()

    def slowly(connection):
        may_answer.wait(60)
        respond()(connection)

    receiver = listen(application, slowly)
    end_a_connection(make_user("someone@example.com"), application)
    with database.cursor() as cursor:  # other tests' workers were killed
        cursor.execute("DELETE FROM procrastinate_workers")
    with working(url_of_test_database()) as worker:
        wait_until(lambda: receiver.requests)
        worker.send_signal(signal.SIGTERM)
        time.sleep(1)
        assert worker.poll() is None
        may_answer.set()
        assert worker.wait(timeout=60) == 0
    assert Notification.objects.get().state == State.DELIVERED
    assert not ProcrastinateJob.objects.filter(status="doing").exists()
    with database.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_workers")
        assert cursor.fetchone() == (0,)


@pytest.mark.django_db(transaction=True)
def test_each_time_of_a_periodic_task_is_queued_once_though_two_workers_look_for_it(empty_queue):  # noqa: F811
    with working(url_of_test_database()):
        wait_until(lambda: ProcrastinateJob.objects.filter(task_name=resume_jobs.name).exists(), 90)
        time.sleep(1)
        with database.cursor() as cursor:
            cursor.execute(
                "SELECT count(*), count(DISTINCT (task_name, defer_timestamp)) FROM procrastinate_periodic_defers"
            )
            deferred, times = cursor.fetchone()
        assert deferred == times > 0


@contextlib.contextmanager
def database_of_its_own():
    """An empty database beside the tests' one; yields its URL."""
    server = url_of_test_database()
    url = urlsplit(server)._replace(path="/to_be_worked_on").geturl()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS to_be_worked_on WITH (FORCE)")
        connection.execute("CREATE DATABASE to_be_worked_on")
        yield url
        connection.execute("DROP DATABASE to_be_worked_on WITH (FORCE)")


def test_worker_waits_for_migrations_and_lives_meanwhile(tmp_path, monkeypatch):
    """New code may be started before the schema is there: no job is taken, and nobody restarts the worker."""

    def migrate(url, *target):
        command = [sys.executable, "manage.py", "migrate", "--verbosity", "0", *target]
        subprocess.run(command, cwd=settings.BASE_DIR, env={**os.environ, "DATABASE_URL": url}, check=True)

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with database_of_its_own() as url, psycopg.connect(url, autocommit=True) as connection:
        # All that the queue needs; of ours something is missing.
        migrate(url, "procrastinate")
        connection.execute(
            "INSERT INTO procrastinate_jobs (queue_name, task_name, args)"
            f" VALUES ('default', '{resume_jobs.name}', '{{\"timestamp\": 0}}')"
        )
        output = tmp_path / "log"
        with output.open("w") as log, working(url, stderr=log) as worker:
            wait_until(lambda: "aiting for migrations" in output.read_text())
            began = time.time()
            wait_until(lambda: max((file.stat().st_mtime for file in tmp_path.glob("*/alive*")), default=0) > began)
            time.sleep(3)
            assert worker.poll() is None
            assert output.read_text().count("aiting for migrations") == 1
            assert connection.execute("SELECT status::text FROM procrastinate_jobs").fetchall() == [("todo",)]
            assert connection.execute("SELECT count(*) FROM procrastinate_workers").fetchone() == (0,)
            migrate(url)
            job = "SELECT status::text FROM procrastinate_jobs ORDER BY id LIMIT 1"
            wait_until(lambda: connection.execute(job).fetchone() == ("succeeded",), 90)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=60) == 0


def test_worker_begins_again_by_itself_when_postgresql_is_back(tmp_path_factory):
    folder = tmp_path_factory.mktemp("away")
    folder.chmod(0o711)
    server = Server(folder)
    server.start()
    try:
        migrate = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
        subprocess.run(migrate, cwd=settings.BASE_DIR, env={**os.environ, "DATABASE_URL": server.url}, check=True)
        with working(server.url) as worker:
            wait_until(lambda: server.ask("SELECT count(*) FROM procrastinate_workers") == [(2,)])
            server.kill()
            time.sleep(12)
            assert psutil.pid_exists(worker.pid)
            server.start()
            [(queued,)] = server.ask(
                "INSERT INTO procrastinate_jobs (queue_name, task_name, args) "
                f"VALUES ('default', '{resume_jobs.name}', '{{\"timestamp\": 0}}') RETURNING id"
            )
            state = f"SELECT status::text FROM procrastinate_jobs WHERE id = {queued}"
            wait_until(lambda: server.ask(state) == [("succeeded",)], 90)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(timeout=60) == 0
    finally:
        server.stop()
