"""What is known of a refusal, and who is told."""

import logging
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from apps.audit.trail import ApplicationRow, Row, record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """A limit was reached: which, and in how many seconds it is worth trying again."""

    rule: str
    seconds: int

    @property
    def wait(self) -> str:
        """The time to wait in words, never shorter than it is."""
        if self.seconds <= 90:
            return ngettext("%(count)s second", "%(count)s seconds", self.seconds) % {"count": self.seconds}
        minutes = -(-self.seconds // 60)
        if minutes <= 90:
            return ngettext("%(count)s minute", "%(count)s minutes", minutes) % {"count": minutes}
        hours = -(-minutes // 60)
        return ngettext("%(count)s hour", "%(count)s hours", hours) % {"count": hours}

    @property
    def sentence(self) -> str:
        """What a person is told."""
        return _("That was too often. Try again in %(wait)s.") % {"wait": self.wait}


def note_refusal(rule: str, *, application: ApplicationRow | None, about: Row | None) -> None:
    """Record that a limit was reached: once in a span of time, by whichever request was one too many."""
    record("visitor:limit:reached", about=about, application=application, limit=rule)
    log.warning("Limit reached: %s.", rule)
