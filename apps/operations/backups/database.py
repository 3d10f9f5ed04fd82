"""What is in a database, and how it is put into another one in a single transaction."""

import contextlib
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

import psycopg
from django.db import connections
from psycopg import sql
from psycopg.pq import Conninfo

from apps.operations.backups.errors import BackupError, DamagedArchiveError
from apps.operations.backups.programs import Program

#: "restore" as a number: two restores into one database wait for nobody, the second is refused.
_LOCK = 0x726573746F7265
_BLOCK_BYTES = 256 * 1024

# What is asked for are our own objects, and no extension's.
_RELATIONS = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = ANY(%s) AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
  )
ORDER BY 1
"""
_ROUTINES = """
SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e')
ORDER BY 1
"""
# Without the row types and array types, which belong to something else.
_TYPES = """
SELECT t.oid::regtype::text FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
LEFT JOIN pg_class c ON c.oid = t.typrelid
WHERE (t.typtype IN ('e', 'd', 'r') OR (t.typtype = 'c' AND c.relkind = 'c'))
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.classid = 'pg_type'::regclass AND d.deptype = 'e')
ORDER BY 1
"""
_SCHEMAS = """
SELECT quote_ident(n.nspname) FROM pg_namespace n
WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public')
  AND NOT EXISTS (
    SELECT FROM pg_depend d WHERE d.objid = n.oid AND d.classid = 'pg_namespace'::regclass AND d.deptype = 'e'
  )
ORDER BY 1
"""
# Only where somebody has changed what an owner and everybody else have anyway.
_PRIVILEGES = """
SELECT kind, name, g.grantee = owner, CASE WHEN g.grantee = 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END,
       g.privilege_type, g.is_grantable
FROM (
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
           quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name, c.relowner AS owner, c.relacl AS acl
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'e'
      )
    UNION ALL
    SELECT 'ROUTINE', p.oid::regprocedure::text, p.proowner, p.proacl
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (
        SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
      )
) AS changed LEFT JOIN LATERAL aclexplode(acl) AS g ON true
WHERE acl IS NOT NULL ORDER BY 1, 2, 3, 4, 5
"""


def connect() -> psycopg.Connection[Any]:
    """Open a connection of our own to Django's database: no pool, and nothing that Django sets in it.

    Raises BackupError when there is a pooler in between that hands connections around: what is said in one of our
    sessions would be heard in others.
    """
    parameters = connections["default"].get_connection_params()
    for name in ("pool", "context", "cursor_factory", "prepare_threshold"):
        parameters.pop(name, None)
    connection = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)
    [(backend,)] = connection.execute("SELECT pg_backend_pid()")
    if backend != connection.info.backend_pid:
        connection.close()
        raise BackupError(
            "There is a connection pooler between here and PostgreSQL. For this command, let DATABASE_URL name"
            " PostgreSQL itself."
        )
    # Search paths differ between deployments; names are written out.
    connection.execute("SELECT set_config('search_path', '', false)")
    return connection


def environment_for(connection: psycopg.Connection[Any], environment: Mapping[str, str]) -> dict[str, str]:
    """Return `environment` with what PostgreSQL's programs need to reach the same database, password included."""
    values = connection.info.get_parameters() | {"password": connection.info.password}
    variables = {option.keyword.decode(): option.envvar.decode() for option in Conninfo.get_defaults() if option.envvar}
    clean = {name: value for name, value in environment.items() if name not in variables.values()}
    return clean | {variables[name]: str(value) for name, value in values.items() if name in variables and value}


# --- what is there ---------------------------------------------------------------------------------------------


def major_version(connection: psycopg.Connection[Any]) -> int:
    return connection.info.server_version // 10_000


