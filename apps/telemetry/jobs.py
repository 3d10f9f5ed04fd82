"""The jobs of the queue: each has an id in the log, a figure and a span, whoever runs the worker."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from typing import Any

from procrastinate import App, JobContext
from procrastinate.exceptions import JobAborted

from apps.telemetry import metrics, tracing
from apps.telemetry.work import Work, current_work

log = logging.getLogger(__name__)


def observe_jobs(app: App) -> None:
    """Make every worker of the queue observe its jobs; called once, when the queue is ready."""
    app.worker_defaults["worker_middleware"] = [observe_job]


async def observe_job(run: Callable[[], Awaitable[Any]], context: JobContext, worker: Any) -> Any:
    """Run a job."""
    work = Work(f"job-{context.job.id}", door=context.job.task_name)
    token = current_work.set(work)
    tracing.start()
    outcome = "ok"
    try:
        with tracing.active.job(work) if tracing.active is not None else nullcontext():
            return await run()
    except JobAborted:
        outcome = "given_up"
        raise
    except BaseException:
        outcome = "failed"
        raise
    finally:
        # The tasks' names are known: a job of another one is not run at all.
        task = work.door if work.door in context.app.tasks else metrics.OTHER
        metrics.jobs.labels(task, outcome).inc()
        current_work.reset(token)
