import sys
from dataclasses import asdict
from typing import Any

from apps.operations.resealing import reseal
from apps.organisations.management.base import AnsweringCommand


class Command(AnsweringCommand):
    help = (
        "After a change of SECRET_KEY, with the earlier one in SECRET_KEY_FALLBACKS: seal webhook keys, signing keys,"
        " second factors and queued mails with the new one. Exit status 1 if some of them open with neither."
    )

    def handle(self, **options: Any) -> None:
        tallies = reseal()
        lines = [
            f"{tally.name}: {tally.resealed} sealed anew, {tally.current} were already, {tally.closed} cannot be opened"
            for tally in tallies
        ]
        self.answer({"sealed": [asdict(tally) for tally in tallies]}, as_json=options["json"], text="\n".join(lines))
        if any(tally.closed for tally in tallies):
            sys.exit(1)
