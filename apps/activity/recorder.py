"""Noting what applications do, so that no request waits for it.

`record` and its two companions add to a buffer in this process; a thread of the process stores it every
`ACTIVITY_FLUSH_SECONDS`. docs/decisions/0009-activity-is-counted-in-memory.md says why, and what can be lost.
"""

import logging
import os
import threading
import uuid
from collections.abc import Iterable
from functools import partial
from multiprocessing.util import Finalize

from django.conf import settings
from django.db import DataError, Error, connection
from django.utils import timezone

from apps.activity import storage
from apps.activity.mismatches import describe_mismatch
from apps.activity.models import Kind, RedirectMismatch
from apps.activity.notes import CountKey, Mismatch, MismatchKey, Notes, Secret, SecretKey
from apps.organisations.text import is_storable

log = logging.getLogger(__name__)

#: The code of an authorization request whose redirect URI is none of the application's. OAuth has none of its own:
#: nothing is sent back then.
REDIRECT_URI_MISMATCH = "redirect_uri_mismatch"
#: The codes that are counted; any other is counted as this.
OTHER = "other"
CODES: dict[str, frozenset[str]] = {
    Kind.AUTHORISATION: frozenset({""}),
    Kind.DENIAL: frozenset({""}),
    Kind.TOKEN: frozenset({"authorization_code", "refresh_token", "client_credentials"}),
    Kind.ERROR: frozenset(
        {
            "access_denied",
            "consent_required",
            "invalid_client",
            "invalid_grant",
            "invalid_request",
            "invalid_scope",
            "login_required",
            "server_error",
            "temporarily_unavailable",
            "unauthorized_client",
            "unsupported_grant_type",
            "unsupported_response_type",
            REDIRECT_URI_MISMATCH,
        }
    ),
}


class Recorder:
    """The buffer of a process and the thread that stores it."""

    def __init__(self) -> None:
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything noted and the thread: a forked process has neither, and its locks may be held for ever."""
        #: Held while the buffer changes, never while anything waits for the database.
        self._lock = threading.Lock()
        #: Held by whoever stores, so that the end of the process waits for what is under way.
        self._flushing = threading.Lock()
        self._ended = threading.Event()
        self._notes = Notes()
        self._thread: threading.Thread | None = None
        self._is_flushed_at_exit = False
        # Told once, until it is over.
        self._is_dropping = False
        self._is_failing = False

    def record(self, application_id: uuid.UUID, kind: Kind, code: str = "") -> None:
        """Count one event of an application; no SQL, no waiting."""
        code = code if code in CODES[kind] else OTHER
        key = CountKey(application_id, timezone.now().date(), kind.value, code)
        with self._lock:
            has_room = self._notes.add_count(key)
            self._ensure_thread()
        self._tell_if_dropping(has_room)

    def note_secret_use(self, application_id: uuid.UUID, which: Secret) -> None:
        """Note that a client has just authenticated with that one of its secrets; no SQL, no waiting."""
        with self._lock:
            has_room = self._notes.add_secret_use(SecretKey(application_id, which), timezone.now())
            self._ensure_thread()
        self._tell_if_dropping(has_room)

    def note_redirect_mismatch(self, application_id: uuid.UUID, presented: str, registered: Iterable[str]) -> None:
        """Note a redirect URI, which may be any text a stranger sent; no SQL, no waiting.

        Text that cannot be stored is left out, and so are more URIs than anybody reads.
        """
        if not is_storable(presented):
            return
        now = timezone.now()
        closest, differs = describe_mismatch(presented, registered)
        mismatch = Mismatch(differs=differs, closest=closest, count=1, first_seen_at=now, last_seen_at=now)
        with self._lock:
            self._notes.add_mismatch(MismatchKey(application_id, presented[: RedirectMismatch.MAX_LENGTH]), mismatch)
            self._ensure_thread()

    def flush(self) -> None:
        """Store what has been noted. What the database does not take now stays for the next time."""
        with self._flushing:
            with self._lock:
                taken, self._notes = self._notes, Notes()
            try:
                self._store(taken)
            except Error as error:
                if not self._is_failing:
                    # Its message may quote the text that was to be stored.
                    log.warning("activity could not be stored (%s), it is kept for now", type(error).__name__)
                self._is_failing = True
            else:
                if self._is_failing:
                    log.info("activity is stored again")
                self._is_failing = self._is_dropping = False
            finally:
                with self._lock:
                    has_room = self._notes.add_all(taken)
                self._tell_if_dropping(has_room)

    def _store(self, notes: Notes) -> None:
        """Store each of the three sorts and empty it; raises Django's database errors."""
        for stored, store in (
            (notes.counts, partial(storage.add_counts, notes.counts)),
            (notes.secret_uses, partial(storage.note_secret_uses, notes.secret_uses)),
            (notes.mismatches, partial(storage.add_mismatches, notes.mismatches)),
        ):
            if not stored:
                continue
            try:
                store()
            except DataError:
                # It would be refused for ever, and with it all that comes later.
                log.error("activity was refused by the database: %s entries are lost", len(stored))
            stored.clear()

    def _tell_if_dropping(self, has_room: bool) -> None:
        if not has_room and not self._is_dropping:
            self._is_dropping = True
            log.warning("the buffer of activity is full: what does not fit in is not counted")

    # --- the thread -----------------------------------------------------------------------------------

    def _ensure_thread(self) -> None:
        if settings.ACTIVITY_FLUSH_SECONDS <= 0 or (self._thread is not None and self._thread.is_alive()):
            return
        if not self._is_flushed_at_exit:
            # Not atexit: that is not run where multiprocessing has forked, as it has the web server's workers.
            Finalize(None, self._end, exitpriority=0)
            self._is_flushed_at_exit = True
        thread = threading.Thread(target=self._run, args=(self._ended,), name="activity", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # The machine has no thread left. A request does not fail for that; the next one tries again.
            log.warning("the thread that stores activity could not start")
        else:
            self._thread = thread

    def _run(self, ended: threading.Event) -> None:
        while (seconds := settings.ACTIVITY_FLUSH_SECONDS) > 0 and not ended.wait(seconds):
            try:
                self.flush()
            finally:
                # Back into the pool: between two flushes the thread holds no connection.
                connection.close()

    def _end(self) -> None:
        """Store the rest at the end of the process."""
        self._ended.set()
        try:
            self.flush()
        finally:
            connection.close()


_recorder = Recorder()
os.register_at_fork(after_in_child=_recorder.start_anew)

record = _recorder.record
note_secret_use = _recorder.note_secret_use
note_redirect_mismatch = _recorder.note_redirect_mismatch
flush = _recorder.flush
#: For tests: begin each with an empty buffer.
start_anew = _recorder.start_anew
