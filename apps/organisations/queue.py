"""Jobs that are queued in the transaction of their reason, wherever that is written: in a request or in the worker.

In the worker procrastinate queues jobs over a connection of its own. A job of what is rolled back would be there, and
one of what is committed could be lost. These go over Django's connection, so they are part of its transaction.
"""

import logging
from datetime import datetime
from typing import Any

from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.manager import JobManager
from procrastinate.tasks import Task
from procrastinate.types import JSONDict

log = logging.getLogger(__name__)

_jobs = JobManager(DjangoConnector())


def queue_jobs(task: Task[Any, Any, Any], *arguments: JSONDict, schedule_at: datetime | None = None) -> None:
    """Queue a job of `task` for each of `arguments`, in one statement and in the caller's transaction."""
    if not arguments:
        return
    deferrer = task.configure(schedule_at=schedule_at) if schedule_at else task.configure()
    deferrer.job_manager = _jobs
    numbers = deferrer.batch_defer(*arguments)
    # Which request a job comes from: its own lines have its number.
    first, *more = (f"job-{number}" for number in numbers)
    log.info("Queued %s%s.", first, f" and {len(more)} more" if more else "", extra={"task": task.name})
