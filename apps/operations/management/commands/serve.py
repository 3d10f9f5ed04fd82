import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.operations.production import refuse_unsafe_start
from apps.operations.web_server import listening_address, web_command
from apps.telemetry import shared_folder


def share_figures(folder: str, host: str, port: int) -> None:
    """Give the server's processes a folder for their figures; raises CommandError when there can be none."""
    try:
        shared_folder.prepare(Path(folder) if folder else shared_folder.default_folder(host, port))
    except OSError as error:
        raise CommandError(
            f"The folder for figures cannot be used: {error}. Set METRICS_DIR to one that can."
        ) from error


class Command(BaseCommand):
    help = (
        "Run the web server at HOST and PORT, in WEB_PROCESSES processes. A reverse proxy has to stand in front of it."
    )

    def handle(self, **options: Any) -> None:
        refuse_unsafe_start()
        try:
            ip = listening_address(settings.HOST, settings.PORT)
        except OSError as error:
            raise CommandError(f"HOST={settings.HOST} is not an address of this machine: {error.strerror}.") from error
        command = web_command(ip, settings.PORT, processes=settings.WEB_PROCESSES, threads=settings.WEB_THREADS)
        if settings.METRICS_TOKEN:
            share_figures(settings.METRICS_DIR, settings.HOST, settings.PORT)
        sys.stdout.flush()
        # In our place: what we have loaded is not kept in memory, and signals reach the server itself.
        os.chdir(settings.BASE_DIR)
        os.execv(command[0], command)  # noqa: S606 (no shell is what we want)
