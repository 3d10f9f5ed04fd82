from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.http.request import validate_host

from apps.organisations.management.base import AnsweringCommand
from apps.organisations.services import create_organisation


class Command(AnsweringCommand):
    help = "Create an organisation. The first one becomes the default one."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--slug", required=True, help="short name, for commands and style sheets")
        parser.add_argument("--name", required=True, help="what users read")
        parser.add_argument("--domain", required=True, help="host name of its pages, e.g. login.example.com")
        parser.add_argument("--tagline", default="", help="a line under the name")
        parser.add_argument("--brand-colour", default="", help="e.g. #1d4ed8")
        parser.add_argument("--website", default="", metavar="URL")
        parser.add_argument("--privacy-policy", default="", metavar="URL")
        parser.add_argument("--support-email", default="")

    def handle(self, **options: Any) -> None:
        organisation = create_organisation(
            slug=options["slug"],
            name=options["name"],
            domain=options["domain"],
            tagline=options["tagline"],
            brand_colour=options["brand_colour"],
            website_url=options["website"],
            privacy_policy_url=options["privacy_policy"],
            support_email=options["support_email"],
        )
        if not validate_host(organisation.domain, settings.ALLOWED_HOSTS):
            self.note(f"Add {organisation.domain} to ALLOWED_HOSTS: without it no request to it is answered.")
        self.answer(
            {
                "slug": organisation.slug,
                "name": organisation.name,
                "domain": organisation.domain,
                "issuer": organisation.issuer,
                "default": organisation.is_default,
            },
            as_json=options["json"],
        )
