"""The background worker: that it lives, keeps up, and does what is due; and that somebody makes backups."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from croniter import croniter
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from apps.operations.backups.history import find_last_backup
from apps.operations.doctor.findings import Finding, Patient, ok, plural, problem, span, warning
from apps.operations.selectors import count_workers, find_failed_jobs, find_periodic_tasks, find_queues

#: Everything, and the queue `webhooks` (docs/decisions/0012).
WORKERS = 2
WAIT_WARNING, WAIT_PROBLEM = timedelta(minutes=5), timedelta(hours=1)
#: Of the last backup: one each night, which may take two hours longer than the last time; and a whole week without.
BACKUP_AGE, OLD_BACKUP_AGE = timedelta(hours=26), timedelta(days=7)


def examine_worker(patient: Patient) -> Iterator[Finding]:
    """Has it given a sign of life?"""
    workers, last = count_workers()
    start = "Start manage.py work, and have it started again when it ends."
    if not workers:
        since = f" for {span((timezone.now() - last).total_seconds())}" if last else ""
        yield problem(f"no worker has given a sign of life{since}: no mail and no webhook is sent.", start)
    elif workers < WORKERS:
        yield warning(f"only {plural(workers, 'worker')} of {WORKERS} lives.", start)
    else:
        yield ok(f"{plural(workers, 'worker')}, the last sign of life {span(_ago(last))} ago")


def examine_queue(patient: Patient) -> Iterator[Finding]:
    """Does the oldest job wait for long, and was any given up?"""
    queues = find_queues()
    waiting = [queue for queue in queues if queue.ready and queue.oldest_at]
    ready = sum(queue.ready for queue in queues)
    oldest = min((queue.oldest_at for queue in waiting if queue.oldest_at), default=None)
    waited = timezone.now() - oldest if oldest else timedelta()
    what = f"{plural(ready, 'job')} waiting, the oldest for {span(waited.total_seconds())}"
    advice = "Look into the worker's log; a second manage.py work shares the load."
    if waited > WAIT_PROBLEM:
        yield problem(f"{what}.", advice)
    elif waited > WAIT_WARNING:
        yield warning(f"{what}.", advice)
    else:
        yield ok(what if ready else "no job is waiting")


def examine_failed_jobs(patient: Patient) -> Iterator[Finding]:
    """Was any job given up in the last day?"""
    failed = find_failed_jobs()
    if failed:
        yield warning(
            f"{plural(len(failed), 'job')} given up since yesterday, the last one: {failed[0].what}.",
            "See /operations/ and the worker's log.",
        )
    else:
        yield ok("none was given up since yesterday")


def examine_periodic_tasks(patient: Patient) -> Iterator[Finding]:
    """Has each run when it was due, and to its end?"""
    now = timezone.now()
    installed_at = _installed_at()
    tasks = find_periodic_tasks()
    late, failed = [], []
    for task in tasks:
        # Of a task that runs each minute two turns may be under way.
        due_at = _turn_before_last(task.cron, now - timedelta(minutes=5))
        if task.run is not None and (task.run.is_failed or task.run.is_lost):
            failed.append(task)
        elif task.run is None or task.run.started_at is None:
            late += [task] if installed_at and installed_at < due_at else []
        elif task.run.started_at < due_at:
            late.append(task)
    for task in failed:
        error = f" ({task.run.error})" if task.run and task.run.error else ""
        yield warning(
            f"the last run of {task.name} failed{error}.", "See the worker's log; it is tried again by itself."
        )
    if late:
        names = ", ".join(task.name for task in late[:3])
        yield problem(f"{plural(len(late), 'task')} late, e.g. {names}.", "Start manage.py work.")
    if not failed and not late:
        yield ok(f"{plural(len(tasks), 'task')}, each in time")


def examine_backup(patient: Patient) -> Iterator[Finding]:
    """Was one made since yesterday, and its making recorded?"""
    last = find_last_backup()
    since = last or _installed_at()
    age = timezone.now() - since if since else timedelta()
    advice = "Have manage.py backup run each night, and see what it says; ignore this if you back up in another way."
    if last and age <= BACKUP_AGE:
        yield ok(f"the last one was made {span(age.total_seconds())} ago")
    elif last:
        yield (problem if age > OLD_BACKUP_AGE else warning)(
            f"the last one was made {span(age.total_seconds())} ago.", advice
        )
    elif age <= BACKUP_AGE:
        yield ok("none yet; the database is new")
    else:
        yield warning("none was ever made.", advice)


def _turn_before_last(cron: str, now: datetime) -> datetime:
    turns = croniter(cron, now.astimezone(UTC))
    turns.get_prev(datetime)
    return turns.get_prev(datetime)


def _installed_at() -> datetime | None:
    """Return when the database was set up: before that nothing was due."""
    first = MigrationRecorder(connection).migration_qs.order_by("applied").first()
    return first.applied if first else None


def _ago(instant: datetime | None) -> float:
    return (timezone.now() - instant).total_seconds() if instant else 0.0
