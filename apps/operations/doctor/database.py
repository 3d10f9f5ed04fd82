"""PostgreSQL: that it is there, what it lets us do, and whether it keeps what it is told."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.conf import settings
from django.db import Error, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from apps.operations import worker
from apps.operations.doctor.findings import Finding, Patient, ok, plural, problem, warning
from apps.operations.outage import describe

#: What Django 5.2 supports.
OLDEST_VERSION = 140000
#: Of one worker: the queue's own, and one of each thread that a job may block.
WORKER_CONNECTIONS = worker.CONNECTIONS["max_size"] + worker.OTHERS_AT_ONCE + 4
#: Seconds by which two clocks may differ: codes live for 60.
CLOCK_WARNING, CLOCK_PROBLEM = 2.0, 20.0
#: Milliseconds that a statement of the doctor's may take.
STATEMENT_MILLISECONDS = 10_000

#: What nobody may do to the audit trail (docs/decisions/0011), by table.
_FORBIDDEN = {
    "audit_auditevent": ("UPDATE", "DELETE", "TRUNCATE"),
    "audit_sealedevent": ("UPDATE", "DELETE", "TRUNCATE"),
    "audit_auditseal": ("UPDATE", "DELETE", "TRUNCATE"),
    "audit_auditperson": ("UPDATE", "DELETE", "TRUNCATE"),
    "audit_anonymisedperson": ("UPDATE", "DELETE", "TRUNCATE"),
}
_GUARDS = """
SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relname = ANY(%s) AND t.tgname IN ('audit_no_update', 'audit_no_delete', 'audit_no_truncate')
  AND t.tgenabled = 'A' AND pg_table_is_visible(c.oid)
"""
#: Update, delete and truncate of each.
_GUARD_COUNT = 15
_ROLE = """
SELECT r.rolname, r.rolsuper, r.rolcreaterole, r.rolcreatedb, r.rolreplication, r.rolbypassrls, r.rolconnlimit,
       (SELECT pg_get_userbyid(relowner) = current_user FROM pg_class WHERE oid = 'audit_auditevent'::regclass),
       has_schema_privilege(current_schema(), 'CREATE')
FROM pg_roles r WHERE r.rolname = current_user
"""
_SERVER = """
SELECT pg_encoding_to_char(d.encoding), current_setting('TimeZone'), current_setting('fsync'),
       current_setting('full_page_writes'), current_setting('synchronous_commit'), pg_is_in_recovery(),
       pg_size_pretty(pg_database_size(d.oid)), d.datconnlimit
FROM pg_database d WHERE d.datname = current_database()
"""
_COLLATION = """
SELECT datcollversion, pg_database_collation_actual_version(oid) FROM pg_database WHERE datname = current_database()
"""
_ROOM = """
SELECT current_setting('max_connections')::int
       - current_setting('superuser_reserved_connections')::int,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
"""


def examine_server(patient: Patient) -> Iterator[Finding]:
    """Is it there, new enough, and the one that takes what is written?"""
    try:
        connection.ensure_connection()
        began = time.monotonic()
        read("SELECT 1")
    except (Error, psycopg.Error) as error:
        yield problem(
            f"the database does not answer: {describe(error)}.",
            "Start PostgreSQL, or correct host, name, user and password in DATABASE_URL.",
        )
        return
    milliseconds = 1000 * (time.monotonic() - began)
    with limited():
        yield from _examine_answering_server(milliseconds)


def _examine_answering_server(milliseconds: float) -> Iterator[Finding]:
    version = _version()
    if version < OLDEST_VERSION:
        yield problem(f"PostgreSQL is version {version // 10_000}.", "Upgrade it to version 14 or newer.")
    [(encoding, zone, fsync, pages, commit, is_standby, size, _)] = read(_SERVER)
    if encoding != "UTF8":
        yield problem(
            f"the database's encoding is {encoding}, which has no place for many names.",
            "Create it anew with ENCODING 'UTF8' TEMPLATE template0, and restore into that.",
        )
    if zone != "UTC":
        yield warning(
            f"our connection has the time zone {zone}, not UTC, so a pooler mixes sessions up.",
            "Let PgBouncer track it: track_extra_parameters = TimeZone.",
        )
    if is_standby:
        yield problem("this is a standby, which only lets itself be read.", "Name the primary in DATABASE_URL.")
    for name, value in {"fsync": fsync, "full_page_writes": pages, "synchronous_commit": commit}.items():
        if value == "off":
            yield warning(
                f"{name} is off: a power cut loses tokens and events that were given out.",
                f"Set {name} = on in postgresql.conf.",
            )
    yield ok(f"PostgreSQL {version // 10_000} answers within {milliseconds:.0f} ms; the database has {size}")


def _version() -> int:
    """Return the server's version as 180001 for 18.1."""
    return int(read("SHOW server_version_num")[0][0])


def examine_collation(patient: Patient) -> Iterator[Finding]:
    """Has the operating system's order of text changed under the indexes?"""
    if _version() < 150_000:
        yield ok("this version of PostgreSQL does not tell")
        return
    [(made_with, now)] = read(_COLLATION)
    if made_with != now and made_with and now:
        yield problem(
            f"indexes of text were made with collation {made_with}, the system now has {now}: rows may not be found.",
            "Run REINDEX DATABASE, then ALTER DATABASE … REFRESH COLLATION VERSION.",
        )
    else:
        yield ok("indexes of text fit the system's collation")


