"""Migrating under load: nobody waits for long, and the code of before goes on with the schema of after."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db.migrations import RunSQL
from django.db.migrations.loader import MigrationLoader
from psycopg import sql

from apps.operations.migrating import MIGRATE_LOCK
from apps.operations.migration_rules import EXEMPT, our_migrations

CHECKOUT = Path(__file__).resolve().parents[2]
#: In each table that the last two migrations change; and in those that the newest of the other apps do.
ROWS = 1_000_000
FEWER_ROWS = 20_000
#: Nobody may be kept waiting for longer, in seconds.
LONGEST_WAIT = 1.0
#: Modes that keep readers or writers out.
BLOCKING = ("AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock")

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Base:
    """A database for a test of its own, beside the tests' one."""

    url: str

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.url, autocommit=True)

    def run(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=CHECKOUT,
            env=os.environ | {"DATABASE_URL": self.url, "PYTHONWARNINGS": "ignore", "ENVIRONMENT": "development"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def manage(self, *arguments: str) -> "subprocess.Popen[str]":
        return self.run("manage.py", *arguments)


@pytest.fixture
def base() -> Iterator[Base]:
    server = os.environ["DATABASE_URL"]
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS to_be_migrated WITH (FORCE)")
        connection.execute("CREATE DATABASE to_be_migrated")
    yield Base(urlsplit(server)._replace(path="/to_be_migrated").geturl())
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE to_be_migrated WITH (FORCE)")


def ended(process: "subprocess.Popen[str]", status: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


# --- which migrations, which tables ---------------------------------------------------------------------------------


class Upgrade:
    """The newest migrations of each of our apps, and the tables that they change."""

    def __init__(self) -> None:
        self.loader = MigrationLoader(None)

    @cached_property
    def migrations(self) -> list[tuple[str, str]]:
        """The last two of each app: whichever two are the newest of all, they are among them.

        Not those that only make tables, and not those from before the first release, which no server went on beside.
        """
        ours = our_migrations(self.loader)
        newest = {key for app in {key[0] for key in ours} for key in [key for key in ours if key[0] == app][-2:]}
        before_release = {key for key, reason in EXEMPT.items() if "before the first release" in reason}
        return [key for key in ours if key in newest - before_release and self._tables_of(key)]

    @cached_property
    def large_tables(self) -> set[str]:
        """What the last two change, in the order in which migrations are applied."""
        return {table for key in self.migrations[-2:] for table in self._tables_of(key)}

    @cached_property
    def tables(self) -> dict[str, type[Any]]:
        """The tables that all of them change, each with the model that the code of before has of it."""
        state = self.loader.project_state(self.state_before)
        models = {model._meta.db_table: model for model in state.apps.get_models(include_auto_created=True)}
        return {table: models[table] for key in self.migrations for table in self._tables_of(key) if table in models}

    @property
    def state_before(self) -> list[tuple[str, str]]:
        """What to migrate to, so that these are what is pending."""
        graph = self.loader.graph
        later = {child for key in self.migrations for child in graph.backwards_plan(key)}
        return [
            key
            for key, node in graph.node_map.items()
            if key not in later and all(child.key in later for child in node.children)
        ]

    @cache  # noqa: B019 (there is one of us)
    def _tables_of(self, key: tuple[str, str]) -> frozenset[str]:
        """The tables that are there before a migration and that it changes."""
        migration = self.loader.get_migration(*key)
        state = self.loader.project_state(key, at_end=False)
        there = {model._meta.db_table for model in state.apps.get_models(include_auto_created=True)}
        names = {
            state.models[key[0], name].options.get("db_table") or f"{key[0]}_{name}"
            for name in filter(None, (getattr(each, "model_name_lower", None) for each in migration.operations))
            if (key[0], name) in state.models
        }
        for text in (str(each.sql) for each in migration.operations if isinstance(each, RunSQL)):
            names |= {table for table in there if re.search(rf"\b{table}\b", text)}
        return frozenset(names & there)


# --- a million rows -------------------------------------------------------------------------------------------------

#: What a column is filled with, by its type; `i` counts the rows.
BY_TYPE = {
    "uuid": "gen_random_uuid()",
    "bigint": "i",
    "integer": "i % 1000",
    "smallint": "i % 100",
    "boolean": "i % 2 = 0",
    "timestamp with time zone": "now() + (i % 1000) * interval '1 hour'",
    "date": "current_date",
    "jsonb": "'{}'::jsonb",
    "bytea": "decode(md5(i::text), 'hex')",
    "inet": "'192.0.2.1'::inet",
    "text": "'row ' || i",
    "xid8": "'3'::xid8",
    "ARRAY": "'{}'",
    "double precision": "0.5",
    "numeric": "1",
}
#: Where a constraint of the table asks for something else.
BY_COLUMN: dict[tuple[str, str], str] = {
    ("accounts_user", "is_active"): "true",
    ("accounts_user", "closed_at"): "NULL",
    ("audit_auditevent", "tag"): "'server:thing:done'",
    ("audit_auditperson", "part"): "'actor'",
}
#: What no code changes: the database refuses it.
APPEND_ONLY = {"audit_auditevent", "audit_auditperson", "audit_auditseal", "audit_sealedevent"}


def fill(connection: psycopg.Connection[Any], table: str, rows: int) -> None:
    """Fill a table, whatever its columns are; what they refer to need not exist."""
    columns = connection.execute(
        "SELECT column_name, data_type, character_maximum_length, is_nullable, column_default IS NOT NULL"
        " OR is_identity = 'YES' FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER' ORDER BY ordinal_position",
        [table],
    ).fetchall()
    names, values = [], []
    for name, kind, length, nullable, has_default in columns:
        if (table, name) in BY_COLUMN:
            value = BY_COLUMN[table, name]
        elif has_default or (kind == "ARRAY" and nullable == "YES"):
            continue
        elif kind == "character varying":
            value = (
                f"left('{name[:3]} ' || i, {length})" if length is None or length > 9 else f"left(i::text, {length})"
            )
        elif nullable == "YES" and kind not in ("timestamp with time zone", "uuid"):
            continue
        else:
            value = BY_TYPE[kind]
        names.append(sql.Identifier(name))
        values.append(sql.SQL(value))
    # Indexes are made at the end, from all rows at once: entry by entry a million rows take minutes.
    connection.execute("UPDATE pg_index SET indisready = false WHERE indrelid = %s::regclass", [table])
    with connection.transaction():
        # No triggers: neither those of foreign keys nor those that guard the table.
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM generate_series(1, {}) AS i").format(
                sql.Identifier(table), sql.SQL(", ").join(names), sql.SQL(", ").join(values), sql.Literal(rows)
            )
        )
    connection.execute(sql.SQL("REINDEX TABLE {}").format(sql.Identifier(table)))
    connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    assert not connection.execute(
        "SELECT FROM pg_index WHERE indrelid = %s::regclass AND NOT (indisready AND indisvalid)", [table]
    ).fetchall()


# --- load, and who waits ----------------------------------------------------------------------------------------------


class Load:
    """Readers and writers of the code of before on each table, and somebody who watches their locks."""

    def __init__(self, base: Base, statements: dict[str, list[sql.Composed]]) -> None:
        self.base = base
        self.statements = statements
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.done = dict.fromkeys(statements, 0)
        #: Seconds between two looks of who watches: for as long this machine itself has held everybody up.
        self.longest_pause = 0.0
        #: Seconds, by what was waited for.
        self.longest_wait = 0.0
        self.longest_lock: dict[tuple[str, str], float] = {}
        self.threads = [threading.Thread(target=self._guarded, args=(self._work, table)) for table in statements] + [
            threading.Thread(target=self._guarded, args=(self._watch,))
        ]

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _guarded(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except BaseException as error:
            self.errors.append(error)

    def _work(self, table: str) -> None:
        with psycopg.connect(self.base.url, application_name="load", autocommit=True) as connection:
            while not self.stop.is_set():
                for statement in self.statements[table]:
                    connection.execute(statement)
                self.done[table] += 1
                time.sleep(0.005)

    def _watch(self) -> None:
        """Note for how long each waits for a lock, and for how long somebody else holds one that keeps them out."""
        since: dict[Any, float] = {}
        with self.base.connect() as connection:
            last = time.monotonic()
            while not self.stop.is_set():
                now = time.monotonic()
                self.longest_pause, last = max(self.longest_pause, now - last), now
                seen: dict[Any, float] = {}
                for pid, mode, table, is_granted in connection.execute(
                    "SELECT l.pid, l.mode, c.relname, l.granted FROM pg_locks l"
                    " JOIN pg_class c ON c.oid = l.relation JOIN pg_stat_activity a ON a.pid = l.pid"
                    " WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
                    " AND c.relname = ANY(%s) AND ((l.granted AND l.mode = ANY(%s))"
                    " OR (NOT l.granted AND a.application_name = 'load'))",
                    [list(self.statements), list(BLOCKING)],
                ):
                    key = (pid, mode, table, is_granted)
                    seen[key] = since.get(key, now)
                    lasted = now - seen[key]
                    if is_granted:
                        lock = (table, mode)
                        self.longest_lock[lock] = max(self.longest_lock.get(lock, 0), lasted)
                    else:
                        self.longest_wait = max(self.longest_wait, lasted)
                since = seen
                time.sleep(0.01)


def statements_of_old_code(model: type[Any], row: dict[str, Any]) -> list[sql.Composed]:
    """What the code of before says to its table: it names its own columns, to read, to insert and to change them."""
    table = sql.Identifier(model._meta.db_table)
    columns = [each.column for each in model._meta.concrete_fields if not each.generated]
    key = model._meta.pk.column
    # A row that is there already is not inserted: the statement is planned and checked all the same.
    statements = [
        sql.SQL("SELECT {} FROM {} WHERE {} = {}").format(
            sql.SQL(", ").join(map(sql.Identifier, columns)), table, sql.Identifier(key), sql.Literal(row[key])
        ),
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} WHERE {} = {} ON CONFLICT DO NOTHING").format(
            table,
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            table,
            sql.Identifier(key),
            sql.Literal(row[key]),
        ),
        sql.SQL("UPDATE {} SET {} = {} WHERE {} = {}").format(
            table,
            sql.Identifier(columns[-1]),
            sql.Identifier(columns[-1]),
            sql.Identifier(key),
            sql.Literal(row[key]),
        ),
    ]
    return statements[:-1] if model._meta.db_table in APPEND_ONLY else statements


