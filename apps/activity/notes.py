"""What has been noted and not been stored yet: bounded, because strangers decide how much comes."""

import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Literal, NamedTuple

from apps.activity.models import Difference

#: Distinct counters (an application, a day, a kind, a code), and distinct uses of secrets.
MAX_KEYS = 10_000
#: Distinct redirect URIs, of one application and of all.
MAX_MISMATCHES_PER_APPLICATION = 20
MAX_MISMATCHES = 1_000

#: Of an application's two client secrets: the newest, or the one before it that still works.
Secret = Literal["current", "previous"]


class CountKey(NamedTuple):
    application_id: uuid.UUID
    day: date
    kind: str
    code: str


class SecretKey(NamedTuple):
    application_id: uuid.UUID
    which: Secret


class MismatchKey(NamedTuple):
    application_id: uuid.UUID
    presented: str


@dataclass(frozen=True)
class Mismatch:
    differs: Difference
    closest: str
    count: int
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass
class Notes:
    """The `add_…` methods say False, and change nothing, when there is no room for another key."""

    counts: Counter[CountKey] = field(default_factory=Counter)
    secret_uses: dict[SecretKey, datetime] = field(default_factory=dict)
    mismatches: dict[MismatchKey, Mismatch] = field(default_factory=dict)
    #: How many of the mismatches are of one application.
    _mismatches_of: Counter[uuid.UUID] = field(default_factory=Counter)

    def add_count(self, key: CountKey, count: int = 1) -> bool:
        if key not in self.counts and len(self.counts) >= MAX_KEYS:
            return False
        self.counts[key] += count
        return True

    def add_secret_use(self, key: SecretKey, used_at: datetime) -> bool:
        known = self.secret_uses.get(key)
        if known is None and len(self.secret_uses) >= MAX_KEYS:
            return False
        self.secret_uses[key] = max(used_at, known or used_at)
        return True

    def add_mismatch(self, key: MismatchKey, mismatch: Mismatch) -> bool:
        known = self.mismatches.get(key)
        if known is not None:
            self.mismatches[key] = replace(
                mismatch,
                count=known.count + mismatch.count,
                first_seen_at=min(known.first_seen_at, mismatch.first_seen_at),
                last_seen_at=max(known.last_seen_at, mismatch.last_seen_at),
            )
            return True
        of_application = self._mismatches_of[key.application_id]
        if of_application >= MAX_MISMATCHES_PER_APPLICATION or len(self.mismatches) >= MAX_MISMATCHES:
            return False
        self._mismatches_of[key.application_id] = of_application + 1
        self.mismatches[key] = mismatch
        return True

    def add_all(self, other: "Notes") -> bool:
        """Add what `other` holds, as far as there is room; say whether all of it found room."""
        counts = [self.add_count(count_key, count) for count_key, count in other.counts.items()]
        uses = [self.add_secret_use(secret_key, used_at) for secret_key, used_at in other.secret_uses.items()]
        mismatches = [self.add_mismatch(key, mismatch) for key, mismatch in other.mismatches.items()]
        return all([*counts, *uses, *mismatches])
