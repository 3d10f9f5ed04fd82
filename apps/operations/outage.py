"""PostgreSQL is away: how that is recognised, told to the log once, and how nobody waits for it in a queue.

docs/decisions/0017-when-the-database-goes-away.md says why. Nothing here imports a model: the database backend uses it.
"""

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator

import psycopg
from django.db import DatabaseError, InterfaceError

log = logging.getLogger(__name__)

#: Seconds between two looks at whether the database is back.
LOOK_SECONDS = 0.5
#: Seconds after which an outage that goes on is told again.
REMINDER_SECONDS = 60
#: Seconds after which one request may try, when there is no thread that looks.
TRY_SECONDS = 2

#: Asks the database for nothing; raises when it is away.
Look = Callable[[], None]

#: SQLSTATE classes (PostgreSQL, appendix A) of what is no fault of the statement: connection exceptions,
#: insufficient resources, operator intervention.
_CLASSES = ("08", "53", "57")
#: read_only_sql_transaction: the server has become a standby, or is kept from writing.
_READ_ONLY = "25006"
#: query_canceled, in class 57: a statement took longer than it may. It is answered like an outage, but is none.
_CANCELED = "57014"
#: Answered like an outage too, because trying again helps: deadlock, serialization failure, a lock not had in time.
_TRANSIENT = ("40P01", "40001", "55P03", _CANCELED)


class DatabaseAwayError(psycopg.OperationalError):
    """The database is known to be away."""


def is_outage(error: BaseException | None) -> bool:
    """Say whether the database was away, whatever became of the error on its way.

    A later error may hide the first: what is asked of a connection that is lost is refused by Django in other words.
    """
    if not isinstance(error, (DatabaseError, InterfaceError, psycopg.Error)):
        return False
    return any(_is_away(each) for each in _chain(error))