def test_newest_migrations_hold_nobody_up_and_old_code_goes_on(base: Base) -> None:
    """On a million rows, with readers and writers that know the schema of before, during the upgrade and after it.

    That is what a rolling upgrade asks of a migration: the new code comes when the schema is there.
    """
    upgrade = Upgrade()
    assert len(upgrade.migrations) >= 2
    targets = "; ".join(f"{app}.{name}" for app, name in upgrade.state_before)
    ended(base.run("-c", MIGRATE_TO, targets))
    with base.connect() as connection:
        pending = set(upgrade.migrations) - set(
            connection.execute("SELECT app, name FROM django_migrations").fetchall()
        )
        assert pending == set(upgrade.migrations)
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '256MB'")
        for table in upgrade.tables:
            fill(connection, table, ROWS if table in upgrade.large_tables else FEWER_ROWS)
        statements = {}
        for table, model in upgrade.tables.items():
            with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
                row = cursor.execute(
                    sql.SQL("SELECT * FROM {} ORDER BY {} LIMIT 1").format(
                        sql.Identifier(table), sql.Identifier(model._meta.pk.column)
                    )
                ).fetchone()
            assert row is not None
            statements[table] = statements_of_old_code(model, row)
    with Load(base, statements) as load:
        wait_until(lambda: all(load.done.values()) or load.errors)
        ended(base.manage("migrate", "--verbosity", "0"))
        before = dict(load.done)
        wait_until(lambda: all(load.done[table] > before[table] for table in statements) or load.errors)
    assert load.errors == []
    assert all(load.done[table] > before[table] > 0 for table in statements), "somebody could not go on"
    limit = LONGEST_WAIT + load.longest_pause
    assert load.longest_wait < limit, (load.longest_wait, limit)
    assert all(lasted < limit for lasted in load.longest_lock.values()), (load.longest_lock, limit)


