from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta

from django.utils import timezone

from apps.activity.models import ActivityCount, Kind, RedirectMismatch
from apps.developers.models import Application


@dataclass(frozen=True)
class Counts:
    """How often each kind of thing happened."""

    authorisations: int = 0
    denials: int = 0
    tokens: int = 0
    errors: int = 0

    @property
    def is_empty(self) -> bool:
        return not (self.authorisations or self.denials or self.tokens or self.errors)


@dataclass(frozen=True)
class DayOfActivity:
    """One day (UTC)."""

    day: date
    counts: Counts


@dataclass(frozen=True)
class CodeCount:
    """How often one error code or grant type came in all the days."""

    code: str
    count: int


@dataclass(frozen=True)
class Activity:
    """What an application did in the last days, today included."""

    #: Every day, the oldest first, with zeros where nothing happened.
    days: list[DayOfActivity]
    totals: Counts
    #: The most frequent first.
    errors_by_code: list[CodeCount]
    tokens_by_grant_type: list[CodeCount]


def activity_of(application: Application, days: int = 30) -> Activity:
    """Return what the application did in the last `days` days (UTC); one query, whatever the number of events."""
    today = timezone.now().date()
    oldest = today - timedelta(days=days - 1)
    found: Counter[tuple[date, str]] = Counter()
    by_code: dict[str, Counter[str]] = {kind: Counter() for kind in Kind.values}
    rows = ActivityCount.objects.filter(application=application, day__gte=oldest, day__lte=today)
    for day, kind, code, count in rows.values_list("day", "kind", "code", "count"):
        found[day, kind] += count
        by_code[kind][code] += count
    return Activity(
        days=[
            DayOfActivity(day, _counts({kind: found[day, kind] for kind in Kind.values}))
            for day in (oldest + timedelta(days=number) for number in range(days))
        ],
        totals=_counts({kind: codes.total() for kind, codes in by_code.items()}),
        errors_by_code=_sorted(by_code[Kind.ERROR]),
        tokens_by_grant_type=_sorted(by_code[Kind.TOKEN]),
    )


def redirect_mismatches_of(application: Application) -> list[RedirectMismatch]:
    """Return the last redirect URIs that did not match, the newest first; at most 20, one query."""
    newest = RedirectMismatch.objects.filter(application=application).order_by("-last_seen_at", "-pk")
    return list(newest[: RedirectMismatch.MAX_PER_APPLICATION])


def _counts(by_kind: dict[str, int]) -> Counts:
    return Counts(
        authorisations=by_kind[Kind.AUTHORISATION],
        denials=by_kind[Kind.DENIAL],
        tokens=by_kind[Kind.TOKEN],
        errors=by_kind[Kind.ERROR],
    )


def _sorted(counts: Counter[str]) -> list[CodeCount]:
    return [CodeCount(code, count) for code, count in sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))]
