from typing import Any

import psycopg
from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as DjangosMigrate
from django.db import connections

from apps.operations.migrating import Impatient, LockedOutError, wait_for_database


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
            default=1,
            metavar="SECONDS",
            help="how long a statement, and whoever comes after it, waits for a table in use before it steps back, each"
            " time; 0: as long as it takes (default: 1)",
        )
        parser.add_argument(
            "--tries", type=int, default=10, help="how often it is tried until it is given up (default: 10)"
        )
        parser.add_argument(
            "--wait",
            type=float,
            default=0,
            metavar="SECONDS",
            help="how long to wait for a database that cannot be reached because it is still starting (default: 0)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        def migrate() -> None:
            super(Command, self).handle(*args, **options)

        database = connections[options["database"]]
        if options["wait"]:
            try:
                wait_for_database(database, seconds=options["wait"], tell=self.stderr.write)
            except psycopg.OperationalError as error:
                raise CommandError(f"The database cannot be reached: {error}") from error
        impatient = Impatient(
            database,
            lock_timeout_seconds=options["lock_timeout"],
            tries=options["tries"],
            tell=self.stderr.write,
        )
        try:
            impatient.run(migrate)
        except LockedOutError as error:
            raise CommandError(str(error)) from error