def is_transient(error: BaseException | None) -> bool:
    """Say whether the same request may well succeed in a moment, though the database is there."""
    if not isinstance(error, (DatabaseError, psycopg.Error)):
        return False
    return any(isinstance(each, psycopg.Error) and each.sqlstate in _TRANSIENT for each in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    next_error: BaseException | None = error
    while next_error is not None and id(next_error) not in seen:
        seen.add(id(next_error))
        yield next_error
        next_error = next_error.__cause__ or next_error.__context__


def _is_away(error: BaseException) -> bool:
    if isinstance(error, InterfaceError):
        # Django's own word for a connection that is closed; psycopg's are below.
        return error.__cause__ is None
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is None:
        # libpq itself has found the connection lost, could not make one, or none came free.
        return isinstance(error, psycopg.OperationalError)
    return error.sqlstate == _READ_ONLY or (error.sqlstate[:2] in _CLASSES and error.sqlstate != _CANCELED)


def describe(error: BaseException) -> str:
    """Return the innermost reason in one line, which names host, port and user, and never a password."""
    reasons = [each for each in _chain(error) if isinstance(each, psycopg.Error)]
    reason = reasons[-1] if reasons else error
    return " ".join(str(reason).split()) or type(reason).__name__


class Outage:
    """What this process knows of the database: there, or away since when.

    While it is away nobody asks it for anything but a thread that looks whether it is back. Otherwise every thread of
    the web server would wait for it, and behind them what needs no database.

    That one more connection cannot be made is no outage for those who have one. It is one when besides one that we had
    is dead, or nobody gets any.
    """

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Know nothing: a forked process has no thread that looks."""
        self._lock = threading.Lock()
        self._since: float | None = None
        self._watcher: threading.Thread | None = None
        self._told_at = self._told_of_waiting_at = -math.inf
        self._tried_at = 0.0
        self._refused = 0
        self._reached_at = time.monotonic()
        # Both since a connection last worked: why one could not be made; and how to look, as somebody was left without.
        self._not_made: psycopg.Error | None = None
        self._look: Look | None = None

    @property
    def is_on(self) -> bool:
        """Whether the database is known to be away."""
        return self._since is not None

    def refuses(self) -> bool:
        """Say whether a request is to be refused without asking the database.

        Should the thread that looks have died, one request is let through every `TRY_SECONDS` in its place.
        """
        if self._since is None:
            return False
        if self._watcher is not None and self._watcher.is_alive():
            return True
        now = time.monotonic()
        with self._lock:
            if now - self._tried_at < TRY_SECONDS:
                return True
            self._tried_at = now
            return False

    def was_reached(self) -> None:
        """Note that a connection works."""
        now = time.monotonic()
        with self._lock:
            self._reached_at = now
            self._not_made = self._look = None
            since, self._since = self._since, None
            refused, self._refused = self._refused, 0
        if since is not None:
            log.warning("The database is there again after %.1f s; %d requests were refused.", now - since, refused)

    def could_not_connect(self, error: psycopg.Error) -> None:
        """Note that one more connection could not be made."""
        with self._lock:
            self._not_made, look = error, self._look
        if look is not None:
            self.begin(error, look)

    def was_lost(self, look: Look) -> None:
        """Note that a connection that we had is dead, and is being replaced."""
        with self._lock:
            self._look = look

    def was_not_reached(self, error: BaseException, look: Look, *, waited: float) -> None:
        """Note that no connection could be used for so many seconds, unless others used one meanwhile."""
        if time.monotonic() - self._reached_at >= waited:
            self.begin(error, look)

    def was_kept_waiting(self, look: Look, *, waited: float) -> None:
        """Note that no connection came free for so many seconds. By itself that means that there are too few."""
        now = time.monotonic()
        with self._lock:
            is_anybody_served = now - self._reached_at < waited
            if not is_anybody_served:
                self._look = look
            error = None if is_anybody_served else self._not_made
            is_to_be_told = error is None and now - self._told_of_waiting_at >= REMINDER_SECONDS
            if is_to_be_told:
                self._told_of_waiting_at = now
        if error is not None:
            self.begin(error, look)
        elif is_to_be_told:
            log.warning("No connection to the database came free within %.1f s: all are in use (503).", waited)

    def begin(self, error: BaseException, look: Look) -> None:
        """Note that the database is away, tell the log, and `look` until it is back."""
        now = time.monotonic()
        failure = None
        with self._lock:
            if self._since is not None:
                return
            self._watcher = threading.Thread(target=self._wait_for_end, args=(now, look), name="outage", daemon=True)
            self._since = self._tried_at = now
            self._refused = 0
            try:
                self._watcher.start()
            except Exception as raised:
                # With nobody to end it, it must not begin. Each request finds out for itself.
                self._since, failure = None, raised
                if now - self._told_at < REMINDER_SECONDS:
                    return
            self._told_at = now
        log.error("The database is away, requests get status 503: %s", describe(error))
        if failure is not None:
            log.error("Nobody can look whether the database is back: no thread (%s).", type(failure).__name__)

    def count_refusal(self) -> None:
        """Count a request that was answered with 503."""
        with self._lock:
            self._refused += 1

    def _wait_for_end(self, since: float, look: Look) -> None:
        told: set[type] = set()
        while self._since == since:
            time.sleep(LOOK_SECONDS)
            try:
                look()
            except psycopg.Error as error:
                self._remind(describe(error))
            except Exception as error:
                # It is ours that something is missing, a file descriptor for example; nothing else ends the outage.
                if type(error) not in told:
                    told.add(type(error))
                    log.error("Looking whether the database is back fails (%s).", type(error).__name__)
                self._remind(type(error).__name__)
            else:
                self.was_reached()

    def _remind(self, reason: str) -> None:
        now = time.monotonic()
        with self._lock:
            if self._since is None or now - self._told_at < REMINDER_SECONDS:
                return
            self._told_at = now
            seconds = now - self._since
        log.error("The database is still away, since %.0f s: %s", seconds, reason)


outage = Outage()
os.register_at_fork(after_in_child=outage.start_anew)