#: Django's own command takes one target only.
MIGRATE_TO = """
import sys, django
django.setup()
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
targets = [tuple(target.split(".")) for target in sys.argv[1].split("; ")]
MigrationExecutor(connection).migrate(targets)
"""


def test_lock_that_keeps_others_out_is_noticed(base: Base) -> None:
    """The watch of the test above sees what it is there for."""
    with base.connect() as connection:
        connection.execute("CREATE TABLE shelf (id int)")
        with Load(base, {"shelf": [sql.SQL("SELECT * FROM shelf").format()]}) as load:
            wait_until(lambda: load.done["shelf"])
            with connection.transaction():
                connection.execute("LOCK TABLE shelf IN ACCESS EXCLUSIVE MODE")
                wait_until(
                    lambda: (
                        load.longest_wait > LONGEST_WAIT
                        and load.longest_lock.get(("shelf", "AccessExclusiveLock"), 0) > LONGEST_WAIT
                    )
                )
    assert load.errors == []


# --- `manage.py migrate` ----------------------------------------------------------------------------------------------


@pytest.fixture
def half(base: Base) -> Base:
    """A database that lacks the newest migration that needs a table of users for itself."""
    ended(base.manage("migrate", "--verbosity", "0", "accounts", "0002"))
    return base


def test_migration_steps_back_from_a_table_in_use_and_comes_again(half: Base) -> None:
    """Whoever comes after the statement that waits for its lock waits as long as lock_timeout, and not for ever."""
    with half.connect() as reader, half.connect() as other:
        with reader.transaction():
            reader.execute("SELECT count(*) FROM accounts_user")
            process = half.manage("migrate", "--lock-timeout", "0.5", "accounts", "0003")
            wait_for_lock(other)
            began = time.monotonic()
            other.execute("SELECT count(*) FROM accounts_user")
            assert time.monotonic() - began < 30
            # It has stepped back and comes again.
            wait_for_lock(other)
        output = ended(process)
    assert "tries again" in output
    assert "Open transactions" in output
    with half.connect() as connection:
        connection.execute("SELECT closed_at FROM accounts_user")


