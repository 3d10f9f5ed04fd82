from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.operations.production import refuse_unsafe_start
from apps.operations.web_server import listening_address
from apps.operations.worker import run_worker
from apps.telemetry.exposition import serve_figures


class Command(BaseCommand):
    help = "Run the background worker: mail, webhooks, and the periodic tasks."

    def handle(self, **options: Any) -> None:
        refuse_unsafe_start()
        if settings.METRICS_PORT and settings.METRICS_TOKEN:
            self._serve_figures()
        run_worker()

    def _serve_figures(self) -> None:
        host, port = settings.HOST, settings.METRICS_PORT
        try:
            serve_figures(host=listening_address(host, port), port=port, token=settings.METRICS_TOKEN)
        except OSError as error:
            raise CommandError(f"METRICS_PORT={port} cannot be listened at: {error.strerror}.") from error
