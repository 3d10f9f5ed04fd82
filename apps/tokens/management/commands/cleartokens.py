from typing import Any

from django.core.management.base import BaseCommand, CommandError


class Command(BaseCommand):
    """In the place of django-oauth-toolkit's command, which would delete the tombstones of spent codes."""

    help = "Not needed here: the background worker deletes what is dead."

    def handle(self, *args: Any, **options: Any) -> None:
        raise CommandError(
            "The background worker deletes dead codes and tokens. This command would also delete what tells a "
            "replayed code (RFC 6749 4.1.2)."
        )
