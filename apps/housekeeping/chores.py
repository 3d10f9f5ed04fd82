"""The shared part of the periodic tasks: deleting in batches, and noting each run for the operations page.

@app.periodic(cron="17 * * * *")
@app.task(queueing_lock="delete-dead-codes", pass_context=False)
@chore(_("Authorization codes"))
def delete_dead_codes(now: datetime) -> list[Dead]:
    return [DeadRows(Grant.objects.filter(…))]
"""

import functools
import logging
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.manager import JobManager

from apps.housekeeping.dead import Dead
from apps.housekeeping.models import HousekeepingRun

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.utils.functional import _StrPromise

log = logging.getLogger(__name__)

#: A run begins no further batch after so long. If there is more, it queues the next run, behind whatever else waits.
RUN_SECONDS = 20.0
#: Below everything else, so that nobody's mail waits until two million rows have gone.
CATCH_UP_PRIORITY = -10


@dataclass(frozen=True)
class Chore:
    """A periodic task that notes its runs: what it is about, and what is dead at an instant, if it deletes batches."""

    what: "_StrPromise"
    find_dead: Callable[[datetime], list[Dead]] | None = None


#: By the task's name in the queue.
CHORES: dict[str, Chore] = {}


@dataclass
class _Count:
    rows: int = 0


def chore(what: "_StrPromise") -> Callable[[Callable[[datetime], list[Dead]]], Callable[[int], int]]:
    """Make a function that says what is dead at an instant into a task's function, which deletes it in batches.

    The task returns how many rows went. A batch that was committed stays done, whatever happens to the next one.
    """

    def decorate(find_dead: Callable[[datetime], list[Dead]]) -> Callable[[int], int]:
        name = _name(find_dead)
        CHORES[name] = Chore(what, find_dead)

        @functools.wraps(find_dead)
        def run(timestamp: int) -> int:
            with _noted(name) as count:
                if not _sweep(find_dead(timezone.now()), count):
                    _queue_next(name)
            return count.rows

        return run

    return decorate


def noted(what: "_StrPromise") -> Callable[[Callable[[int], int]], Callable[[int], int]]:
    """Note the runs of a task that counts by itself what it has done."""

    def decorate(function: Callable[[int], int]) -> Callable[[int], int]:
        name = _name(function)
        CHORES[name] = Chore(what)

        @functools.wraps(function)
        def run(timestamp: int) -> int:
            with _noted(name) as count:
                count.rows = function(timestamp)
            return count.rows

        return run

    return decorate


def _name(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


@contextmanager
def _noted(name: str) -> "Iterator[_Count]":
    run = HousekeepingRun.objects.create(task=name)
    count = _Count()
    try:
        yield count
    except Exception as error:
        run.error = type(error).__name__
        raise
    finally:
        run.rows, run.ended_at = count.rows, timezone.now()
        run.save(update_fields=["rows", "ended_at", "error"])


def _sweep(dead: list[Dead], count: _Count) -> bool:
    """Delete all of it, as far as the time goes; says whether that was all."""
    last_start = time.monotonic() + RUN_SECONDS
    for something in dead:
        is_last = False
        while not is_last:
            if time.monotonic() > last_start:
                return False
            batch = something.delete_batch()
            count.rows += batch.rows
            is_last = batch.is_last
    return True


def _queue_next(name: str) -> None:
    """Queue the task once more, over Django's connection: a task's thread has no other."""
    deferrer = app.tasks[name].configure(priority=CATCH_UP_PRIORITY)
    deferrer.job_manager = JobManager(DjangoConnector())
    try:
        with transaction.atomic():
            deferrer.defer(timestamp=int(time.time()))
    except AlreadyEnqueued:
        log.info("%s has more to do, and waits already.", name)
