from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from apps.operations.backups.errors import BackupError
from apps.operations.backups.making import default_name, make_backup
from apps.organisations.management.base import AnsweringCommand


class Command(AnsweringCommand):
    help = (
        "Write database, pictures and SECRET_KEY into one encrypted archive, and read it back. The server goes on"
        " meanwhile. Encrypted for BACKUP_RECIPIENTS (manage.py backup_key makes one); the tool `age` opens it as well."
        " Exit status 0: there is an archive that can be restored. 1: there is none, and why."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "file", type=Path, help="where to; in a folder, the archive is named after the time. Nothing is overwritten"
        )
        parser.add_argument(
            "--recipient",
            action="append",
            default=[],
            metavar="AGE1…",
            help="a public key that opens it, in place of BACKUP_RECIPIENTS; may be given several times",
        )
        parser.add_argument(
            "--without-secret-key",
            action="store_true",
            help="leave SECRET_KEY out; without a copy of it elsewhere the archive is of no use",
        )

    def handle(self, **options: Any) -> None:
        target: Path = options["file"]
        recipients = options["recipient"] or settings.BACKUP_RECIPIENTS
        if not recipients:
            raise CommandError(
                "There is no backup. Say who may open it: make a key with manage.py backup_key, keep it elsewhere, and"
                " set BACKUP_RECIPIENTS to its public part (age1…)."
            )
        if target.is_dir():
            target = target / default_name()
        try:
            made = make_backup(target.absolute(), recipients, with_secret_key=not options["without_secret_key"])
        except BackupError as error:
            raise CommandError(f"There is no backup. {error}") from error
        except psycopg.Error as error:
            raise CommandError(f"There is no backup. The database cannot be used: {error}") from error
        except OSError as error:
            raise CommandError(f"There is no backup. {error}") from error
        if made.not_recorded:
            self.note(
                f"The archive is good, but the audit trail could not be told of it ({made.not_recorded}): the doctor"
                " and Prometheus will say that it is missing."
            )
        data = {
            "file": str(made.file),
            "bytes": made.size,
            "made_at": made.made_at,
            "tables": made.tables,
            "rows": made.rows,
            "pictures": made.pictures,
            "secret_key": "included" if made.has_secret_key else "left out",
            "secret_key_fingerprint": made.secret_key_fingerprint,
            "verified": True,
        }
        self.answer(data, as_json=options["json"])
