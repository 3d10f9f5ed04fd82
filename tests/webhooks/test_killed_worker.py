"""Kill -9 of the worker and of PostgreSQL at any moment: what was committed is told, what was rolled back never."""

import contextlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
import pytest
from django.conf import settings
from django.db import connection as database
from django.db import transaction

from apps.connections.models import Connection, EndReason
from apps.tokens.services import end_connection
from apps.webhooks.models import Endpoint, Notification, State

pytestmark = pytest.mark.spec("CONTRACT", "10")

WORKER_KILLS = 200
DATABASE_KILLS = 5
#: A worker is taken for dead after a minute without a sign of life, a turn is over after another. The test does not
#: wait: it lets that time have passed for everything there is.
AGE = """
UPDATE procrastinate_workers SET last_heartbeat = last_heartbeat - interval '5 minutes';
UPDATE webhooks_endpoint SET wakes_at = NULL, delivering_until = delivering_until - interval '5 minutes';
UPDATE webhooks_notification SET next_attempt_at = now() - interval '5 minutes' WHERE state = 'queued';
UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo';
"""


class Mortals:
    """The program of mortals.py."""

    def __init__(self, database_url):
        self._program = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("mortals.py"))],
            cwd=settings.BASE_DIR,
            env={**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(settings.BASE_DIR)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._program.stdout.readline() == "ready\n"

    def start(self, role):
        self._program.stdin.write(f"{role}\n")
        self._program.stdin.flush()
        return psutil.Process(int(self._program.stdout.readline()))

    def stop(self):
        self._program.stdin.close()
        self._program.wait(timeout=60)
        self._program.stdout.close()


@contextlib.contextmanager
def mortals(database_url):
    program = Mortals(database_url)
    try:
        yield program
    finally:
        program.stop()


def kill(process):
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()
        process.wait(timeout=60)


def url_of_test_database():
    parts = urlsplit(os.environ["DATABASE_URL"])
    return urlunsplit(parts._replace(path=f"/{database.settings_dict['NAME']}"))


@pytest.mark.timeout(600)
@pytest.mark.django_db(transaction=True)
def test_every_committed_end_is_told_and_no_other_however_often_the_worker_is_killed(
    application, member, make_user, listen, empty_queue
):
    receiver = listen(application)
    users = [make_user(f"{number}@example.com") for number in range(3)]
    endpoint = Endpoint.objects.get()
    kept, kills, at_work = set(), 0, 0

    with mortals(url_of_test_database()) as program:
        # Otherwise the test has shown nothing: now and then the worker was in the middle of something.
        while kills < WORKER_KILLS or at_work <= WORKER_KILLS / 10:
            kills += 1
            assert kills < 5 * WORKER_KILLS
            worker = program.start("work")
            for user in users:
                connection = Connection.objects.create(user=user, application=application.row)
                with contextlib.suppress(ZeroDivisionError), transaction.atomic():
                    end_connection(connection=connection, reason=EndReason.USER)
                    if random.random() < 1 / 4:
                        raise ZeroDivisionError
                    kept.add(str(connection.pk))
            Connection.objects.active().delete()
            # Longer and longer where the machine is too busy for a worker to begin anything.
            time.sleep(random.uniform(0, 0.1 * max(1, kills / WORKER_KILLS)))
            kill(worker)
            with database.cursor() as cursor:
                cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'")
                at_work += cursor.fetchone()[0] > 0
                cursor.execute(AGE)
        worker = program.start("work")
        wait_until(lambda: not Notification.objects.filter(endpoint=endpoint, state=State.QUEUED).exists())
        kill(worker)

    told = [request.json["receipthero_id"] for request in receiver.requests]
    assert set(told) == kept
    assert set(Notification.objects.values_list("state", flat=True)) == {State.DELIVERED}
    assert len(kept) > WORKER_KILLS


def wait_until(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to an end"
        time.sleep(0.05)


# --- PostgreSQL -------------------------------------------------------------------------------------


PREPARE = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0, interactive=False)
from apps.accounts.models import User
from apps.connections.models import Connection
from apps.developers.models import Application
from apps.organisations.models import Organisation
from apps.webhooks.services import set_endpoint
organisation = Organisation.objects.create(slug="a", name="A", domain="a.example", is_default=True)
application = Application.objects.create(
    profile="connection", name="A", organisation=organisation, status="approved", client_type="confidential"
)
set_endpoint(application=application, actor=None, url=sys.argv[1])
for number in range(int(sys.argv[2])):
    user = User.objects.create(email=f"{number}@example.com")
    Connection.objects.create(user=user, application=application)
"""


class Server:
    """A PostgreSQL of this test's own, which loses nothing that it has confirmed."""

    def __init__(self, folder):
        sys.path.insert(0, str(settings.BASE_DIR / "script"))
        try:
            from embedded_postgres import EmbeddedPostgres
        finally:
            sys.path.pop(0)
        self._server = EmbeddedPostgres(folder / "postgres", {"fsync": "off", "autovacuum": "off"})

    def start(self):
        self._server.__enter__()
        self._server.ensure_database("countersign")
        self.url = self._server.url("countersign")

    def kill(self):
        """Kill -9 of every process of it."""
        postmaster = psutil.Process(self._server.process.pid)
        family = [postmaster, *postmaster.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._server.process.wait()
        psutil.wait_procs(family[1:], timeout=60)
        self._server.process = None
        self._server.stop()

    def stop(self):
        self._server.stop()

    def ask(self, statement):
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    folder.chmod(0o711)
    made = Server(folder)
    made.start()
    yield made
    made.stop()


@pytest.mark.timeout(600)
def test_every_committed_end_is_told_and_no_other_however_often_postgresql_is_killed(receive, server):
    receiver = receive()
    environment = {**os.environ, "DATABASE_URL": server.url, "PYTHONPATH": str(settings.BASE_DIR)}
    command = [sys.executable, "-c", PREPARE, receiver.url, "2000"]
    subprocess.run(command, check=True, cwd=settings.BASE_DIR, env=environment, stdout=subprocess.DEVNULL)

    with mortals(server.url) as program:
        for _ in range(DATABASE_KILLS):
            processes = [program.start("work"), program.start("end"), program.start("end")]
            time.sleep(random.uniform(0.5, 1.5))
            server.kill()
            for process in processes:
                kill(process)
            server.start()
            server.ask(AGE)
        worker = program.start("work")
        wait_until(
            lambda: server.ask("SELECT count(*) FROM webhooks_notification WHERE state = 'queued'") == [(0,)], 120
        )
        kill(worker)

    ended = {str(row[0]) for row in server.ask("SELECT id FROM connections_connection WHERE ended_at IS NOT NULL")}
    assert {request.json["receipthero_id"] for request in receiver.requests} == ended
    assert 10 < len(ended) < 2000
