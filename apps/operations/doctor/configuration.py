"""The environment and the settings that were made of it."""

import difflib
import os
from collections.abc import Iterator
from ipaddress import ip_address

from django.conf import settings
from django.core.checks import run_checks

from apps.operations.doctor.findings import Finding, Patient, ok, problem, warning
from apps.operations.production import find_refusals
from config.environment import VARIABLES
from config.reading import Environment

#: How much a name has to be like one of ours to be taken for a slip: 1 is equal. HOME and HOST are 0.75 alike.
_ALIKE = 0.84
#: TLS with a server that has shown who it is; `require` takes anybody's certificate (libpq, 34.19).
_VERIFIED = ("verify-ca", "verify-full")


def examine_settings(patient: Patient) -> Iterator[Finding]:
    """What a production refuses to start with, and what it may but should not have."""
    environment = Environment()
    refusals = find_refusals(environment)
    for each in refusals:
        yield problem(f"{each.variable} {each.what}", each.advice)
    if environment("ENVIRONMENT") == "development":
        yield problem("ENVIRONMENT is development: an unsafe start is not refused.", "Set ENVIRONMENT=production.")
    if not settings.RATE_LIMITS:
        yield warning("RATE_LIMITS is off: passwords can be tried without end.", "Remove RATE_LIMITS=0.")
    errors = [message for message in run_checks() if message.is_serious()]
    for message in errors:
        yield problem(f"{message.msg} ({message.id})", message.hint or "Correct it: manage.py check.")
    if not refusals and not errors:
        yield ok("fit for production")


def examine_names(patient: Patient) -> Iterator[Finding]:
    """Variables that nobody reads, and whose names look like a slip."""
    known = [*VARIABLES, *(f"{name}_FILE" for name in VARIABLES)]
    slips = 0
    for name in sorted(set(os.environ) - set(known)):
        alike = difflib.get_close_matches(name.upper(), known, n=1, cutoff=_ALIKE)
        if alike:
            slips += 1
            yield warning(f"{name} is set, which Countersign does not read.", f"Did you mean {alike[0]}?")
    if not slips:
        yield ok("no name of a variable looks like a slip")


def examine_database_url(patient: Patient) -> Iterator[Finding]:
    """Who is let in, and who can listen."""
    database = settings.DATABASES["default"]
    options = database["OPTIONS"]
    host = database["HOST"] or options.get("host", "")
    if _is_near(host):
        yield ok(f"DATABASE_URL names {host or 'a local socket'}, so nobody listens on the way")
        return
    has_password = database["PASSWORD"] or options.get("passfile") or options.get("sslcert")
    if not has_password:
        yield warning(
            "DATABASE_URL has no password: whoever reaches the server is let in.",
            "Give the role a password, and put it into DATABASE_URL.",
        )
    mode = options.get("sslmode", "prefer")
    if mode not in _VERIFIED:
        yield warning(
            f"the way to the database at {host} is not protected for certain (sslmode={mode}).",
            "Append ?sslmode=verify-full&sslrootcert=/path/to/ca.pem to DATABASE_URL, unless only the two servers are"
            " on that network.",
        )
    elif has_password:
        yield ok(f"DATABASE_URL names {host}, with TLS")


def _is_near(host: str) -> bool:
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
