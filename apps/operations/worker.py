"""The background worker: two workers of the queue in one process, which stop together and survive the database.

Webhooks have a worker of their own: no slow mail and no housekeeping holds them up, and no slow endpoint a mail. Each
of its jobs waits for one application's server, which costs next to nothing; of the others few may run at once, because
each has a thread and a database connection. Both share one process because most of its memory is the program itself.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from django.db import DatabaseError
from procrastinate import App
from procrastinate.contrib.django import app
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import ConnectorException
from procrastinate.psycopg_connector import PsycopgConnector

from apps.operations.deadline import Question
from apps.operations.probe import SIGN_OF_LIFE, SIGN_SECONDS
from apps.operations.readiness import are_migrations_complete
from apps.telemetry.shared_folder import make_private
from apps.webhooks.tasks import QUEUE as WEBHOOKS

logger = logging.getLogger(__name__)

OTHERS_AT_ONCE = 4
WEBHOOKS_AT_ONCE = 50
#: Seconds that jobs under way have to end when we stop. One that cannot be interrupted (a mail) is waited for longer.
STOP_SECONDS = 10
#: Seconds between two tries to reach a database that is away, or that is being migrated.
RETRY_SECONDS = 2
#: Seconds that the database gets to say whether it is migrated.
QUESTION_SECONDS = 10.0
#: Of the queue itself: two that listen, the others for taking jobs and noting their ends.
CONNECTIONS: dict[str, Any] = {"min_size": 2, "max_size": 8, "timeout": 10}


def run_worker() -> None:
    """Do what is queued, until SIGTERM or SIGINT. The periodic tasks are queued from here too."""
    asyncio.run(_work_until_stopped())


async def _work_until_stopped() -> None:
    loop = asyncio.get_running_loop()
    # One thread for each job that blocks, and some for asyncio's own needs, such as looking up names.
    loop.set_default_executor(ThreadPoolExecutor(OTHERS_AT_ONCE + 4, thread_name_prefix="worker"))
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _ask_to_stop, loop, stop)
    sign_of_life = asyncio.create_task(_show_sign_of_life())
    is_migrated = Question(are_migrations_complete, seconds=QUESTION_SECONDS)
    while not stop.is_set():
        try:
            await _until(stop, _wait_for_migrations(is_migrated))
            if not stop.is_set():
                await _until(stop, _work())
        except (ConnectorException, psycopg.OperationalError, DatabaseError, TimeoutError) as error:
            # Its text may quote the query, and with it what a job is about.
            logger.error("The database is away (%s).", type(error.__cause__ or error).__name__)
        if not stop.is_set():
            logger.warning("The worker has stopped by itself; it begins again in %s seconds.", RETRY_SECONDS)
            await _until(stop, asyncio.sleep(RETRY_SECONDS))
    sign_of_life.cancel()


async def _wait_for_migrations(is_migrated: Question[bool]) -> None:
    """Come back when nothing is pending: on the schema of before, jobs of this code would fail."""
    has_told = False
    while not await asyncio.to_thread(is_migrated.answer):
        if not has_told:
            logger.warning("Waiting for migrations: run manage.py migrate.")
            has_told = True
        await asyncio.sleep(RETRY_SECONDS)


async def _show_sign_of_life() -> None:
    """Tell the health check that this loop turns, also while the database is away: a restart would not help then."""
    told = ""
    while True:
        try:
            make_private(SIGN_OF_LIFE.parent)
            SIGN_OF_LIFE.touch()
            told = ""
        except OSError as error:
            # The health check will fail, though the worker works.
            if str(error) != told:
                told = str(error)
                logger.error("The health check sees no sign of life: %s. Set TMPDIR to a folder that works.", error)
        await asyncio.sleep(SIGN_SECONDS)


def _ask_to_stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    """Stop in order; from now on a second signal ends the process at once."""
    stop.set()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)


async def _work() -> None:
    """Connect, and run both workers until one of them ends; then the other is stopped. Cancelling stops both in order.

    Each queues the periodic tasks; the database lets each task's time through once, however many workers there are.
    """
    connector = PsycopgConnector(kwargs=connector_params(), **CONNECTIONS)
    with app.replace_connector(connector) as worker_app:
        try:
            await worker_app.open_async()
            await _run_both(worker_app)
        finally:
            await worker_app.close_async()


async def _run_both(worker_app: App) -> None:
    options: dict[str, Any] = {"shutdown_graceful_timeout": STOP_SECONDS, "install_signal_handlers": False}
    shares = [(OTHERS_AT_ONCE, other_queues()), (WEBHOOKS_AT_ONCE, [WEBHOOKS])]
    workers = [
        asyncio.create_task(worker_app.run_worker_async(concurrency=concurrency, queues=queues, **options))
        for concurrency, queues in shares
    ]
    try:
        await asyncio.wait(workers, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for worker in workers:
            worker.cancel()
        for result in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(result, Exception):
                raise result


def other_queues() -> list[str]:
    """Return every queue that a task is queued in, but that of webhooks."""
    return sorted({task.queue for task in app.tasks.values()} - {WEBHOOKS})


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Await `work`, or its orderly end once `stop` is set."""
    working, stopping = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    working.cancel()
    stopping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await working
