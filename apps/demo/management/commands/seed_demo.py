from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from apps.demo.seeding import seed
from apps.organisations.management.base import AnsweringCommand


class Command(AnsweringCommand):
    help = "Make the demo data: organisations, users with a known password, applications. Idempotent."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--force", action="store_true", help="also when DEMO_MODE is off")

    def handle(self, **options: Any) -> None:
        if not settings.DEMO_MODE and not options["force"]:
            raise CommandError(
                "The demo's passwords are public, and DEMO_MODE is off here: nothing was done. "
                "Set DEMO_MODE=1, or give --force if you mean it."
            )
        data = seed()
        lines = [f"{row['name']}: http://{row['domain']}" for row in data["organisations"]]
        lines += [
            f"{row['email']}  {row['password']}  {row['organisation']}" + (" (reviewer)" if row["reviewer"] else "")
            for row in data["users"]
        ]
        lines += [
            f"{row['client_id']}  {row['profile']}  {row['organisation']}  {row['name']}"
            for row in data["applications"]
        ]
        self.answer(data, as_json=options["json"], text="\n".join(lines))
