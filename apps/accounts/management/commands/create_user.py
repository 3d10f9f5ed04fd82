import getpass
import sys
from datetime import date
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from apps.accounts.models import User
from apps.accounts.services import create_user
from apps.organisations.management.base import (
    AnsweringCommand,
    add_organisation_argument,
    find_organisation,
)


class Command(AnsweringCommand):
    help = "Create a user who can log in at once: the e-mail address counts as verified."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--email", required=True)
        parser.add_argument(
            "--password", help="if left out, it is asked for, or read as the first line of standard input"
        )
        parser.add_argument("--first-name", default="")
        parser.add_argument("--last-name", default="")
        parser.add_argument("--phone", default="")
        parser.add_argument("--birth-date", metavar="YYYY-MM-DD")
        parser.add_argument("--reviewer", action="store_true", help="may decide on an organisation's applications")
        parser.add_argument("--administrator", action="store_true", help="may use /admin/ and do everything there")
        add_organisation_argument(parser, "of which the user is a reviewer")

    def handle(self, **options: Any) -> None:
        organisation = None
        if options["reviewer"]:
            organisation = find_organisation(options["organisation"])
        elif options["organisation"]:
            raise CommandError("--organisation says where the user is a reviewer: give --reviewer too.")
        password = options["password"] if options["password"] is not None else _ask_password()
        user = create_user(
            email=options["email"],
            password=password,
            first_name=options["first_name"],
            last_name=options["last_name"],
            phone=options["phone"],
            birth_date=_read_date(options["birth_date"]),
            is_administrator=options["administrator"],
            reviewer_at=organisation,
        )
        self._warn_of_weak_password(password, user)
        self.answer(
            {
                "id": str(user.pk),
                "email": user.email,
                "username": user.username,
                "first_name": user.first_name,
                "last_name": user.last_name,
                "reviewer": options["reviewer"],
                "organisation": organisation.slug if organisation else None,
                "administrator": user.is_staff,
            },
            as_json=options["json"],
        )

    def _warn_of_weak_password(self, password: str, user: User) -> None:
        try:
            validate_password(password, user)
        except ValidationError as error:
            self.note(f"The sign-up page would not take this password: {' '.join(error.messages)}")


def _ask_password() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Password: ")
    return sys.stdin.readline().rstrip("\r\n")


def _read_date(text: str | None) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise CommandError(f"--birth-date: {text!r} is not a day; write it as YYYY-MM-DD.") from error
