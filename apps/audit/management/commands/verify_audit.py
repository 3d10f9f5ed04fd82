import sys
from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import BaseCommand

from apps.audit.verification import as_json, verify

_IF_KNOWN = "If somebody else may know that secret, they may have deleted these: look into a backup of before."


class Command(BaseCommand):
    help = (
        "Check that nobody has changed, added, deleted or reordered anything in the audit trail. Exit status 1, and "
        "which event or seal it is, when somebody has."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="answer with JSON on standard output")
        parser.add_argument(
            "--anchor",
            metavar="SEAL:DIGEST",
            action="append",
            default=[],
            type=_anchor,
            help="a seal that you have kept elsewhere, e.g. from the log: it shows if the newest ones were cut off",
        )

    def handle(self, **options: Any) -> None:
        report = verify(anchors=dict(options["anchor"]))
        if options["json"]:
            self.stdout.write(as_json(report))
        else:
            for finding in report.findings:
                self.stdout.write(str(finding))
            state = "intact" if report.is_intact else f"NOT INTACT ({len(report.findings)} findings)"
            self.stdout.write(
                f"The audit trail is {state}: {report.seals} seals ({report.pruned_seals} of them pruned), "
                f"{report.sealed_events} sealed events, {report.unsealed_events} not sealed yet."
            )
            if report.last_earlier_seal is not None:
                self.stdout.write(
                    f"{report.earlier_seals} seals were made with an earlier SECRET_KEY, up to seal"
                    f" {report.last_earlier_seal}. If that is newer than your change of it, or if somebody else may"
                    " know the earlier one, compare them with the digests in the log (--anchor)."
                )
            if report.earlier_prunings:
                self.stdout.write(
                    f"{report.earlier_prunings} prunings were signed with an earlier SECRET_KEY, up to seal"
                    f" {report.last_earlier_pruning}. {_IF_KNOWN}"
                )
            if report.earlier_notes:
                self.stdout.write(
                    f"{report.earlier_notes} notes about people who were made anonymous were signed with an earlier"
                    f" SECRET_KEY, up to event {report.last_earlier_note}. {_IF_KNOWN}"
                )
            if report.last_seal is not None:
                self.stdout.write(f"The newest seal is {report.last_seal}:{report.last_digest}")
        if not report.is_intact:
            sys.exit(1)


def _anchor(text: str) -> tuple[int, bytes]:
    number, _, digest = text.partition(":")
    try:
        return int(number), bytes.fromhex(digest)
    except ValueError:
        raise ArgumentTypeError("write it as the number of the seal, a colon, and its digest in hex") from None
