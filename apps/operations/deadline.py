"""Asking the database without waiting for it longer than whoever asks would."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from django.db import connection, transaction

T = TypeVar("T")


class Question(Generic[T]):
    """A question to the database that is answered in time or not at all.

    It is asked in a thread of its own, because a connection may hang where no timeout of the database reaches; and by
    one thread at a time, which all who ask meanwhile wait for, so that probes cannot pile up.
    """

    def __init__(self, ask: Callable[[], T], *, seconds: float) -> None:
        self._ask, self._seconds = ask, seconds
        self._lock = threading.Lock()
        self._asked: Future[T] | None = None

    def answer(self) -> T:
        """Return the answer; raises what the question raises, or TimeoutError, also if there is nobody to ask it."""
        with self._lock:
            asked = self._asked
            if asked is None or asked.done():
                asked = Future()
                try:
                    threading.Thread(target=self._run, args=(asked,), name="question", daemon=True).start()
                except RuntimeError as error:
                    raise TimeoutError("there is no thread to ask with") from error
                # Not before it is on its way: everybody waits for this one.
                self._asked = asked
        return asked.result(timeout=self._seconds)

    def _run(self, asked: "Future[T]") -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute(
                        "SELECT set_config('statement_timeout', %s, true)", [str(round(self._seconds * 1000))]
                    )
                answer = self._ask()
        except BaseException as error:
            asked.set_exception(error)
        else:
            asked.set_result(answer)
        finally:
            connection.close()
