from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from apps.operations.backups.age import make_identity
from apps.operations.backups.errors import BackupError
from apps.organisations.management.base import AnsweringCommand


class Command(AnsweringCommand):
    help = (
        "Make a pair of keys for backups: write the secret one, which opens archives, to a new file, and print the"
        " public one for BACKUP_RECIPIENTS. The same as age-keygen. Keep the file elsewhere than the server."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="where the secret key is written to; nothing is overwritten")

    def handle(self, **options: Any) -> None:
        try:
            recipient = make_identity(options["file"], now=timezone.now())
        except BackupError as error:
            raise CommandError(f"There is no key. {error}") from error
        self.note(
            f"Move {options['file']} to where you keep passwords, and delete it here: without it no backup can be"
            " opened."
        )
        self.answer({"public_key": recipient}, as_json=options["json"], text=recipient)
