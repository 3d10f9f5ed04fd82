"""What the operations page shows: every periodic task and its latest run, and the queue.

How many queries that takes depends on how many tasks there are, and never on how many rows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connection as database
from django.utils import timezone
from procrastinate.contrib.django import app

from apps.housekeeping.chores import CHORES, RUN_SECONDS
from apps.housekeeping.models import HousekeepingRun

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

#: Beyond so many, it is enough to know that there are more.
MOST_COUNTED = 10_000
#: The latest failed jobs that are shown.
MOST_FAILED = 20
#: A run without an end that began longer ago than this was killed: the slowest takes its time and a last batch.
LOST_AFTER = timedelta(seconds=RUN_SECONDS) + timedelta(minutes=10)

_LATEST_RUNS = """
SELECT run.* FROM unnest(%s::text[]) AS wanted(task)
CROSS JOIN LATERAL (
    SELECT * FROM housekeeping_housekeepingrun r WHERE r.task = wanted.task ORDER BY r.started_at DESC LIMIT 1
) run
"""

# The latest job of each task that keeps no record of its own: jobs that ended stay in the queue for a day.
_LATEST_JOBS = """
SELECT wanted.task, job.status::text, began.at, ended.at FROM unnest(%s::text[]) AS wanted(task)
CROSS JOIN LATERAL (
    SELECT d.job_id FROM procrastinate_periodic_defers d
    JOIN procrastinate_jobs j ON j.id = d.job_id AND j.status NOT IN ('todo', 'cancelled')
    WHERE d.task_name = wanted.task ORDER BY d.defer_timestamp DESC LIMIT 1
) latest
JOIN procrastinate_jobs job ON job.id = latest.job_id
LEFT JOIN LATERAL (
    SELECT max(e.at) AS at FROM procrastinate_events e WHERE e.job_id = job.id AND e.type = 'started'
) began ON true
LEFT JOIN LATERAL (
    SELECT max(e.at) AS at FROM procrastinate_events e
    WHERE e.job_id = job.id AND e.type IN ('succeeded', 'failed', 'aborted')
) ended ON true
"""

# A job waits since it was queued, or since the time that it was put off to. The first queued has the lowest id.
_QUEUES = """
SELECT j.queue_name, j.ready, j.later, j.doing, j.failed,
       LEAST(j.put_off_to, (SELECT min(e.at) FROM procrastinate_events e WHERE e.job_id = j.first))
FROM (
    SELECT queue_name,
           count(*) FILTER (WHERE status = 'todo' AND (scheduled_at IS NULL OR scheduled_at <= now())) AS ready,
           count(*) FILTER (WHERE status = 'todo' AND scheduled_at > now()) AS later,
           count(*) FILTER (WHERE status = 'doing') AS doing,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           min(scheduled_at) FILTER (WHERE status = 'todo' AND scheduled_at <= now()) AS put_off_to,
           min(id) FILTER (WHERE status = 'todo' AND scheduled_at IS NULL) AS first
    FROM procrastinate_jobs WHERE status IN ('todo', 'doing', 'failed') GROUP BY queue_name
) j ORDER BY j.queue_name
"""

_FAILED = """
SELECT j.id, j.queue_name, j.task_name, j.attempts, ended.at FROM procrastinate_jobs j
LEFT JOIN LATERAL (SELECT max(e.at) AS at FROM procrastinate_events e WHERE e.job_id = j.id) ended ON true
WHERE j.status = 'failed' ORDER BY j.id DESC LIMIT %s
"""

# The index of the age finds the latest; no more are looked at, however many there are in a day.
_NOTIFICATIONS = """
SELECT count(*) FILTER (WHERE state = 'delivered'), count(*) FILTER (WHERE state = 'failed'), count(*)
FROM (
    SELECT state FROM webhooks_notification WHERE created_at > now() - interval '1 day'
    ORDER BY created_at DESC LIMIT %s
) latest
"""

_WEBHOOKS = """
SELECT (SELECT count(*) FROM (SELECT 1 FROM webhooks_notification WHERE state = 'queued' LIMIT %s) waiting),
       count(*) FILTER (WHERE paused_at IS NULL AND failing_since IS NOT NULL),
       count(*) FILTER (WHERE paused_at IS NOT NULL)