def applied_migrations(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """Return the names of the migrations that were applied, by app. Raises BackupError if there are no tables yet."""
    try:
        rows = connection.execute("SELECT app, name FROM public.django_migrations ORDER BY app, name").fetchall()
    except psycopg.errors.UndefinedTable:
        raise BackupError("There is nothing to back up: the database has no tables of Countersign.") from None
    migrations: dict[str, list[str]] = {}
    for app, name in rows:
        migrations.setdefault(app, []).append(name)
    return migrations


def count_rows(connection: psycopg.Connection[Any]) -> dict[str, int]:
    """Return the number of rows of each table."""
    return {name: _count(connection, name) for name in find_tables(connection)}


def _count(connection: psycopg.Connection[Any], table: str) -> int:
    statement = sql.SQL("SELECT count(*) FROM {}").format(sql.SQL(table))
    [(rows,)] = connection.execute(statement)
    return int(rows)


def find_tables(connection: psycopg.Connection[Any]) -> list[str]:
    """Return the names of all tables, as `count_rows` has them."""
    return [name for (name,) in connection.execute(_RELATIONS, [["r"]])]


def find_privileges(connection: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """Return who may do what, for each table and function where that was changed: the audit trail is append-only."""
    objects: dict[tuple[str, str], dict[str, Any]] = {}
    for kind, name, is_owner, grantee, privilege, is_grantable in connection.execute(_PRIVILEGES):
        found = objects.setdefault((kind, name), {"kind": kind, "name": name, "grants": []})
        if privilege is not None:
            to = {"to": "owner" if is_owner else "public" if grantee == "public" else "role", "role": grantee}
            found["grants"].append({**to, "privilege": privilege, "grantable": is_grantable})
    return list(objects.values())


def is_empty(connection: psycopg.Connection[Any]) -> bool:
    """Say whether nobody has put anything into the database yet."""
    kinds = ["r", "p", "v", "m", "f", "S"]
    return not connection.execute(_RELATIONS, [kinds]).fetchone() and not connection.execute(_ROUTINES).fetchone()


def describe_contents(connection: psycopg.Connection[Any]) -> str:
    """Tell somebody who is about to lose it what is in the database."""
    names = find_tables(connection)
    counts = [
        f"{_count(connection, table)} {what}"
        for table, what in {
            "public.accounts_user": "users",
            "public.developers_application": "applications",
            "public.organisations_organisation": "organisations",
        }.items()
        if table in names
    ]
    return f"{len(names)} tables" + (f", with {', '.join(counts)}" if counts else "")


def other_sessions(connection: psycopg.Connection[Any]) -> int:
    """Return how many others are connected to this database."""
    [(number,)] = connection.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        " AND coalesce(backend_type, 'client backend') = 'client backend'"
    )
    return int(number)


# --- changing it -----------------------------------------------------------------------------------------------


def hold_alone(connection: psycopg.Connection[Any]) -> None:
    """Keep other restores out until the end of the transaction. Raises BackupError if there is one already."""
    [(is_ours,)] = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
    if not is_ours:
        raise BackupError("Another restore into this database is going on.")


def empty(connection: psycopg.Connection[Any]) -> None:
    """Drop everything that is ours, within the transaction."""
    connection.execute("SET LOCAL lock_timeout = '5s'")
    for kinds, word in ((["v"], "VIEW"), (["m"], "MATERIALIZED VIEW"), (["r", "p"], "TABLE"), (["S"], "SEQUENCE")):
        for (name,) in connection.execute(_RELATIONS, [kinds]).fetchall():
            _run(connection, f"DROP {word} IF EXISTS {name} CASCADE")
    for (name,) in connection.execute(_ROUTINES).fetchall():
        _run(connection, f"DROP ROUTINE IF EXISTS {name} CASCADE")
    for (name,) in connection.execute(_TYPES).fetchall():
        _run(connection, f"DROP TYPE IF EXISTS {name} CASCADE")
    for (name,) in connection.execute(_SCHEMAS).fetchall():
        _run(connection, f"DROP SCHEMA {name} CASCADE")


def grant_privileges(connection: psycopg.Connection[Any], privileges: list[dict[str, Any]]) -> list[str]:
    """Give the same privileges as there were, with whoever restores as the owner.

    Returns the names of roles that were granted something and do not exist here.
    """
    roles = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    missing = set()
    for entry in privileges:
        where = f"{_word(entry['kind'])} {entry['name']}"
        _run(connection, f"REVOKE ALL ON {where} FROM PUBLIC, CURRENT_USER")
        for grant in entry["grants"]:
            if grant["to"] == "role" and grant["role"] not in roles:
                missing.add(grant["role"])
                continue
            to = {"owner": "CURRENT_USER", "public": "PUBLIC"}.get(grant["to"]) or sql.Identifier(
                grant["role"]
            ).as_string(connection)
            option = " WITH GRANT OPTION" if grant["grantable"] and grant["to"] == "role" else ""
            _run(connection, f"GRANT {_word(grant['privilege'])} ON {where} TO {to}{option}")
    return sorted(missing)


def _word(text: str) -> str:
    if not re.fullmatch("[A-Z ]+", text):
        raise DamagedArchiveError(f"The archive is damaged: {text!r} is not a privilege.")
    return text


def _run(connection: psycopg.Connection[Any], statement: str) -> psycopg.Cursor[Any]:
    """Run a statement with names in it that PostgreSQL has quoted itself."""
    return connection.execute(statement)


# --- a dump, read as SQL -----------------------------------------------------------------------------------------


@dataclass
class Statements:
    """SQL between two tables' data."""

    text: bytes


class Rows:
    """A table's data, as COPY's text format; they have to be read before the next part."""

    def __init__(self, table: str, statement: str, lines: IO[bytes]) -> None:
        self.table = table
        self.statement = statement
        self.lines = lines
        self.count = 0

    def blocks(self) -> Iterator[bytes]:
        """Give the rows in blocks of some size, and count them."""
        block: list[bytes] = []
        size = 0
        for line in self.lines:
            if line == b"\\.\n":
                yield b"".join(block)
                return
            block.append(line)
            self.count += 1
            size += len(line)
            if size > _BLOCK_BYTES:
                yield b"".join(block)
                block, size = [], 0
        raise DamagedArchiveError(f"The archive is damaged: the rows of {self.table} have no end.")


_COPY = re.compile(rb"COPY (.+?) \(.*\) FROM stdin;\n")
_DATA_HEADER = re.compile(rb"-- Data for Name: .*; Type: TABLE DATA;")
# Of the programs' script: commands of psql's own, and a setting that servers before version 17 do not know.
_NOT_FOR_SERVERS = re.compile(rb"\\(un)?restrict \w+\n|SET transaction_timeout = 0;\n")


def read_script(lines: IO[bytes]) -> Iterator[Statements | Rows]:
    """Read what `pg_restore --file=-` writes.

    Rows begin where a header of pg_restore announces them, so that a function's body cannot.
    """
    text: list[bytes] = []
    is_announced = False
    for line in lines:
        if is_announced and (copy := _COPY.fullmatch(line)):
            yield Statements(b"".join(text))
            rows = Rows(copy[1].decode(), line.decode().rstrip(), lines)
            yield rows
            text, is_announced = [], False
        elif _DATA_HEADER.match(line):
            is_announced = True
        elif not _NOT_FOR_SERVERS.fullmatch(line):
            text.append(line)
    yield Statements(b"".join(text))


class DumpReader:
    """Reads a dump that comes in pieces: pg_restore makes SQL of it, and a thread does something with that."""

    def __init__(self, pg_restore: Program) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the program runs)
        self.process = subprocess.Popen(
            [
                *(
                    str(pg_restore.path),
                    "--file=-",
                    "--no-owner",
                    "--no-privileges",
                    "--no-comments",
                    "--no-tablespaces",
                ),
                *("--no-publications", "--no-subscriptions", "--no-security-labels"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
        )
        self.stdin, self.stdout = cast(IO[bytes], self.process.stdin), cast(IO[bytes], self.process.stdout)
        self.counts: dict[str, int] = {}
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._consume, name="dump", daemon=True)
        self.thread.start()

    def feed(self, piece: bytes) -> None:
        try:
            self.stdin.write(piece)
        except OSError:
            self.finish()
            raise DamagedArchiveError("The archive is damaged: pg_restore ended before its end.") from None

    def finish(self) -> dict[str, int]:
        """Wait for the end; return the number of rows of each table. Raises what went wrong."""
        with contextlib.suppress(BrokenPipeError):  # it has ended by itself, and says below why
            self.stdin.close()
        self.thread.join()
        status = self.process.wait()
        if self.error is not None:
            raise self.error
        if status:
            raise DamagedArchiveError(f"The archive is damaged: {said(self.errors)}")
        return self.counts

    def abandon(self) -> None:
        """End it, wherever it is."""
        self.process.kill()
        self.process.wait()
        self.thread.join()
        self.errors.close()
        for pipe in (self.stdin, self.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()

    def take_statements(self, statements: Statements) -> None:
        """Do something with SQL; by default nothing."""

    def take_rows(self, rows: Rows) -> None:
        """Do something with a table's rows; by default they are only counted."""
        for _ in rows.blocks():
            pass

    def _consume(self) -> None:
        try:
            for part in read_script(self.stdout):
                if isinstance(part, Statements):
                    self.take_statements(part)
                else:
                    self.take_rows(part)
                    self.counts[part.table] = part.count
        except BaseException as error:
            self.error = error
        finally:
            self.stdout.close()


class Player(DumpReader):
    """Plays a dump back into a database, within the transaction of `connection`."""

    def __init__(self, pg_restore: Program, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        super().__init__(pg_restore)

    def take_statements(self, statements: Statements) -> None:
        self.connection.execute(statements.text)

    def take_rows(self, rows: Rows) -> None:
        with self.connection.cursor().copy(rows.statement) as copy:
            for block in rows.blocks():
                copy.write(block)


def said(errors: IO[bytes]) -> str:
    """Return the last line that a program wrote to its standard error."""
    errors.seek(0)
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
