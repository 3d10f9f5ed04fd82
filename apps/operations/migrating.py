"""Migrating while the server goes on: waiting for locks in short turns, one migration at a time.

docs/decisions/0016 tells why; migration_rules.py says what a migration may do in the first place.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

#: "migrate" as a number: whoever migrates this database holds this advisory lock.
MIGRATE_LOCK = 0x6D696772617465
#: Seconds between two looks whether somebody else has finished migrating.
_POLL_SECONDS = 1.0
#: Seconds until the next try; doubled each time, up to the second number.
_PAUSE_SECONDS = (2.0, 30.0)

# These wait for old transactions to end, and nobody waits behind them: there is no reason to hurry.
_WAITS_WITHOUT_BLOCKING = re.compile(
    r"\s*(CREATE\s+(UNIQUE\s+)?INDEX\s+CONCURRENTLY|DROP\s+INDEX\s+CONCURRENTLY|ALTER\s+TABLE\s+\S+\s+VALIDATE\s)",
    re.IGNORECASE,
)
_CREATES_INDEX = re.compile(
    r'\s*CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY\s+(?:IF\s+NOT\s+EXISTS\s+)?"?(\w+)"?\s', re.IGNORECASE
)
_INVALID_INDEX = (
    "SELECT i.indexrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
    " WHERE c.relname = %s AND pg_table_is_visible(c.oid) AND NOT i.indisvalid"
)
# Who has had a transaction open for long enough to be in the way, for the message.
_LONG_TRANSACTIONS = """
SELECT pid, coalesce(nullif(application_name, ''), usename, '?'), round(extract(epoch FROM now() - xact_start))::int
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < now() - interval '1 second'
ORDER BY xact_start LIMIT 3
"""


class LockedOutError(Exception):
    """Others have used a table all the time, or there is a pooler in between; in words for the host."""


def wait_for_database(database: BaseDatabaseWrapper, *, seconds: float, tell: Callable[[str], object]) -> None:
    """Come back when the database takes connections: it may still be starting.

    Raises psycopg.OperationalError, the last reason why not, after so many seconds.
    """
    parameters = {name: value for name, value in database.get_connection_params().items() if name != "pool"}
    deadline = time.monotonic() + seconds
    has_told = False
    while True:
        try:
            psycopg.connect(**parameters).close()
            return
        except psycopg.OperationalError as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            if not has_told:
                tell(f"The database cannot be reached; waiting for up to {seconds:g} s. {_first_line(error)}")
                has_told = True
            time.sleep(min(_POLL_SECONDS, left))


class Impatient:
    """Runs `migrate` with a short lock_timeout, and again when that was too short."""

    def __init__(
        self,
        database: BaseDatabaseWrapper,
        *,
        lock_timeout_seconds: float,
        tries: int,
        tell: Callable[[str], object],
    ) -> None:
        self.database = database
        self.lock_timeout = f"{round(lock_timeout_seconds * 1000)}ms"
        self.tries = tries
        self.tell = tell
        self.tried = 0

    def run(self, migrate: Callable[[], None]) -> None:
        """Call `migrate` until it comes to its end. Raises LockedOutError after the last try.

        A migration that was rolled back for want of a lock is done again from its beginning. One that is not atomic
        does not go back: there, the very statement is tried again.
        """
        self._refuse_pooler()
        with self._alone(), self._setting("lock_timeout", self.lock_timeout):
            while True:
                try:
                    with self.database.execute_wrapper(self._execute):
                        migrate()
                    return
                except OperationalError as error:
                    if not _is_lock_timeout(error):
                        raise
                    self._pause()

    def _execute(self, execute: Callable[..., Any], statement: Any, parameters: Any, many: bool, context: Any) -> Any:
        text = str(statement)
        if self.database.in_atomic_block:
            return execute(statement, parameters, many, context)
        if _WAITS_WITHOUT_BLOCKING.match(text):
            with self._setting("lock_timeout", "0", then=self.lock_timeout):
                self._drop_invalid_index(text)
                return execute(statement, parameters, many, context)
        while True:
            try:
                return execute(statement, parameters, many, context)
            except OperationalError as error:
                if not _is_lock_timeout(error):
                    raise
                self._pause()

    def _refuse_pooler(self) -> None:
        [(backend,)] = self._ask("SELECT pg_backend_pid()")
        if backend != self.database.connection.info.backend_pid:
            raise LockedOutError(
                "There is a connection pooler between here and PostgreSQL, which would pass our settings on to others."
                " For this command, let DATABASE_URL name PostgreSQL itself."
            )

    def _pause(self) -> None:
        self.tried += 1
        who = self._who_is_in_the_way()
        if self.tried >= self.tries:
            raise LockedOutError(
                f"A table was in use all the time, {self.tries} times {self.lock_timeout}.{who} The"
                " migrations before this one are done, and this one is begun anew: run manage.py migrate again when it"
                " is quieter."
            )
        seconds = min(_PAUSE_SECONDS[0] * 2 ** (self.tried - 1), _PAUSE_SECONDS[1])
        self.tell(f"A table is in use; the migration steps back and tries again in {seconds:.0f} s.{who}")
        time.sleep(seconds)

    def _who_is_in_the_way(self) -> str:
        others = [f"{name} (process {pid}, for {age} s)" for pid, name, age in self._ask(_LONG_TRANSACTIONS)]
        return f" Open transactions: {', '.join(others)}." if others else ""

    def _drop_invalid_index(self, statement: str) -> None:
        """Remove what is left of an index whose making was broken off: it has the name, and is of no use."""
        if created := _CREATES_INDEX.match(statement):
            for (index,) in self._ask(_INVALID_INDEX, created[1]):
                self._plainly(f"DROP INDEX CONCURRENTLY IF EXISTS {index}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one at a time migrate, when several servers start at once.

        Asked for again and again, and not waited for: a session that waits in a statement holds a snapshot, and
        CREATE INDEX CONCURRENTLY in the other one would wait for that.
        """
        has_told = False
        while not self._ask("SELECT pg_try_advisory_lock(%s)", MIGRATE_LOCK)[0][0]:
            if not has_told:
                self.tell("Somebody else is migrating this database; waiting.")
                has_told = True
            time.sleep(_POLL_SECONDS)
        try:
            yield
        finally:
            if self.database.is_usable():
                self._ask("SELECT pg_advisory_unlock(%s)", MIGRATE_LOCK)

    @contextmanager
    def _setting(self, name: str, value: str, *, then: str | None = None) -> Iterator[None]:
        """Set something for the session; afterwards it is `then`, or what it is by default."""
        self._ask("SELECT set_config(%s, %s, false)", name, value)
        try:
            yield
        finally:
            if self.database.is_usable():
                if then is None:
                    self._plainly(f"RESET {name}")
                else:
                    self._ask("SELECT set_config(%s, %s, false)", name, then)

    def _ask(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Ask without our own wrapper in between."""
        with self.database.cursor() as cursor:
            cursor.cursor.execute(statement, parameters or None)
            return list(cursor.cursor.fetchall())

    def _plainly(self, statement: str) -> None:
        with self.database.cursor() as cursor:
            cursor.cursor.execute(statement)


def _is_lock_timeout(error: OperationalError) -> bool:
    return isinstance(error.__cause__, psycopg.errors.LockNotAvailable)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
