"""Whether this process can serve: what `/readyz` tells."""

import importlib.util
import logging
import pkgutil
import threading
import time
from dataclasses import asdict, dataclass
from datetime import timedelta

from django.apps import apps
from django.db import DatabaseError, connection
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone

from apps.operations.deadline import Question
from apps.tokens.keys import signing_key
from apps.tokens.models import SigningKey

log = logging.getLogger(__name__)

#: Seconds that the database gets.
DATABASE_SECONDS = 1.5
#: Seconds for which an answer is given again: anybody may ask.
KEPT_SECONDS = 1.0
#: How old an answer may be for those who ask while somebody is asking the database. Probes come that often.
PASSED_ON_SECONDS = 15.0
#: A worker gives a sign of life every 10 seconds.
HEARTBEAT_LIFETIME = timedelta(seconds=60)

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"


@dataclass(frozen=True)
class Readiness:
    """The state of each part: ok, failed, or unknown because another one has failed."""

    database: str = UNKNOWN
    migrations: str = UNKNOWN
    keys: str = UNKNOWN
    worker: str = UNKNOWN

    @property
    def can_serve(self) -> bool:
        """Say whether requests can be answered. Without a worker they can: what it has to do waits in the queue."""
        return self.database == self.migrations == self.keys == OK

    @property
    def is_complete(self) -> bool:
        return self.can_serve and self.worker == OK

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


class Inspector:
    """Looks at the parts, and remembers for a moment what it saw."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._question = Question(self._inspect, seconds=DATABASE_SECONDS)
        self._seen: Readiness | None = None
        self._seen_at = 0.0
        self._has_migrations = False

    def look(self) -> Readiness:
        """Return the state of all parts, at most `KEPT_SECONDS` old; takes `DATABASE_SECONDS` at most.

        Who asks while another asks the database gets the answer before: whoever waits holds a thread of the web server.
        """
        seen = self._seen if time.monotonic() - self._seen_at <= PASSED_ON_SECONDS else None
        if not self._lock.acquire(blocking=seen is None) and seen is not None:
            return seen
        try:
            if self._seen is None or time.monotonic() - self._seen_at > KEPT_SECONDS:
                before, self._seen = self._seen, self._look()
                self._seen_at = time.monotonic()
                self._tell(before, self._seen)
            return self._seen
        finally:
            self._lock.release()

    def forget(self) -> None:
        """Begin anew, as a process does that has just started."""
        with self._lock:
            self._seen, self._has_migrations = None, False

    def _look(self) -> Readiness:
        try:
            return self._question.answer()
        except (DatabaseError, TimeoutError) as error:
            log.info("The database does not answer a probe (%s).", type(error).__name__)
            return Readiness(database=FAILED)

    def _inspect(self) -> Readiness:
        with connection.cursor() as cursor:
            # A standby answers too, and takes nothing.
            cursor.execute("SELECT pg_is_in_recovery()")
            if cursor.fetchone()[0]:
                return Readiness(database=FAILED)
            if not self._has_migrations and not are_migrations_complete():
                return Readiness(database=OK, migrations=FAILED)
            # Nobody takes migrations back while a server runs, and newer ones are newer code's business.
            self._has_migrations = True
            cursor.execute(
                "SELECT EXISTS (SELECT 1 FROM procrastinate_workers WHERE last_heartbeat > %s)",
                [timezone.now() - HEARTBEAT_LIFETIME],
            )
            worker = OK if cursor.fetchone()[0] else FAILED
        return Readiness(database=OK, migrations=OK, keys=_state_of_keys(), worker=worker)

    def _tell(self, before: Readiness | None, now: Readiness) -> None:
        """Log what has changed: probes themselves are not logged."""
        if (before is not None and before != now) or (before is None and not now.can_serve):
            level = logging.INFO if now.is_complete else logging.WARNING
            states = ", ".join(f"{part} {state}" for part, state in now.as_dict().items())
            log.log(level, "Readiness: %s.", states)


def are_migrations_complete() -> bool:
    """Compare the files of migrations with what the database has seen; no migration is imported for it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('django_migrations') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return False
        cursor.execute("SELECT app, name FROM django_migrations")
        return set(cursor.fetchall()) >= _existing_migrations()


def _existing_migrations() -> set[tuple[str, str]]:
    found = set()
    for config in apps.get_app_configs():
        name, _is_explicit = MigrationLoader.migrations_module(config.label)
        package = importlib.util.find_spec(name) if name else None
        for module in pkgutil.iter_modules(package.submodule_search_locations if package is not None else []):
            if not module.ispkg and module.name[0] not in "_~":
                found.add((config.label, module.name))
    return found


def _state_of_keys() -> str:
    """Say whether tokens can be signed: a key that cannot be read means another deployment secret than its own."""
    try:
        for algorithm in SigningKey.Algorithm.values:
            signing_key(algorithm)
    except DatabaseError:
        raise
    except Exception as error:
        log.error("The signing keys cannot be used (%s).", type(error).__name__)
        return FAILED
    return OK


inspector = Inspector()
