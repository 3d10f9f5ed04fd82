from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as DjangosMigrate
from django.db import connections

from apps.operations.migrating import Impatient, LockedOutError


class Command(DjangosMigrate):
    """Django's own, made polite to a server that goes on meanwhile.

    A statement that needs a table for itself waits behind whoever uses it, and everybody who comes later waits behind
    the statement. So it does not wait long, and is tried again.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--lock-timeout",
            type=float,
            default=5,
            metavar="SECONDS",
            help="how long a statement waits for a table before it steps back; 0: as long as it takes (default: 5)",
        )
        parser.add_argument(
            "--tries", type=int, default=10, help="how often it is tried until it is given up (default: 10)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        def migrate() -> None:
            super(Command, self).handle(*args, **options)

        impatient = Impatient(
            connections[options["database"]],
            lock_timeout_seconds=options["lock_timeout"],
            tries=options["tries"],
            tell=self.stderr.write,
        )
        try:
            impatient.run(migrate)
        except LockedOutError as error:
            raise CommandError(str(error)) from error