def test_migration_is_given_up_after_so_many_tries(half: Base) -> None:
    with half.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM accounts_user")
        output = ended(half.manage("migrate", "--lock-timeout", "0.2", "--tries", "2", "accounts", "0003"), status=1)
    assert "in use all the time" in output
    assert "The migrations before this one are done" in output
    assert "Traceback" not in output
    with half.connect() as connection, pytest.raises(psycopg.errors.UndefinedColumn):
        connection.execute("SELECT closed_at FROM accounts_user")
    ended(half.manage("migrate", "--verbosity", "0", "accounts", "0003"))


def test_index_waits_for_old_transactions_as_long_as_it_takes_and_replaces_a_broken_one(half: Base) -> None:
    """CREATE INDEX CONCURRENTLY keeps nobody out, and what a killed one has left must not stop the next."""
    ended(half.manage("migrate", "--verbosity", "0", "webhooks", "0002"))
    with half.connect() as connection, half.connect() as other:
        connection.execute("CREATE INDEX webhook_keys_by_end ON webhooks_endpointkey (ends_at)")
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'webhook_keys_by_end'::regclass")
        with other.transaction():
            other.execute("SELECT count(*) FROM webhooks_endpointkey")
            other.execute("SELECT pg_current_xact_id()")
            process = half.manage("migrate", "--verbosity", "0", "--lock-timeout", "0.2", "webhooks", "0003")
            # The first waits already while the broken one is dropped.
            wait_until(
                lambda: connection.execute(
                    "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'virtualxid'"
                ).fetchone()
            )
            time.sleep(2)  # ten times as long as it may wait for a lock
            assert process.poll() is None, process.communicate()
        output = ended(process)
        assert "tries again" not in output
        [(is_valid,)] = connection.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = 'webhook_keys_by_end'::regclass"
        )
        assert is_valid


