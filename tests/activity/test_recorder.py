"""The buffer: adding is free, storing is exact, and nothing that strangers send makes it grow without end."""

import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from apps.activity import notes, recorder
from apps.activity.models import ActivityCount, Kind, RedirectMismatch
from apps.activity.recorder import Recorder
from apps.developers.models import Application
from apps.operations.outage import outage
from tests.conftest import CALLBACK


def counted() -> dict[tuple[str, str], int]:
    """The counts of all applications, by kind and code."""
    return {(row.kind, row.code): row.count for row in ActivityCount.objects.all()}


def test_noting_takes_no_statement(application, django_assert_num_queries):
    with django_assert_num_queries(0):
        recorder.record(application.row.pk, Kind.TOKEN, "refresh_token")
        recorder.note_secret_use(application.row.pk, "current")
        recorder.note_redirect_mismatch(application.row.pk, "https://evil.example/", [CALLBACK])


def test_flushing_nothing_takes_no_statement(db, django_assert_num_queries):
    with django_assert_num_queries(0):
        recorder.flush()


def test_flushing_takes_one_statement_however_many_counters(make_application, django_assert_num_queries):
    rows = [make_application("connection", name=f"App {number}").row for number in range(5)]
    for row in rows:
        recorder.record(row.pk, Kind.AUTHORISATION)
        recorder.record(row.pk, Kind.ERROR, "invalid_grant")

    with django_assert_num_queries(1):
        recorder.flush()

    assert ActivityCount.objects.count() == 10


def test_counts_add_up_over_flushes(application):
    for _ in range(3):
        recorder.record(application.row.pk, Kind.TOKEN, "refresh_token")
        recorder.record(application.row.pk, Kind.TOKEN, "refresh_token")
        recorder.flush()
    recorder.flush()

    assert counted() == {("token", "refresh_token"): 6}
    assert ActivityCount.objects.get().day == timezone.now().date()


def test_a_code_that_is_none_of_ours_is_counted_as_other(application):
    recorder.record(application.row.pk, Kind.ERROR, "<script>")
    recorder.record(application.row.pk, Kind.TOKEN, "urn:of:somebody:else")
    recorder.flush()

    assert counted() == {("error", "other"): 1, ("token", "other"): 1}


def test_an_application_that_has_gone_takes_no_other_s_counts_along(application):
    recorder.record(uuid.uuid4(), Kind.AUTHORISATION)
    recorder.record(application.row.pk, Kind.AUTHORISATION)
    recorder.note_redirect_mismatch(uuid.uuid4(), "https://evil.example/", [CALLBACK])
    recorder.note_secret_use(uuid.uuid4(), "current")
    recorder.flush()

    assert ActivityCount.objects.get().application == application.row
    assert not RedirectMismatch.objects.exists()


# --- uses of secrets ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("which", "column"), [("current", "client_secret"), ("previous", "previous_client_secret")])
def test_use_of_a_secret_is_noted_at_most_once_a_minute(application, which, column):
    row = application.row
    made_at = timezone.now() - timedelta(hours=1)
    Application.objects.filter(pk=row.pk).update(**{f"{column}_created_at": made_at}, previous_client_secret="a hash")

    def used_at():
        recorder.note_secret_use(row.pk, which)
        recorder.flush()
        row.refresh_from_db()
        return getattr(row, f"{column}_used_at")

    first = used_at()
    assert timezone.now() - first < timedelta(seconds=10)
    assert used_at() == first
    Application.objects.filter(pk=row.pk).update(**{f"{column}_used_at": first - timedelta(seconds=61)})
    assert used_at() > first


def test_use_of_a_secret_that_has_been_changed_since_is_not_taken_for_the_new_one(application):
    recorder.note_secret_use(application.row.pk, "current")
    Application.objects.filter(pk=application.row.pk).update(client_secret_created_at=timezone.now())
    recorder.flush()

    application.row.refresh_from_db()
    assert application.row.client_secret_used_at is None


def test_use_of_a_previous_secret_that_has_been_ended_is_not_noted(application):
    recorder.note_secret_use(application.row.pk, "previous")
    recorder.flush()

    application.row.refresh_from_db()
    assert application.row.previous_client_secret_used_at is None


# --- redirect URIs that did not match ----------------------------------------------------------------


def test_a_mismatch_is_kept_with_what_differs_and_how_often(application):
    for _ in range(2):
        for _ in range(2):
            recorder.note_redirect_mismatch(application.row.pk, CALLBACK + "/", [CALLBACK])
        recorder.flush()

    row = RedirectMismatch.objects.get()
    assert (row.presented, row.differs, row.closest, row.count) == (CALLBACK + "/", "trailing_slash", CALLBACK, 4)
    assert row.first_seen_at < row.last_seen_at


@pytest.mark.parametrize("text", ["https://evil.example/\x00", "https://evil.example/\ud800"])
def test_text_that_cannot_be_stored_is_left_out(application, text):
    recorder.note_redirect_mismatch(application.row.pk, text, [CALLBACK])
    recorder.note_redirect_mismatch(application.row.pk, "https://evil.example/", [CALLBACK])
    recorder.flush()

    assert RedirectMismatch.objects.get().presented == "https://evil.example/"


