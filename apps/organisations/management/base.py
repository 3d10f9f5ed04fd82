"""What our commands have in common: the answer as text or JSON, and errors of one line."""

import json
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, ProgrammingError

from apps.organisations.models import Organisation
from apps.organisations.text import is_storable


class AnsweringCommand(BaseCommand):
    """A command that answers with one object.

    With `--json` standard output is that object and nothing else; notes go to standard error. Whatever is
    wrong with the arguments is one line on standard error and exit status 1.
    """

    def create_parser(self, *args: Any, **kwargs: Any) -> Any:
        parser = super().create_parser(*args, **kwargs)
        parser.add_argument("--json", action="store_true", help="answer with JSON on standard output")
        return parser

    def execute(self, *args: Any, **options: Any) -> str | None:
        for name, value in options.items():
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and not is_storable(text):
                    raise CommandError(f"--{name.replace('_', '-')} is not UTF-8 text.")
        try:
            return super().execute(*args, **options)
        except ValidationError as error:
            raise CommandError(one_line(error)) from error
        except OperationalError as error:
            raise CommandError(f"The database cannot be used: {_first_line(error)}") from error
        except ProgrammingError as error:
            raise CommandError(
                f"The database is not set up (run manage.py migrate first): {_first_line(error)}"
            ) from error

    def answer(self, data: dict[str, Any], *, as_json: bool, text: str = "") -> None:
        """Print `data` as JSON, or `text` (by default the data line by line) for a person."""
        if as_json:
            self.stdout.write(json.dumps(data, ensure_ascii=False, indent=2))
        else:
            self.stdout.write(text or "\n".join(f"{name}: {_shown(value)}" for name, value in data.items()))

    def note(self, message: str) -> None:
        """Tell the operator something beside the answer."""
        self.stderr.write(self.style.WARNING(message))


def add_organisation_argument(parser: ArgumentParser, what_for: str) -> None:
    """Add `--organisation SLUG`, read by `find_organisation`."""
    parser.add_argument("--organisation", metavar="SLUG", help=f"{what_for}; the default one if left out")


def find_organisation(slug: str | None) -> Organisation:
    """Return the organisation with that slug, the default one for None. Raises CommandError."""
    wanted = Organisation.objects.filter(slug=slug) if slug else Organisation.objects.filter(is_default=True)
    organisation = wanted.first()
    if organisation is None:
        there = ", ".join(Organisation.objects.order_by("slug").values_list("slug", flat=True))
        if not there:
            raise CommandError("There is no organisation yet: run manage.py create_organisation first.")
        raise CommandError(f"There is no organisation {slug!r}; there are: {there}.")
    return organisation


def one_line(error: ValidationError) -> str:
    """Return all messages of `error` in one line, each with its field."""
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(
        message if field == "__all__" else f"{field.replace('_', ' ')}: {message}"
        for field, messages in error.message_dict.items()
        for message in messages
    )


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) or "-" if isinstance(value, list) else str("-" if value is None else value)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
