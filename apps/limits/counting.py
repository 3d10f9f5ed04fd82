"""Taking from buckets: the one mechanism below every limit.

A bucket is what a rule counts for one subject: tries of one account, requests of one client. Its rate says how many
it holds in a span of time. Spans begin at an instant that differs from bucket to bucket, so that what was refused
does not come back all at once. What was taken can be given back: a right password does not count as a try.
docs/decisions/0019-rate-limits.md says why it counts like that.
"""

import hashlib
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass
from time import time
from uuid import UUID

from django.conf import settings

from apps.audit.trail import ApplicationRow, Row
from apps.limits.in_use import current_store
from apps.limits.rates import Rate, read_rate
from apps.limits.refusals import Refusal, note_refusal
from apps.limits.rules import RULES
from apps.limits.stores import Slot
from apps.sealing import derive_secret
from apps.telemetry import metrics

# From the start at 0: a first refusal would not be seen as an increase.
for _rule in RULES:
    metrics.limit_refusals.labels(_rule)


@dataclass(frozen=True)
class Bucket:
    """What a rule counts for one subject. `subject` is hashed with a key before it is stored anywhere."""

    rule: str
    subject: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"{self.rule!r} is no rule.")

    @property
    def rate(self) -> Rate | None:
        return read_rate(settings.RATE_LIMIT_RATES[self.rule])

    def slot(self, rate: Rate, now: float) -> Slot:
        """Return where the bucket counts at `now` (seconds since 1970)."""
        # With the rate in it: a changed one numbers its spans anew.
        parts = (self.rule, f"{rate.amount}/{rate.seconds}", *self.subject)
        text = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
        digest = hmac.digest(derive_secret("limits"), text, hashlib.sha256)
        shift = int.from_bytes(digest[16:24], "big") % rate.seconds
        span = int(now + shift) // rate.seconds
        return Slot(UUID(bytes=digest[:16]), span, (span + 1) * rate.seconds - shift)


@dataclass(frozen=True)
class Taking:
    """What a request has taken from its buckets."""

    slots: tuple[Slot, ...] = ()
    #: Why the request is refused; None if it may go on.
    refusal: Refusal | None = None

    def give_back(self) -> None:
        """Undo it: what was tried was right."""
        if self.slots:
            current_store().take_back(self.slots)


def bucket(rule: str, *subject: object) -> Bucket:
    """Return the bucket of a rule for a subject, e.g. `bucket("token", application.pk)`."""
    return Bucket(rule, tuple(str(part) for part in subject))


def take(
    *buckets: Bucket, application: ApplicationRow | None = None, about: Row | Callable[[], Row | None] | None = None
) -> Taking:
    """Take one from each bucket; if one of them has no more, the taking says so and until when.

    One statement, or one round trip to Valkey, for all of them; none when limits are off. Parallel calls never take
    more than there is. Of a refusal, what was not its reason is given back. `application` and `about`
    (whose account it is, or how to find out) are for the audit trail, where the first refusal of each span is recorded.
    """
    rates: dict[Bucket, Rate] = {}
    if settings.RATE_LIMITS:
        rates = {bucket: rate for bucket in buckets if (rate := bucket.rate) is not None}
    if not rates:
        return Taking()
    now = time()
    slots = tuple(bucket.slot(rate, now) for bucket, rate in rates.items())
    hits = current_store().add(slots)
    if hits is None:
        return Taking()
    refusal, others = None, []
    for (bucket, rate), slot, count in zip(rates.items(), slots, hits, strict=True):
        if count <= rate.amount:
            others.append(slot)
            continue
        seconds = max(1, math.ceil(slot.ends_at - now))
        if refusal is None or seconds > refusal.seconds:
            refusal = Refusal(bucket.rule, seconds)
        if count == rate.amount + 1:
            note_refusal(bucket.rule, application=application, about=about() if callable(about) else about)
    if refusal is not None:
        metrics.limit_refusals.labels(refusal.rule).inc()
        if others:
            current_store().take_back(others)
        return Taking((), refusal)
    return Taking(slots)


def take_in_turn(*buckets: Bucket, about: Row | Callable[[], Row | None] | None = None) -> Taking:
    """Take one from each bucket, each only if those before had one; a refusal leaves nothing taken from the others.

    For buckets that are chosen by what somebody typed: ask the one of their address first, and whoever is refused
    there fills the table with no more keys.
    """
    slots: tuple[Slot, ...] = ()
    for one in buckets:
        taking = take(one, about=about)
        if taking.refusal is not None:
            Taking(slots).give_back()
            return taking
        slots += taking.slots
    return Taking(slots)


def empty(*buckets: Bucket) -> None:
    """Fill buckets up again: what was taken from them is forgotten."""
    if not settings.RATE_LIMITS:
        return
    now = time()
    slots = [bucket.slot(rate, now) for bucket in buckets if (rate := bucket.rate) is not None]
    if slots:
        current_store().empty(slots)
