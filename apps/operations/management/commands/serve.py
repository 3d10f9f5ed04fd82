from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.operations.web_server import CannotServeError, serve


class Command(BaseCommand):
    """For `manage.py help serve`: manage.py itself calls `serve` sooner, without loading Django for it."""

    help = (
        "Run the web server at HOST and PORT, in WEB_PROCESSES processes. A reverse proxy has to stand in front of it."
    )

    def handle(self, **options: Any) -> None:
        try:
            serve()
        except CannotServeError as error:
            raise CommandError(str(error)) from error
