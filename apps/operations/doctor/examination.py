"""The list of checks, and how they are made: one after the other, each for itself, in bounded time."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
from psycopg import errors

from apps.operations.doctor import address, bodies, configuration, content, database, files, keys, mail, work
from apps.operations.doctor.findings import Check, Finding, Level, Patient, problem, warning

#: Seconds for a check that waits for another server, and for all checks together.
WAIT_SECONDS = 30
TOTAL_SECONDS = 120

CHECKS: tuple[Check, ...] = (
    Check("settings", configuration.examine_settings),
    Check("variables", configuration.examine_names),
    Check("way to database", configuration.examine_database_url),
    Check("database", database.examine_server),
    Check("migrations", database.examine_migrations, needs_database=True),
    Check("privileges", database.examine_privileges, needs_database=True),
    Check("collation", database.examine_collation, needs_database=True),
    Check("connections", database.examine_connections, needs_database=True),
    Check("clock", database.examine_clock, needs_database=True),
    Check("signing keys", keys.examine_signing_keys, needs_database=True),
    Check("webhook keys", keys.examine_sealed, needs_database=True),
    Check("second factors", keys.examine_second_factors, needs_database=True),
    Check("audit trail", keys.examine_audit_trail, needs_database=True),
    Check("worker", work.examine_worker, needs_database=True),
    Check("queue", work.examine_queue, needs_database=True),
    Check("failed jobs", work.examine_failed_jobs, needs_database=True),
    Check("periodic tasks", work.examine_periodic_tasks, needs_database=True),
    Check("backup", work.examine_backup, needs_database=True),
    Check("mail", mail.examine_mail, waits=True),
    Check("media", files.examine_media),
    Check("disk", files.examine_disk),
    Check("memory", files.examine_memory),
    Check("static files", files.examine_static_files),
    Check("cache", files.examine_cache, needs_database=True),
    Check("limits", files.examine_valkey, waits=True),
    Check("organisations", content.examine_organisations, needs_database=True),
    Check("reviewers", content.examine_reviewers, needs_database=True),
    Check("administrators", content.examine_administrators, needs_database=True),
    Check("terms", content.examine_terms, needs_database=True),
    Check("demo data", content.examine_demo_data, needs_database=True),
)
#: With --url only.
CHECKS_OF_ADDRESS: tuple[Check, ...] = (
    Check("TLS", address.examine_tls, waits=True),
    Check("plain http", address.examine_plain_http, waits=True),
    Check("arrival", address.examine_arrival, waits=True),
    Check("metadata", address.examine_metadata, waits=True),
    Check("long requests", address.examine_long_request, waits=True),
    Check("half a body", bodies.examine_half_body, waits=True),
    Check("pages", address.examine_pages, waits=True),
    Check("public clock", address.examine_public_clock, waits=True),
)


_INCOMPLETE_SCHEMA = (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction, errors.UndefinedObject)
_REPORT = "See whether code and database belong together (migrations); otherwise it is a fault of Countersign's."


@dataclass(frozen=True)
class Result:
    """One line of the report."""

    check: str
    finding: Finding


def examine(patient: Patient) -> Iterator[Result]:
    """Make every check and yield what it finds, at once. Changes nothing in the database."""
    deadline = time.monotonic() + TOTAL_SECONDS
    checks = CHECKS + (CHECKS_OF_ADDRESS if patient.url else ())
    has_database = _has_database()
    for check in checks:
        if time.monotonic() > deadline:
            findings = [warning("not looked at: the checks before took too long.", "Run the doctor again.")]
        elif check.needs_database and not has_database:
            findings = [warning("not looked at, because the database does not answer.", "See there.")]
        elif check.waits:
            findings = _examine_waiting(check, patient)
        else:
            findings = _examine(check, patient)
        for finding in findings:
            yield Result(check.name, finding)


def _examine(check: Check, patient: Patient) -> list[Finding]:
    """Make one check. One that fails is itself a finding, and what it has found before counts."""
    findings: list[Finding] = []
    # A statement that fails must not take the next check's along.
    protected = database.limited() if check.needs_database else contextlib.nullcontext()
    try:
        with protected:
            findings.extend(check.examine(patient))
    except httpx.ConnectError:
        # That is what the check of TLS is about, which makes the same connection.
        findings.append(warning("not looked at, because no connection can be made.", "See TLS."))
    except httpx.HTTPError as error:
        findings.append(
            problem(
                f"{patient.url} does not answer as it should: {str(error) or type(error).__name__}.",
                "See the log of the proxy and of the web server.",
            )
        )
    except Exception as error:  # whatever it is, the other checks are to be made
        if isinstance(error.__cause__, _INCOMPLETE_SCHEMA):
            findings.append(warning("not looked at: tables of it are missing or old.", "Run manage.py migrate."))
        else:
            reason = str(error).partition("\n")[0]
            findings.append(problem(f"could not be looked at: {type(error).__name__}: {reason}", _REPORT))
    return findings


def _examine_waiting(check: Check, patient: Patient) -> list[Finding]:
    """Make one check in a thread that nobody has to wait for: looking up a name cannot be interrupted."""
    findings: list[Finding] = []

    def run() -> None:
        findings.extend(_examine(check, patient))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WAIT_SECONDS)
    if thread.is_alive():
        what = f"no answer within {WAIT_SECONDS} s."
        return [problem(what, "Look at host and port, at DNS, and at the firewall.")]
    return list(findings)


def worst(results: list[Result]) -> Level:
    """Return how bad it is altogether."""
    return max((result.finding.level for result in results), default=Level.OK)


def _has_database() -> bool:
    """Say whether the database answers."""
    try:
        with database.limited():
            database.read("SELECT 1")
    except Exception:  # the check of the database says why
        return False
    return True
