from typing import Any

from django.core.management.base import BaseCommand

from apps.operations.production import refuse_unsafe_start
from apps.operations.worker import run_worker


class Command(BaseCommand):
    help = "Run the background worker: mail, webhooks, and the periodic tasks."

    def handle(self, **options: Any) -> None:
        refuse_unsafe_start()
        run_worker()
