"""What sending a version would change, in sentences, for the team that writes it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.developers.models import Application
from apps.developers.models.review import SubmittedScope
from apps.developers.rules import clean_text
from apps.developers.scopes import ALL
from apps.developers.services.versions import live_scopes

#: Of an approved application: what is live goes on. `{scope}` is for the words of a scope.
_LIVE: dict[str, str | Promise] = {
    "removed": _("“{scope}” ends at once, for everybody who has connected."),
    "added": _("“{scope}” is new: it waits for the review."),
    "reason": _("The reason for “{scope}” is another: it waits for the review."),
    "optional": _("“{scope}” becomes optional: that waits for the review."),
    "needed": _("“{scope}” is no longer optional: that waits for the review."),
    "description": _("The description is another: it waits for the review."),
    "nothing": _("Nothing is different from what is live, so nothing would have to be reviewed."),
}
#: Of one that nobody can use yet: what is sent takes the place of what was sent before.
_NOT_LIVE: dict[str, str | Promise] = {
    "removed": _("“{scope}” is not asked for any more."),
    "added": _("“{scope}” is asked for as well."),
    "reason": _("The reason for “{scope}” is another."),
    "optional": _("“{scope}” becomes optional."),
    "needed": _("“{scope}” is no longer optional."),
    "description": _("The description is another."),
    "nothing": _("Nothing is different from what you sent last."),
}


@dataclass(frozen=True)
class Difference:
    """One thing that would change. `kind` is a key of `sentences_for`."""

    kind: str
    text: str


def sentences_for(application: Application) -> Mapping[str, str | Promise]:
    """Return the sentences by kind, for the page and its script."""
    return _LIVE if application.is_approved else _NOT_LIVE


def differences_from(
    application: Application, *, description: str, scopes: Sequence[SubmittedScope]
) -> list[Difference]:
    """Return what `description` and `scopes` would change; what ends comes first, then as on the page."""
    sentences = sentences_for(application)
    found = [
        Difference(kind, str(sentences[kind]).replace("{scope}", str(ALL[scope].label) if scope in ALL else scope))
        for kind, scope in _compare_scopes(live_scopes(application), scopes)
    ]
    if clean_text(description) != clean_text(application.description):
        found.append(Difference("description", str(sentences["description"])))
    return sorted(found, key=lambda each: each.kind != "removed")


def _compare_scopes(before: Sequence[SubmittedScope], after: Sequence[SubmittedScope]) -> Iterator[tuple[str, str]]:
    old = {entry["scope"]: entry for entry in before}
    new = {entry["scope"]: entry for entry in after}
    for scope in [*old, *(scope for scope in new if scope not in old)]:
        if scope not in new:
            yield "removed", scope
        elif scope not in old:
            yield "added", scope
        else:
            if clean_text(new[scope]["reason"]) != clean_text(old[scope]["reason"]):
                yield "reason", scope
            if new[scope]["is_optional"] != old[scope]["is_optional"]:
                yield "optional" if new[scope]["is_optional"] else "needed", scope
