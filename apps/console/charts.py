"""Small bar charts, drawn on the server: the template writes these numbers into an SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.activity.selectors import Activity

#: The drawing's size, in its own units; the page scales it.
WIDTH, HEIGHT = 600, 120
_GAP = 0.25  # of a bar's place
#: What happened once is seen, however high the others are.
_SMALLEST_BAR = 3


@dataclass(frozen=True)
class Bar:
    """One day."""

    x: float
    y: float
    width: float
    height: float
    day: date
    count: int


@dataclass(frozen=True)
class Chart:
    """One kind of thing, day by day; the highest bar fills the height."""

    name: str
    title: str | Promise
    bars: list[Bar]
    total: int
    peak: int
    #: The first day of the highest count.
    peak_day: date | None
    width: int = WIDTH
    height: int = HEIGHT


def charts_of(activity: Activity) -> list[Chart]:
    """Return a chart of each kind of thing that is counted."""
    days = [day.day for day in activity.days]
    counts = [day.counts for day in activity.days]
    return [
        draw("authorisations", _("Authorisations"), days, [each.authorisations for each in counts]),
        draw("denials", _("Denials"), days, [each.denials for each in counts]),
        draw("tokens", _("Token responses"), days, [each.tokens for each in counts]),
        draw("errors", _("Errors"), days, [each.errors for each in counts]),
    ]


def draw(name: str, title: str | Promise, days: Sequence[date], counts: Sequence[int]) -> Chart:
    """Return the chart of `counts`, one for each of `days`."""
    peak = max(counts, default=0)
    place = WIDTH / max(len(days), 1)
    bars = []
    for number, (day, count) in enumerate(zip(days, counts, strict=True)):
        height = max(HEIGHT * count / peak, _SMALLEST_BAR) if count else 0
        bars.append(
            Bar(
                x=round(place * (number + _GAP / 2), 1),
                y=round(HEIGHT - height, 1),
                width=round(place * (1 - _GAP), 1),
                height=round(height, 1),
                day=day,
                count=count,
            )
        )
    peak_day = next((bar.day for bar in bars if bar.count == peak), None) if peak else None
    return Chart(name=name, title=title, bars=bars, total=sum(counts), peak=peak, peak_day=peak_day)