@pytest.mark.parametrize(
    ("app", "before", "name", "table"),
    [
        ("tokens", "0001", "0002_indexes_for_housekeeping", "tokens_%|oauth2_provider_accesstoken"),
        ("developers", "0006", "0007_indexes_for_housekeeping", "developers_%"),
    ],
)
def test_migration_that_was_killed_after_any_of_its_indexes_can_be_run_again(
    base: Base, app: str, before: str, name: str, table: str
) -> None:
    """It is not atomic: what was made is there, the last of it perhaps invalid, and the record of it is not."""
    indexes = f"""
    SELECT indexname, indexdef FROM pg_indexes
    WHERE tablename LIKE ANY(string_to_array('{table}', '|')) ORDER BY 1
    """
    # The library's own are no part of this.
    ended(base.manage("migrate", "--verbosity", "0", "oauth2_provider"))
    ended(base.manage("migrate", "--verbosity", "0", app, before))
    with base.connect() as connection:
        at_first = connection.execute(indexes).fetchall()
        ended(base.manage("migrate", "--verbosity", "0", app, name))
        made = connection.execute(indexes).fetchall()
        new = sorted(index for index, _definition in set(made) - set(at_first))
        assert len(new) > 1
        connection.execute("DELETE FROM django_migrations WHERE (app, name) = (%s, %s)", [app, name])
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [new[0]])
        connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(new[1])))
        ended(base.manage("migrate", "--verbosity", "0", app, name))
        assert connection.execute(indexes).fetchall() == made
        assert connection.execute("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid").fetchall() == []


def test_database_that_is_still_starting_is_waited_for(base: Base) -> None:
    name = urlsplit(base.url).path[1:]
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        output = ended(base.manage("migrate", "--wait", "0.5", "accounts", "0001"), status=1)
        assert "The database cannot be reached" in output
        assert "Traceback" not in output
        process = base.manage("migrate", "--wait", "60", "contenttypes", "0001")
        assert process.stdout is not None
        assert "waiting for up to 60 s" in process.stdout.readline()
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    ended(process)
    with base.connect() as connection:
        connection.execute("SELECT 1 FROM django_content_type")


def test_those_that_migrate_at_once_come_one_after_the_other(base: Base) -> None:
    """Several servers start at the same moment, while somebody migrates already."""
    with base.connect() as somebody:
        somebody.execute("SELECT pg_advisory_lock(%s)", [MIGRATE_LOCK])
        processes = [base.manage("migrate", "--verbosity", "0") for _ in range(2)]
        deadline = time.monotonic() + 60
        while somebody.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND query LIKE '%pg_try_advisory_lock%' AND pid <> pg_backend_pid()"
        ).fetchone() != (2,):
            assert all(process.poll() is None for process in processes)
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert somebody.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,)
        somebody.execute("SELECT pg_advisory_unlock(%s)", [MIGRATE_LOCK])
    for process in processes:
        assert "Somebody else is migrating" in ended(process)
    with base.connect() as connection:
        connection.execute("SELECT 1 FROM django_migrations")


def wait_for_lock(connection: psycopg.Connection[Any]) -> None:
    """Wait until somebody waits for a table."""
    waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'"
    wait_until(lambda: connection.execute(waiting).fetchone())


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
