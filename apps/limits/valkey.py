"""Counting in Valkey (or Redis). Loaded only where there is one: its library takes some megabytes of each process."""

import logging
import time
from collections.abc import Sequence

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.limits.stores import DatabaseStore, Slot

log = logging.getLogger(__name__)

#: Seconds that a request waits for Valkey at most, once to connect and once for the answer.
VALKEY_TIMEOUT = 0.25
#: Seconds for which a Valkey that did not answer is left alone.
VALKEY_REST = 5.0


class ValkeyStore:
    """Counts in Valkey (or Redis), by one round trip. While it is away the database counts."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(
            url,
            socket_connect_timeout=VALKEY_TIMEOUT,
            socket_timeout=VALKEY_TIMEOUT,
            # One more try: the server may have been restarted since the connection was last used.
            retry=Retry(NoBackoff(), 1),
        )
        self._away_until = 0.0
        self._meanwhile = DatabaseStore()

    def add(self, slots: Sequence[Slot]) -> list[int] | None:
        if time.monotonic() < self._away_until:
            return self._meanwhile.add(slots)
        pipeline = self._client.pipeline(transaction=False)
        for slot in slots:
            name = _name(slot)
            pipeline.incr(name)
            # Beyond the span's end, for hosts whose clock is behind.
            pipeline.expireat(name, int(slot.ends_at) + 60)
        try:
            answers = pipeline.execute()
        except redis.RedisError as error:
            self._leave_alone(error)
            return self._meanwhile.add(slots)
        if self._away_until:
            self._away_until = 0.0
            log.warning("Valkey counts for the limits again.")
        return [int(hits) for hits in answers[::2]]

    def take_back(self, slots: Sequence[Slot]) -> None:
        if time.monotonic() < self._away_until:
            self._meanwhile.take_back(slots)
            return
        pipeline = self._client.pipeline(transaction=False)
        for slot in slots:
            name = _name(slot)
            pipeline.decr(name)
            pipeline.expireat(name, int(slot.ends_at) + 60)
        try:
            pipeline.execute()
        except redis.RedisError as error:
            self._leave_alone(error)

    def empty(self, slots: Sequence[Slot]) -> None:
        # The database may have counted meanwhile, or go on to.
        self._meanwhile.empty(slots)
        if time.monotonic() < self._away_until:
            return
        try:
            self._client.delete(*map(_name, slots))
        except redis.RedisError as error:
            self._leave_alone(error)

    def _leave_alone(self, error: redis.RedisError) -> None:
        self._away_until = time.monotonic() + VALKEY_REST
        # The error's class only: its words may quote the address, and with it a password.
        log.warning("Valkey is away (%s): the database counts for the limits meanwhile.", type(error).__name__)


def _name(slot: Slot) -> str:
    return f"countersign:limit:{slot.key}:{slot.span}"
