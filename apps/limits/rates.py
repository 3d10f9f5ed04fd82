"""Rates as the environment spells them: "600/m" is 600 in a minute."""

import re
from dataclasses import dataclass
from functools import lru_cache

from django.core.exceptions import ImproperlyConfigured

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SPELLING = re.compile(r"([0-9]{1,9})/([0-9]{0,6})([smhd])")


@dataclass(frozen=True)
class Rate:
    """So many in so many seconds."""

    amount: int
    seconds: int


@lru_cache(maxsize=256)
def read_rate(text: str) -> Rate | None:
    """Return the rate that `text` spells: "600/m", "10/15m"; None for "0", which is no limit.

    Raises ImproperlyConfigured for what is no rate.
    """
    if text == "0":
        return None
    match = _SPELLING.fullmatch(text)
    if match is None:
        raise ImproperlyConfigured(f"{text!r} is no rate. Write 600/m, 10/15m, 20/h or 5/d; 0 for no limit.")
    amount, count, unit = match.groups()
    rate = Rate(int(amount), int(count or 1) * _SECONDS[unit])
    if not rate.amount or not rate.seconds:
        raise ImproperlyConfigured(f"{text!r} would refuse everything. Write 0 for no limit.")
    return rate
