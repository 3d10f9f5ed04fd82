import sys
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from pyrage.x25519 import Identity

from apps.audit import trail
from apps.operations.backups.age import read_identities
from apps.operations.backups.errors import BackupError
from apps.operations.backups.restoring import Restored, check_archive, restore_backup, write_secret_key
from apps.organisations.management.base import AnsweringCommand

#: Restored, and something afterwards has failed.
RESTORED_BUT = 3


class Command(AnsweringCommand):
    help = (
        "Restore database and pictures from an archive of `manage.py backup`, and apply pending migrations. Opened with"
        " BACKUP_IDENTITY. Exit status 0: everything is there. 1: nothing has changed, and why."
        f" {RESTORED_BUT}: everything is there, but the migrations have failed."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the archive")
        parser.add_argument(
            "--identity-file",
            type=Path,
            metavar="FILE",
            help="the secret key, as backup_key has written it, in place of BACKUP_IDENTITY; -: from standard input",
        )
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--check",
            action="store_true",
            help="only read all of it, and change nothing; also on a machine with another SECRET_KEY",
        )
        what.add_argument(
            "--secret-key-to", type=Path, metavar="FILE", help="only write the archive's SECRET_KEY to a new file"
        )
        what.add_argument(
            "--replace", action="store_true", help="give up what is in the database now, for what is in the archive"
        )
        parser.add_argument("--no-migrate", action="store_true", help="leave pending migrations pending")

    def handle(self, **options: Any) -> None:
        path: Path = options["file"]
        try:
            identities = _identities(options)
            if options["secret_key_to"]:
                fingerprint = write_secret_key(path, identities, options["secret_key_to"])
                data = {"file": str(options["secret_key_to"]), "secret_key_fingerprint": fingerprint}
                self.answer(data, as_json=options["json"])
                return
            if options["check"]:
                checked = check_archive(path, identities)
                for obstacle in checked.obstacles:
                    self.note(f"The archive is good, and could not be restored with these settings. {obstacle}")
                self.answer({**_told(checked), "restored": False}, as_json=options["json"])
                return
            restored = restore_backup(path, identities, replace=options["replace"])
        except BackupError as error:
            raise CommandError(f"Nothing was changed. {error}") from error
        except psycopg.Error as error:
            raise CommandError(f"Nothing was changed. The database cannot be used: {error}") from error
        except OSError as error:
            raise CommandError(f"Nothing was changed. {error}") from error
        if restored.missing_roles:
            self.note(f"Roles that had privileges and do not exist here: {', '.join(restored.missing_roles)}.")
        if restored.set_aside is not None:
            self.note(f"The pictures that were here before are in {restored.set_aside}; delete them when all is well.")
        pending = self._migrate(is_wanted=not options["no_migrate"])
        if not pending:
            with transaction.atomic():
                trail.record("operator:backup:restored", made_at=restored.made_at)
        self.answer({**_told(restored), "restored": True, "pending_migrations": pending}, as_json=options["json"])

    def _migrate(self, *, is_wanted: bool) -> int:
        """Apply what is pending; return how many migrations still are."""
        try:
            if is_wanted:
                call_command("migrate", interactive=False, verbosity=0, stdout=self.stderr)
            executor = MigrationExecutor(connection)
            pending = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        except (CommandError, DatabaseError) as error:
            raise CommandError(
                f"Everything is restored, but the migrations have failed: {error} Run manage.py migrate again.",
                returncode=RESTORED_BUT,
            ) from error
        if pending:
            self.note(f"{pending} migrations are pending: run manage.py migrate before the server starts.")
        return pending


def _told(restored: Restored) -> dict[str, Any]:
    return {
        "made_at": restored.made_at,
        "tables": restored.tables,
        "rows": restored.rows,
        "pictures": restored.pictures,
        "secret_key": "included" if restored.has_secret_key else "left out",
        "secret_key_fingerprint": restored.secret_key_fingerprint,
    }


def _identities(options: dict[str, Any]) -> list[Identity]:
    """Say with what to open it: the option goes before the setting."""
    file: Path | None = options["identity_file"]
    if file == Path("-"):
        content = sys.stdin.buffer.read()
    else:
        content = file.read_bytes() if file else settings.BACKUP_IDENTITY.encode()
    if not content and not file:
        raise CommandError("Say what opens the archive: --identity-file with the file that backup_key has written.")
    return read_identities(content)
