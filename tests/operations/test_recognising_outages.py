"""What begins and ends an outage (decision 0017), also when the machine has no thread or no file descriptor left."""

import threading
import time

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from apps.operations import outage as recognition
from apps.operations.outage import Outage

REFUSED = psycopg.OperationalError("connection refused")


class Database:
    """One that can be away, and that can be looked at."""

    def __init__(self) -> None:
        self.error: Exception | None = REFUSED
        self.looks = 0

    def look(self) -> None:
        self.looks += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def database(monkeypatch):
    monkeypatch.setattr(recognition, "LOOK_SECONDS", 0.01)
    database = Database()
    yield database
    database.error = None


@pytest.fixture
def outage(database):
    outage = Outage()
    yield outage
    outage.was_reached()


def wait_until(condition):
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 60
        time.sleep(0.01)


def test_connection_that_cannot_be_made_is_no_outage_by_itself(outage):
    outage.could_not_connect(REFUSED)

    assert not outage.refuses()


def test_dead_connection_that_cannot_be_replaced_is_an_outage_at_once(outage, database):
    outage.was_lost(database.look)
    assert not outage.refuses()
    outage.could_not_connect(REFUSED)

    assert outage.refuses()
    database.error = None
    wait_until(lambda: not outage.is_on)
    assert not outage.refuses()


def test_dead_connection_is_forgotten_as_soon_as_one_works(outage, database):
    outage.was_lost(database.look)
    outage.was_reached()
    outage.could_not_connect(REFUSED)

    assert not outage.is_on


def test_waiting_in_vain_is_no_outage_while_connections_can_be_made(outage, database, caplog):
    for _ in range(5):
        outage.was_kept_waiting(database.look, waited=0)

    assert not outage.is_on
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("is_told_first", [True, False])
def test_waiting_in_vain_for_what_cannot_be_made_is_an_outage(outage, database, is_told_first):
    if is_told_first:
        outage.could_not_connect(REFUSED)
    outage.was_kept_waiting(database.look, waited=0)
    if not is_told_first:
        outage.could_not_connect(REFUSED)

    assert outage.is_on


def test_waiting_in_vain_is_no_outage_while_others_are_served(outage, database):
    outage.was_reached()
    outage.could_not_connect(REFUSED)
    outage.was_kept_waiting(database.look, waited=60)

    assert not outage.is_on


def test_outage_that_nobody_could_end_does_not_begin(outage, database, monkeypatch, caplog):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(3):
        outage.begin(REFUSED, database.look)
        assert not outage.refuses()
    assert [record.getMessage().rpartition(" ")[2] for record in caplog.records] == ["refused", "(RuntimeError)."]

    monkeypatch.undo()
    outage.begin(REFUSED, database.look)
    assert outage.refuses()


def test_look_that_fails_for_want_of_a_file_descriptor_is_repeated(outage, database, caplog):
    database.error = OSError(24, "Too many open files")
    outage.begin(REFUSED, database.look)
    wait_until(lambda: database.looks > 3)
    assert outage.refuses()
    assert sum("(OSError)" in record.getMessage() for record in caplog.records) == 1

    database.error = None
    wait_until(lambda: not outage.is_on)


def test_without_a_thread_that_looks_one_request_at_a_time_tries(outage, database, monkeypatch):
    monkeypatch.setattr(recognition, "TRY_SECONDS", 3600)

    monkeypatch.setattr(outage, "_wait_for_end", lambda since, look: None)
    outage.begin(REFUSED, database.look)
    outage._watcher.join(60)
    outage._tried_at -= 3600  # so much later

    assert [outage.refuses() for _ in range(5)] == [False, True, True, True, True]
    outage._tried_at -= 3600
    assert [outage.refuses() for _ in range(2)] == [False, True]
    outage.was_reached()
    assert not outage.refuses()


def test_request_that_waited_in_vain_is_answered_like_one_in_an_outage():
    assert recognition.is_outage(PoolTimeout("couldn't get a connection"))