FROM webhooks_endpoint WHERE url <> ''
"""

_WORKERS = "SELECT count(*), max(last_heartbeat) FROM procrastinate_workers WHERE last_heartbeat > %s"


@dataclass(frozen=True)
class Run:
    """One run of a task, as far as it is known."""

    started_at: datetime | None
    ended_at: datetime | None
    is_failed: bool
    #: None: it was not counted.
    rows: int | None = None
    error: str = ""

    @property
    def milliseconds(self) -> int | None:
        if self.started_at is None or self.ended_at is None:
            return None
        return max(0, round((self.ended_at - self.started_at).total_seconds() * 1000))

    @property
    def is_lost(self) -> bool:
        """Say whether its worker was killed, as far as one can tell."""
        is_open = self.ended_at is None and self.started_at is not None
        return is_open and timezone.now() - self.started_at > LOST_AFTER  # type: ignore[operator]

    @property
    def is_running(self) -> bool:
        return self.ended_at is None and not self.is_lost


@dataclass(frozen=True)
class PeriodicTask:
    """A periodic task, its latest run, and what there is to do for it now."""

    name: str
    what: "_StrPromise | str"
    #: When it runs, as in crontab(5), in UTC.
    cron: str
    run: Run | None
    #: None: it deletes nothing by itself.
    due: int | None

    @property
    def is_due_beyond_counting(self) -> bool:
        return self.due is not None and self.due > MOST_COUNTED


@dataclass(frozen=True)
class Queue:
    """What waits in one queue."""

    name: str
    ready: int
    later: int
    doing: int
    failed: int
    #: Since when the oldest of those that could run waits.
    oldest_at: datetime | None


@dataclass(frozen=True)
class Webhooks:
    """How deliveries fare. Notifications are those of the last day, endpoints those that have an address."""

    delivered: int
    failed: int
    #: Of the last day, but of no more than `MOST_COUNTED`, the latest.
    looked_at: int
    waiting: int
    failing_endpoints: int
    paused_endpoints: int

    @property
    def are_not_all(self) -> bool:
        return self.looked_at == MOST_COUNTED

    @property
    def is_waiting_beyond_counting(self) -> bool:
        return self.waiting == MOST_COUNTED


@dataclass(frozen=True)
class FailedJob:
    """A job that was given up. What it was asked to do is not shown: it may be a mail."""

    id: int
    queue: str
    task: str
    attempts: int
    failed_at: datetime | None

    @property
    def what(self) -> str:
        return _spoken(self.task)


def find_periodic_tasks() -> list[PeriodicTask]:
    """Return every periodic task of the worker, by name; those that delete by batches first."""
    crons = {periodic.task.name: periodic.cron for periodic in app.periodic_registry.periodic_tasks.values()}
    runs = _latest_runs(crons)
    tasks = [
        PeriodicTask(
            name=name,
            what=CHORES[name].what if name in CHORES else _spoken(name),
            cron=cron,
            run=runs.get(name),
            due=_count_due(name),
        )
        for name, cron in crons.items()
    ]
    return sorted(tasks, key=lambda task: (task.due is None, task.name))


def find_queues() -> list[Queue]:
    return [Queue(*row) for row in _read(_QUEUES)]


def find_webhooks() -> Webhooks:
    [(delivered, failed, looked_at)] = _read(_NOTIFICATIONS, MOST_COUNTED)
    waiting, failing, paused = count_webhooks()
    return Webhooks(delivered, failed, looked_at, waiting, failing, paused)


def count_webhooks() -> tuple[int, int, int]:
    """Return how many notifications wait (`MOST_COUNTED` at most), and how many endpoints fail and are paused."""
    [(waiting, failing, paused)] = _read(_WEBHOOKS, MOST_COUNTED)
    return waiting, failing, paused


def find_failed_jobs() -> list[FailedJob]:
    """Return the latest jobs that were given up; they stay in the queue for a day."""
    return [FailedJob(*row) for row in _read(_FAILED, MOST_FAILED)]


def count_workers() -> tuple[int, datetime | None]:
    """Return how many workers gave a sign of life in the last minute, and when the last one did."""
    [(workers, last)] = _read(_WORKERS, timezone.now() - timedelta(minutes=1))
    return workers, last


def _latest_runs(names: Iterable[str]) -> dict[str, Run]:
    runs = {
        name: Run(started_at=began, ended_at=ended, is_failed=status in ("failed", "aborted"))
        for name, status, began, ended in _read(_LATEST_JOBS, [name for name in names if name not in CHORES])
    }
    for row in HousekeepingRun.objects.raw(_LATEST_RUNS, [[name for name in names if name in CHORES]]):
        runs[row.task] = Run(row.started_at, row.ended_at, bool(row.error), rows=row.rows, error=row.error)
    return runs


def _count_due(name: str) -> int | None:
    chore = CHORES.get(name)
    if chore is None or chore.find_dead is None:
        return None
    due = 0
    for dead in chore.find_dead(timezone.now()):
        due += dead.count(MOST_COUNTED + 1 - due)
        if due > MOST_COUNTED:
            break
    return due


def _spoken(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ").capitalize()


def _read(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with database.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()