def examine_privileges(patient: Patient) -> Iterator[Finding]:
    """Does the audit trail's protection bind the role that we use (docs/decisions/0011)?"""
    [(role, is_super, may_roles, may_databases, may_replicate, bypasses, _, is_owner, may_create)] = read(_ROLE)
    [(guards,)] = read(_GUARDS, list(_FORBIDDEN))
    if guards != _GUARD_COUNT:
        yield problem(
            f"{_GUARD_COUNT - guards} of the {_GUARD_COUNT} triggers that keep the audit trail as it was are off.",
            "Find out who did that (manage.py verify_audit), and switch them on: ALTER TABLE … ENABLE ALWAYS TRIGGER …",
        )
    if is_super:
        yield warning(
            f"the role {role} is a superuser: nothing in PostgreSQL binds it.",
            "Make a role that owns the database and is nothing else, and name it in DATABASE_URL.",
        )
    else:
        for table, privileges in _FORBIDDEN.items():
            held = [name for name in privileges if read("SELECT has_table_privilege(%s, %s)", table, name)[0][0]]
            if held:
                yield problem(
                    f"the role {role} may {', '.join(held)} {table}, so the trail is not append-only.",
                    f"REVOKE {', '.join(held)} ON {table} FROM {role};",
                )
    more = {
        "CREATEROLE": may_roles,
        "CREATEDB": may_databases,
        "REPLICATION": may_replicate,
        "BYPASSRLS": bypasses,
    }
    spare = [name for name, held in more.items() if held and not is_super]
    if spare:
        yield warning(
            f"the role {role} has more rights than it needs: {', '.join(spare)}.",
            f"ALTER ROLE {role} {' '.join(f'NO{name}' for name in spare)};",
        )
    if not is_super and guards == _GUARD_COUNT:
        whose = "owns the tables, to migrate them" if is_owner else "does not own the tables"
        create = "" if is_owner or not may_create else ", and could do without CREATE on the schema"
        yield ok(f"the audit trail is append-only for the role {role}, which {whose}{create}")


def examine_migrations(patient: Patient) -> Iterator[Finding]:
    """Do code and schema belong together?"""
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    labels = executor.loader.migrated_apps
    known = set(executor.loader.disk_migrations)
    for migration in executor.loader.disk_migrations.values():
        known.update(migration.replaces)
    unknown = sorted(key for key in executor.loader.applied_migrations if key[0] in labels and key not in known)
    if pending:
        first = pending[0][0]
        yield problem(
            f"{plural(len(pending), 'migration')} not applied, the first is {first.app_label}.{first.name}.",
            "Run manage.py migrate.",
        )
    if unknown:
        label, name = unknown[-1]
        yield warning(
            f"the database has {plural(len(unknown), 'migration')} that this code does not know, e.g. {label}.{name}:"
            " it belongs to a newer version.",
            "Finish the upgrade; an older version may run beside it only while it lasts.",
        )
    if not pending and not unknown:
        yield ok("all migrations are applied")


def examine_connections(patient: Patient) -> Iterator[Finding]:
    """Is there room for all pools when they are full?"""
    [(room, used)] = read(_ROOM)
    [(*_, database_limit)] = read(_SERVER)
    [(_, _, _, _, _, _, role_limit, _, _)] = read(_ROLE)
    room = min([room, *(limit for limit in (database_limit, role_limit) if limit >= 0)])
    pool = settings.DATABASES["default"]["OPTIONS"]["pool"]["max_size"]
    if pool < settings.WEB_THREADS:
        yield warning(
            f"WEB_THREADS={settings.WEB_THREADS} requests share DATABASE_POOL_SIZE={pool} connections: when all are in"
            " use, who gets none within two seconds is answered 503.",
            f"Set DATABASE_POOL_SIZE to at least {settings.WEB_THREADS + 1}, or lower WEB_THREADS.",
        )
    ours = settings.WEB_PROCESSES * min(pool, settings.WEB_THREADS + 1) + WORKER_CONNECTIONS
    what = f"one web server and a worker open up to {ours} connections, PostgreSQL has {room} ({used} in use)"
    if ours > room:
        yield problem(
            f"{what}.",
            "Raise max_connections, or lower WEB_PROCESSES or DATABASE_POOL_SIZE; with many web servers put PgBouncer"
            " in between.",
        )
    elif ours * 2 > room:
        yield ok(f"{what}: enough for one of each, not for a second")
    else:
        yield ok(what)


def examine_clock(patient: Patient) -> Iterator[Finding]:
    """Do the database and we agree on the time?"""
    before = timezone.now()
    [(theirs,)] = read("SELECT clock_timestamp()")
    after = timezone.now()
    yield compare_clocks((theirs - (before + (after - before) / 2)).total_seconds(), "the database's")


def compare_clocks(seconds: float, whose: str) -> Finding:
    """Return what a difference of so many seconds means; `whose` is the other clock's owner."""
    what = f"{whose} clock is {abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
    if abs(seconds) < CLOCK_WARNING:
        return ok(f"{whose} clock agrees with ours within {CLOCK_WARNING:g} s")
    advice = "Let both machines follow NTP (timedatectl set-ntp true)."
    return (problem if abs(seconds) >= CLOCK_PROBLEM else warning)(f"{what}.", advice)


@contextmanager
def limited() -> Iterator[None]:
    """Let no question of the doctor's take long in here.

    For this transaction only: a pooler shares a session with others, who would be left with what is set for it.
    """
    with transaction.atomic():
        read("SELECT set_config('statement_timeout', %s, true)", str(STATEMENT_MILLISECONDS))
        yield


def read(statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    """Return the rows."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters or None)
        return cursor.fetchall()
