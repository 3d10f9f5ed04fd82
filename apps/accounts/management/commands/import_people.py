import sys
from argparse import RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import IntegrityError
from tqdm import tqdm

from apps.accounts.data_points import CATALOGUE
from apps.accounts.import_files import PeopleFile, UnreadableFileError
from apps.accounts.importing import COLUMNS, MEMBERSHIP_COLUMNS, USER_COLUMNS, BadRowsError, PeopleImport
from apps.organisations.management.base import (
    AnsweringCommand,
    add_organisation_argument,
    find_organisation,
)

_KINDS = {
    "text": "text",
    "date": "YYYY-MM-DD",
    "number": "number",
    "flag": "yes or no",
    "texts": 'texts separated by ";"',
    "links": 'links as name=URL separated by ";"',
}


def _describe_columns() -> str:
    lines = ["Columns (those left out, and empty cells, leave what is stored as it is):"]
    lines += [f"  {name}: {column.description}" for name, column in USER_COLUMNS.items()]
    lines += [f"  membership.{name}: {column.description}" for name, column in MEMBERSHIP_COLUMNS.items()]
    lines += [f"  {point.key}: {_KINDS[point.kind]}" for point in CATALOGUE]
    return "\n".join(
        [
            *lines,
            "",
            "A CSV file names them in its first line; commas, semicolons or tabs separate the cells.",
            "A JSON file is an array of objects with these names; values have their own JSON types.",
            "Both are UTF-8. There is no column for passwords: people choose one by “Forgot your password?”.",
        ]
    )


class Command(AnsweringCommand):
    help = (
        "Load people from a CSV or JSON file: users, memberships, data points. All of it or, if a row is bad, nothing."
    )

    def create_parser(self, *args: Any, **kwargs: Any) -> Any:
        parser = super().create_parser(
            *args, formatter_class=RawDescriptionHelpFormatter, epilog=_describe_columns(), **kwargs
        )
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE", help="ends in .csv or .json")
        add_organisation_argument(parser, "whose members they are")
        parser.add_argument("--skip-bad", action="store_true", help="load the good rows though others are bad")
        parser.add_argument("--verified", action="store_true", help="the e-mail addresses of new users are proved")

    def handle(self, **options: Any) -> None:
        path: Path = options["file"]
        file = PeopleFile(path, COLUMNS)
        size = path.stat().st_size if path.is_file() else 0
        # On a terminal only: `disable=None` is tqdm's word for that.
        with tqdm(total=size, unit="B", unit_scale=True, file=sys.stderr, disable=None, desc=path.name) as bar:
            people = PeopleImport(
                file=file,
                organisation=find_organisation(options["organisation"]),
                is_verified=options["verified"],
                skips_bad=options["skip_bad"],
                report=lambda place, problem: self._report(bar, place, problem),
                progress=lambda: bar.update(file.bytes_read - bar.n),
            )
            try:
                outcome = people.run()
            except BadRowsError as error:
                count = people.outcome.bad
                raise CommandError(
                    f"Nothing was changed: {count} bad {'row' if count == 1 else 'rows'} (see above). "
                    "Mend them, or give --skip-bad to load the others."
                ) from error
            except UnreadableFileError as error:
                raise CommandError(f"Nothing was changed: {error}") from error
            except IntegrityError as error:
                raise CommandError("Nothing was changed: somebody else changed users meanwhile. Try again.") from error
        self.answer(
            {
                "created": outcome.created,
                "updated": outcome.updated,
                "unchanged": outcome.unchanged,
                "skipped": outcome.bad,
            },
            as_json=options["json"],
        )

    def _report(self, bar: Any, place: str, problem: str) -> None:
        with bar.external_write_mode(file=sys.stderr):
            self.stderr.write(f"{place}: {problem}", self.style.NOTICE)