def test_a_long_uri_is_cut(application):
    recorder.note_redirect_mismatch(application.row.pk, "https://evil.example/" + "€" * 10_000, [CALLBACK])
    recorder.flush()

    assert len(RedirectMismatch.objects.get().presented) == 500


def test_only_the_newest_twenty_of_an_application_are_kept(application, make_application):
    other = make_application("portal").row
    recorder.note_redirect_mismatch(other.pk, "https://evil.example/", [CALLBACK])
    for number in range(50):
        recorder.note_redirect_mismatch(application.row.pk, f"https://evil.example/{number}", [CALLBACK])
        recorder.flush()

    kept = set(RedirectMismatch.objects.filter(application=application.row).values_list("presented", flat=True))
    assert kept == {f"https://evil.example/{number}" for number in range(30, 50)}
    assert RedirectMismatch.objects.filter(application=other).count() == 1


def test_one_flush_takes_no_more_mismatches_than_anybody_reads(application):
    for number in range(100):
        recorder.note_redirect_mismatch(application.row.pk, f"https://evil.example/{number}", [CALLBACK])
    recorder.note_redirect_mismatch(application.row.pk, "https://evil.example/0", [CALLBACK])
    recorder.flush()

    assert RedirectMismatch.objects.count() == 20
    assert RedirectMismatch.objects.get(presented="https://evil.example/0").count == 2


def test_mismatches_of_all_applications_together_are_bounded(monkeypatch):
    monkeypatch.setattr(notes, "MAX_MISMATCHES", 3)
    mine = Recorder()
    for _ in range(5):
        mine.note_redirect_mismatch(uuid.uuid4(), "https://evil.example/", [])

    assert len(mine._notes.mismatches) == 3


# --- when the database is away -----------------------------------------------------------------------


@pytest.fixture
def database_away(transactional_db: None) -> Iterator[Callable[[bool], None]]:
    """Call with True: PostgreSQL ends all connections to the database and takes no new ones. With False: it does."""
    name = connection.settings_dict["NAME"]
    given = connection.get_connection_params()
    parameters = {key: given[key] for key in ("host", "port", "user", "password") if key in given}
    connection.pool.timeout = 0.5

    with psycopg.connect(**parameters, dbname="postgres", autocommit=True) as outside:

        def be_away(is_away: bool) -> None:
            connection.close()
            outside.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS {not is_away}')
            if is_away:
                outside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

        yield be_away
        be_away(False)
        # Its connections are dead, and its timeout is ours.
        connection.close_pool()


def test_counts_wait_for_a_database_that_is_away(application, database_away, caplog):
    caplog.set_level(logging.INFO, logger="apps.activity")
    recorder.record(application.row.pk, Kind.AUTHORISATION)
    recorder.note_secret_use(application.row.pk, "current")
    recorder.note_redirect_mismatch(application.row.pk, "https://evil.example/hidden", [CALLBACK])

    database_away(True)
    recorder.flush()
    recorder.record(application.row.pk, Kind.AUTHORISATION)
    recorder.flush()
    told = [record.getMessage() for record in caplog.records if record.name == "apps.activity.recorder"]
    database_away(False)
    connection.close_pool()
    # Nobody asks it anything until it has been seen again.
    while outage.is_on:
        time.sleep(0.05)
    recorder.flush()

    assert counted() == {("authorisation", ""): 2}
    assert RedirectMismatch.objects.get().count == 1
    assert Application.objects.get().client_secret_used_at is not None
    # Told once, not at each attempt, and without what a stranger sent.
    assert told == ["activity could not be stored (OperationalError), it is kept for now"]
    assert "hidden" not in caplog.text
    assert caplog.records[-1].getMessage() == "activity is stored again"


def test_a_full_buffer_drops_new_keys_and_tells_once(application, make_application, monkeypatch, caplog):
    monkeypatch.setattr(notes, "MAX_KEYS", 2)
    for kind in (Kind.AUTHORISATION, Kind.DENIAL, Kind.ERROR, Kind.TOKEN, Kind.AUTHORISATION):
        recorder.record(application.row.pk, kind)
    assert [record.getMessage() for record in caplog.records] == [
        "the buffer of activity is full: what does not fit in is not counted"
    ]

    recorder.flush()
    recorder.record(application.row.pk, Kind.DENIAL)
    recorder.flush()

    assert counted() == {("authorisation", ""): 2, ("denial", ""): 2}


@pytest.mark.django_db(transaction=True)
def test_what_the_database_refuses_does_not_block_what_comes_later(application, caplog):
    """A number beyond PostgreSQL's: whatever the reason, trying it again would not help."""
    key = notes.CountKey(application.row.pk, timezone.now().date(), "token", "refresh_token")
    mine = Recorder()
    mine._notes.add_count(key, 2**64)
    mine.flush()
    mine.record(application.row.pk, Kind.DENIAL)
    mine.flush()

    assert counted() == {("denial", ""): 1}
    assert "1 entries are lost" in caplog.text


