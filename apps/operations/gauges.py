"""What the database knows of the whole deployment, read when Prometheus asks: every web server tells the same."""

import logging
import platform
from collections.abc import Iterable, Iterator
from typing import Any

import django
from django.db import DatabaseError, connection
from procrastinate.contrib.django import app
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric

from apps.housekeeping.chores import CHORES
from apps.operations.backups.history import find_last_backup
from apps.operations.deadline import Question
from apps.operations.selectors import MOST_COUNTED, Queue, count_webhooks, find_queues
from apps.organisations.tasks import PUT_OFF_PRIORITY, send_mail

log = logging.getLogger(__name__)

#: Seconds that the database gets for all of it.
SECONDS = 2.0

_WORKERS = """
SELECT count(*) FILTER (WHERE last_heartbeat > now() - interval '1 minute'),
       EXTRACT(epoch FROM now() - max(last_heartbeat))::float
FROM procrastinate_workers
"""
# The first queued has the lowest id; it is tried, or waits for its next time.
_UNSENT = """
SELECT EXTRACT(epoch FROM now() - min(e.at))::float FROM procrastinate_events e WHERE e.job_id = (
    SELECT min(id) FROM procrastinate_jobs
    WHERE queue_name = %s AND status IN ('todo', 'doing') AND priority > %s
)
"""
_KEYS = """
SELECT algorithm, EXTRACT(epoch FROM now() - created_at)::float FROM tokens_signingkey WHERE retired_at IS NULL
"""
_CHORES = """
SELECT wanted.task, COALESCE(EXTRACT(epoch FROM run.ended_at)::float, 0) FROM unnest(%s::text[]) AS wanted(task)
LEFT JOIN LATERAL (
    SELECT ended_at FROM housekeeping_housekeepingrun r
    WHERE r.task = wanted.task AND r.ended_at IS NOT NULL AND r.error = '' ORDER BY r.started_at DESC LIMIT 1
) run ON true
"""
_CONNECTIONS = """
SELECT CASE state WHEN 'active' THEN 'active' WHEN 'idle' THEN 'idle' ELSE 'other' END, count(*)
FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend' GROUP BY 1
"""
_MOST_CONNECTIONS = "SELECT current_setting('max_connections')::int"

_QUEUE_STATES = ("ready", "later", "doing", "failed")


class DeploymentGauges:
    """A collector of prometheus_client. A database that does not answer in time leaves the others' figures alone."""

    def __init__(self) -> None:
        self._question = Question(lambda: list(_read_gauges()), seconds=SECONDS)

    def describe(self) -> Iterable[Metric]:
        """Say nothing beforehand: registering must not ask the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "countersign_build",
            "What runs here.",
            value={"python": platform.python_version(), "django": django.get_version()},
        )
        try:
            gauges = self._question.answer()
        except (DatabaseError, TimeoutError) as error:
            log.warning("The database does not answer a scrape (%s).", type(error).__name__)
            gauges = []
        yield _gauge("countersign_database_up", "Whether the database answered this scrape.", value=bool(gauges))
        yield from gauges


REGISTRY = CollectorRegistry()
REGISTRY.register(DeploymentGauges())


def write_gauges() -> bytes:
    """Return them as text that Prometheus reads."""
    return generate_latest(REGISTRY)


def _read_gauges() -> Iterator[Metric]:
    """A few statements, whatever there is."""
    depth = GaugeMetricFamily("countersign_queue_jobs", "Jobs of the queue.", labels=["queue", "state"])
    age = GaugeMetricFamily(
        "countersign_queue_oldest_job_age_seconds",
        "How long the oldest job that could run has been waiting.",
        labels=["queue"],
    )
    [(now,)] = _read("SELECT now()")
    found = {queue.name: queue for queue in find_queues()}
    # An empty queue is told too: "nothing waits" is not "no data".
    for name in sorted(found.keys() | {task.queue for task in app.tasks.values()}):
        queue = found.get(name) or Queue(name, ready=0, later=0, doing=0, failed=0, oldest_at=None)
        for state in _QUEUE_STATES:
            depth.add_metric([queue.name, state], getattr(queue, state))
        since = queue.oldest_at
        age.add_metric([queue.name], max(0.0, (now - since).total_seconds()) if since is not None else 0.0)
    yield from (depth, age)

    [(unsent_age,)] = _read(_UNSENT, send_mail.queue, PUT_OFF_PRIORITY)
    yield _gauge(
        "countersign_mail_oldest_unsent_age_seconds",
        "How long ago the oldest mail was queued that has not left, but for those put off for their recipient's sake.",
        value=max(0.0, unsent_age or 0.0),
    )

    [(workers, heartbeat_age)] = _read(_WORKERS)
    yield _gauge("countersign_workers", "Workers that gave a sign of life in the last minute.", value=workers)
    if heartbeat_age is not None:
        yield _gauge(
            "countersign_worker_heartbeat_age_seconds",
            "Seconds since the last sign of life of any worker.",
            value=max(0.0, heartbeat_age),
        )
    yield _by_label("countersign_signing_key_age_seconds", "Age of each signing key.", "algorithm", _read(_KEYS))
    yield _by_label(
        "countersign_housekeeping_last_success_timestamp_seconds",
        "When each chore of housekeeping last ended well; 0: never.",
        "task",
        _read(_CHORES, list(CHORES)),
    )
    waiting, failing, paused = count_webhooks()
    yield _gauge(
        "countersign_webhook_notifications_waiting",
        f"Notifications to be delivered; {MOST_COUNTED} means so many or more.",
        value=waiting,
    )
    yield _by_label(
        "countersign_webhook_endpoints",
        "Webhooks that fail, and those that are paused.",
        "state",
        [("failing", failing), ("paused", paused)],
    )
    backup = find_last_backup()
    yield _gauge(
        "countersign_backup_last_success_timestamp_seconds",
        "When the last backup was made; 0: never.",
        value=backup.timestamp() if backup else 0,
    )
    yield _by_label("countersign_database_connections", "Connections to it.", "state", _read(_CONNECTIONS))
    [(most,)] = _read(_MOST_CONNECTIONS)
    yield _gauge("countersign_database_max_connections", "Connections that the server takes.", value=most)


def _gauge(name: str, documentation: str, *, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, documentation, value=value)


def _by_label(name: str, documentation: str, label: str, rows: Iterable[tuple[str, float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, documentation, labels=[label])
    for value, number in rows:
        family.add_metric([value], number)
    return family


def _read(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall()
