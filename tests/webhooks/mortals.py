"""A program that makes processes to be killed: workers, and people who end connections.

It imports everything once and forks, because a process that is to live for a tenth of a second must not take two
seconds to start. Reads a word per line: `work` or `end`; answers with the new process's id.
"""

import asyncio
import os
import random
import signal
import sys
import time


def main() -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    import django

    django.setup()
    from procrastinate.contrib.django import app

    app.perform_import_paths()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    roles = {"work": work, "end": end}
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                roles[line.strip()]()
            finally:
                os._exit(0)
        print(pid, flush=True)


def work() -> None:
    """What `manage.py procrastinate worker` does, after what its periodic task does each minute."""
    from procrastinate import JobContext
    from procrastinate.contrib.django import app
    from procrastinate.jobs import Job

    from apps.organisations import tasks

    async def run() -> None:
        async with app.open_async():
            job = Job(id=0, queue="", lock=None, queueing_lock=None, task_name="")
            context = JobContext(app=app, job=job, start_timestamp=time.time(), abort_reason=lambda: None)
            await tasks.resume_jobs(context, timestamp=0)
            await app.run_worker_async(queues=["webhooks"], concurrency=10)

    with app.replace_connector(app.connector.get_worker_connector()):
        asyncio.run(run())


def end() -> None:
    """End connections as fast as it goes, and roll every third back."""
    from django.db import transaction

    from apps.connections.models import Connection, EndReason
    from apps.tokens.services import end_connection

    while (connection := Connection.objects.active().order_by("?").first()) is not None:
        try:
            with transaction.atomic():
                end_connection(connection=connection, reason=EndReason.USER)
                if random.random() < 1 / 3:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            continue


if __name__ == "__main__":
    main()
