import json
import sys
from typing import Any
from urllib.parse import urlsplit

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.operations.doctor.examination import Result, examine, worst
from apps.operations.doctor.findings import Level, Patient

_COLOURS = {Level.OK: "SUCCESS", Level.WARNING: "WARNING", Level.PROBLEM: "ERROR"}


class Command(BaseCommand):
    help = (
        "Look at this deployment and say in a line each what is well, and what to do about the rest. Exit status: 0 all"
        " is well, 1 warnings, 2 problems."
    )
    # It says itself what is wrong, and must not stop at the first thing.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--url", default="", metavar="https://sign.example.com", help="ask this public address too")
        parser.add_argument(
            "--connect",
            default="",
            metavar="HOST:PORT",
            help="with --url: where the proxy is, if its name leads elsewhere from here, e.g. proxy:443",
        )
        parser.add_argument("--mail-to", default="", metavar="ADDRESS", help="send a test mail there")

    def handle(self, **options: Any) -> None:
        parts = urlsplit(options["url"])
        if options["url"] and (parts.scheme not in ("http", "https") or not parts.hostname):
            raise CommandError("--url: write the address that users call, e.g. https://sign.example.com")
        host, _, port = options["connect"].rpartition(":")
        if options["connect"] and not (options["url"] and host and port.isdecimal()):
            raise CommandError("--connect: write host:port of the proxy, e.g. proxy:443, together with --url")
        url = f"{parts.scheme}://{parts.netloc}" if options["url"] else ""
        results = []
        for result in examine(Patient(url=url, mail_to=options["mail_to"], connect=options["connect"])):
            results.append(result)
            if not options["json"]:
                self.stdout.write(self._line(result))
        if options["json"]:
            self.stdout.write(json.dumps(_as_json(results), indent=2))
        else:
            self.stdout.write(_verdict(results))
        self.stdout.flush()
        sys.exit(worst(results))

    def _line(self, result: Result) -> str:
        finding = result.finding
        level = getattr(self.style, _COLOURS[finding.level])(f"{finding.level.name.lower():<8}")
        return f"{level} {result.check:<16} {finding.what} {finding.advice}".rstrip()


def _verdict(results: list[Result]) -> str:
    count = {level: sum(result.finding.level is level for result in results) for level in Level}
    return f"\n{count[Level.OK]} ok, {count[Level.WARNING]} to look at, {count[Level.PROBLEM]} to mend"


def _as_json(results: list[Result]) -> dict[str, Any]:
    return {
        "verdict": worst(results).name.lower(),
        "checks": [
            {
                "check": result.check,
                "level": result.finding.level.name.lower(),
                "what": result.finding.what,
                "advice": result.finding.advice,
            }
            for result in results
        ],
    }
