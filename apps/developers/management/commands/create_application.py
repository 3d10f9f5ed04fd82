from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser

from apps.accounts.models import User
from apps.developers import rules
from apps.developers.models import Application, Profile
from apps.developers.scopes import BY_PROFILE
from apps.developers.services.applications import create_application
from apps.organisations.management.base import (
    AnsweringCommand,
    add_organisation_argument,
    find_organisation,
)

#: The option that each field of a refusal is about.
_OPTIONS = {
    "name": "--name",
    "profile": "--profile",
    "redirect_uris": "--redirect-uri",
    "scopes": "--scope",
    "client_type": "--public",
    "is_trusted": "--trusted",
    "description": "--description",
    "website_url": "--website",
    "privacy_policy_url": "--privacy-policy",
    "terms_url": "--terms",
}


class Command(AnsweringCommand):
    help = "Create an application. Its client secret is printed once and can never be seen again."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True, help="what users read on the consent screen")
        parser.add_argument("--profile", required=True, help=f"one of {', '.join(Profile.values)}")
        parser.add_argument(
            "--redirect-uri", action="append", default=[], metavar="URI", help="may be given several times"
        )
        parser.add_argument(
            "--scope",
            action="append",
            default=[],
            help="may be given several times; left out: every scope of the profile connection",
        )
        parser.add_argument("--reason", action="append", default=[], metavar="SCOPE=TEXT", help="why a scope is needed")
        parser.add_argument(
            "--optional-scope", action="append", default=[], metavar="SCOPE", help="one that users may untick"
        )
        add_organisation_argument(parser, "whose application it is")
        parser.add_argument("--owner", metavar="EMAIL", help="the user who may administer it in the portal")
        parser.add_argument("--public", action="store_true", help="an app that cannot keep a secret")
        parser.add_argument("--trusted", action="store_true", help="a brand's own partner: no consent screen")
        parser.add_argument("--approve", action="store_true", help="users may authorise it at once")
        parser.add_argument("--description", default="")
        parser.add_argument("--website", default="", metavar="URL")
        parser.add_argument("--privacy-policy", default="", metavar="URL")
        parser.add_argument("--terms", default="", metavar="URL")

    def handle(self, **options: Any) -> None:
        scopes = options["scope"]
        if not scopes and options["profile"] == Profile.CONNECTION:
            scopes = [scope.name for scope in BY_PROFILE[Profile.CONNECTION]]
        try:
            application, client_secret = create_application(
                name=options["name"],
                profile=options["profile"],
                organisation=find_organisation(options["organisation"]),
                redirect_uris=options["redirect_uri"],
                scopes=scopes,
                client_type=Application.CLIENT_PUBLIC if options["public"] else Application.CLIENT_CONFIDENTIAL,
                is_trusted=options["trusted"],
                is_approved=options["approve"],
                reasons=_read_reasons(options["reason"], scopes),
                optional_scopes=_check_among(options["optional_scope"], scopes, "--optional-scope"),
                description=options["description"],
                website_url=options["website"],
                privacy_policy_url=options["privacy_policy"],
                terms_url=options["terms"],
                owner=_find_owner(options["owner"]),
            )
        except ValidationError as error:
            raise CommandError(_by_option(error, scopes)) from error
        self.answer(
            {
                "client_id": application.client_id,
                "client_secret": client_secret,
                "name": application.name,
                "profile": application.profile,
                "organisation": application.organisation.slug,
                "redirect_uris": application.redirect_uri_list,
                "scopes": application.scopes,
                "approved": application.is_approved,
                "trusted": application.is_trusted,
                "client_type": application.client_type,
            },
            as_json=options["json"],
        )


def _by_option(error: ValidationError, scopes: list[str]) -> str:
    """Return all that is wrong in one line, each with the option that it is about."""
    options = {**_OPTIONS, **{rules.reason_field(scope): f"--reason {scope}" for scope in scopes}}
    return " ".join(
        f"{options[field]}: {message}" if field in options else message
        for field, messages in error.message_dict.items()
        for message in messages
    )


def _read_reasons(pairs: list[str], scopes: list[str]) -> dict[str, str]:
    reasons = {}
    for pair in pairs:
        scope, is_there, reason = pair.partition("=")
        if not is_there or not reason.strip():
            raise CommandError(f"--reason: write {pair!r} as SCOPE=TEXT.")
        reasons[scope.strip()] = reason.strip()
    _check_among(list(reasons), scopes, "--reason")
    return reasons


def _check_among(names: list[str], scopes: list[str], option: str) -> list[str]:
    if unknown := [name for name in names if name not in scopes]:
        raise CommandError(f"{option}: the application does not ask for {', '.join(unknown)}.")
    return names


def _find_owner(email: str | None) -> User | None:
    if email is None:
        return None
    owner = User.objects.filter(email=email.lower()).first()
    if owner is None:
        raise CommandError(f"--owner: nobody has an account with the e-mail address {email}.")
    return owner