# --- several at once -----------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_processes_that_store_the_same_counters_at_once_lose_nothing_and_do_not_wait_for_each_other(make_application):
    """Each thread stands for a process: a buffer and a database connection of its own."""
    rows = [make_application("connection", name=f"App {number}").row for number in range(10)]
    processes, rounds = 8, 15
    barrier = threading.Barrier(processes)
    failures = []

    def work(number: int) -> None:
        mine = Recorder()
        ordered = rows if number % 2 else rows[::-1]
        try:
            for turn in range(rounds):
                for row in ordered:
                    mine.record(row.pk, Kind.TOKEN, "refresh_token")
                    mine.record(row.pk, Kind.ERROR, "invalid_grant")
                    mine.note_secret_use(row.pk, "current")
                    mine.note_redirect_mismatch(row.pk, f"https://evil.example/{turn}", [CALLBACK])
                    mine.note_redirect_mismatch(row.pk, f"https://evil.example/{number}/{turn}", [CALLBACK])
                barrier.wait()
                mine.flush()
                if mine._is_failing:
                    failures.append(turn)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert {row.count for row in ActivityCount.objects.all()} == {processes * rounds}
    assert ActivityCount.objects.count() == 2 * len(rows)
    assert not Application.objects.filter(client_secret_used_at=None).exists()


@pytest.mark.django_db(transaction=True)
def test_requests_that_record_while_others_flush_are_all_counted(application):
    def work() -> None:
        try:
            for number in range(300):
                recorder.record(application.row.pk, Kind.TOKEN, "refresh_token")
                if number % 50 == 0:
                    recorder.flush()
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.flush()

    assert counted() == {("token", "refresh_token"): 1800}


# --- real processes ------------------------------------------------------------------------------------


def test_no_thread_runs_when_the_setting_is_zero(application):
    recorder.record(application.row.pk, Kind.AUTHORISATION)

    assert "activity" not in {thread.name for thread in threading.enumerate()}


def test_a_request_does_not_fail_when_no_thread_can_start(application, settings, monkeypatch):
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    settings.ACTIVITY_FLUSH_SECONDS = 60
    mine = Recorder()
    mine._is_flushed_at_exit = True
    monkeypatch.setattr(threading.Thread, "start", refuse)

    mine.record(application.row.pk, Kind.AUTHORISATION)

    assert mine._notes.counts.total() == 1


PROCESS = textwrap.dedent(
    """
    import os, sys, time, uuid
    database, application = sys.argv[1], uuid.UUID(sys.argv[2])
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    from django.conf import settings
    settings.DATABASES["default"]["NAME"] = database
    import django
    django.setup()
    from apps.activity import recorder
    from apps.activity.models import Kind
    """
)


@pytest.fixture
def run_process(transactional_db: None, application) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a process that counts for the application: `run_process(code, seconds_between_flushes)`."""
    started: list[subprocess.Popen] = []

    def run(code: str, seconds: float) -> subprocess.Popen:
        database = connection.settings_dict["NAME"]
        process = subprocess.Popen(
            [sys.executable, "-c", PROCESS + textwrap.dedent(code), database, str(application.row.pk)],
            cwd=settings.BASE_DIR,
            env={**os.environ, "ACTIVITY_FLUSH_SECONDS": str(seconds)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def test_the_thread_stores_while_the_process_goes_on_and_keeps_no_connection(run_process):
    process = run_process(
        """
        recorder.record(application, Kind.AUTHORISATION)
        sys.stdin.readline()
        from django.db import connection

        def in_use():
            stats = connection.pool.get_stats()
            return stats["pool_size"] - stats["pool_available"]

        deadline = time.monotonic() + 30
        while in_use() and time.monotonic() < deadline:
            time.sleep(0.05)
        print(in_use(), flush=True)
        """,
        seconds=0.05,
    )
    deadline = time.monotonic() + 60
    while not counted() and time.monotonic() < deadline:
        time.sleep(0.02)

    assert counted() == {("authorisation", ""): 1}
    assert process.poll() is None
    in_use, errors = process.communicate("go on\n", timeout=60)
    assert in_use == "0\n", errors


def test_a_process_that_ends_stores_the_rest(run_process):
    process = run_process("recorder.record(application, Kind.AUTHORISATION)", seconds=600)
    _output, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert counted() == {("authorisation", ""): 1}


def test_a_forked_process_counts_its_own_and_stores_it_when_it_ends(run_process):
    """As the web server's workers are made. What the parent had noted stays the parent's."""
    process = run_process(
        """
        import multiprocessing

        recorder.record(application, Kind.AUTHORISATION)

        def work():
            recorder.record(application, Kind.DENIAL)

        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == 0
        """,
        seconds=600,
    )
    _output, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert counted() == {("authorisation", ""): 1, ("denial", ""): 1}


def test_a_lock_held_while_forking_does_not_stop_the_child(run_process):
    process = run_process(
        """
        with recorder._recorder._lock:
            child = os.fork()
            if child == 0:
                recorder.record(application, Kind.DENIAL)
                recorder.flush()
                os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        """,
        seconds=0,
    )
    _output, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert counted() == {("denial", ""): 1}
