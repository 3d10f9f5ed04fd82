"""Everything that a reviewer reads about one application, gathered in a constant number of queries."""

from dataclasses import dataclass
from typing import Any, Literal

from django.utils.functional import Promise

from apps.console.reviewing.destinations import find_destination
from apps.console.reviewing.wording import Piece, compare_words, split_paragraphs
from apps.console.timeline import show, timeline_of
from apps.developers import selectors
from apps.developers.models import Application, Outcome, Status, Submission
from apps.developers.models.review import SubmittedScope
from apps.developers.rules import count_words
from apps.developers.scopes import ALL, in_catalogue_order
from apps.developers.services.versions import live_scopes

#: Of the versions before the one that is shown. What came of older ones is in the timeline.
MOST_EARLIER = 10


@dataclass(frozen=True)
class Version:
    """What a reviewer decides on: a description, and scopes with their reasons."""

    description: str
    scopes: list[SubmittedScope]


@dataclass(frozen=True)
class ReviewedScope:
    """A scope as a reviewer reads it."""

    name: str
    label: str | Promise
    category: str | Promise
    reason: str
    is_optional: bool
    change: Literal["", "added", "removed", "changed"]
    #: As it was before, if that is something else.
    previous_reason: str
    was_optional: bool
    #: How many comparable applications ask for it.
    alike: int


def gather(application: Application, *, page: str | None = None) -> dict[str, Any]:
    """Return the context of the review page of `application`, with that page of its timeline."""
    waiting = selectors.waiting_submission(application)
    earlier = application.submissions.exclude(outcome=Outcome.WAITING).select_related("decided_by")
    is_live = application.status in {Status.APPROVED, Status.SUSPENDED}
    live = Version(application.description, live_scopes(application))
    shown = Version(waiting.description, waiting.scopes) if waiting else live
    sent_back = _latest_sent_back(application) if waiting and not is_live else None
    before: Version | None = None
    if waiting and is_live:
        before = live
    elif sent_back:
        before = Version(sent_back.description, sent_back.scopes)
    comparable, counts = selectors.comparable_counts(
        organisation=application.organisation, profile=application.profile, besides=application
    )
    history = timeline_of(application, page=page)
    scopes = _compare_scopes(shown.scopes, before.scopes if before else None, counts)
    return {
        "waiting": waiting,
        "earlier": earlier.order_by("-number")[:MOST_EARLIER],
        "is_live": is_live,
        "is_compared": before is not None,
        "compared_with": sent_back,
        "description_is_changed": before is not None and before.description.split() != shown.description.split(),
        "paragraphs": _compare_descriptions(before.description if before else None, shown.description),
        "plain_paragraphs": split_paragraphs(shown.description),
        "word_count": count_words(shown.description),
        "scopes": scopes,
        "scopes_are_changed": any(scope.change for scope in scopes),
        "comparable": comparable,
        "destinations": [find_destination(uri) for uri in application.redirect_uri_list],
        "pages": _pages(application),
        "team": application.team.select_related("user").order_by("joined_at", "pk"),
        "latest_terms": selectors.latest_terms().filter(organisation=application.organisation).first(),
        "owners_to_agree": list(
            selectors.owners_who_have_not_agreed(application.organisation)
            .filter(application=application)
            .order_by("joined_at", "pk")
        ),
        "timeline": history,
        "entries": [show(entry) for entry in history],
        "preview_scopes": [scope for scope in scopes if scope.change != "removed"],
    }


def _latest_sent_back(application: Application) -> Submission | None:
    """Return the version that the team is likely to have mended: the latest that a reviewer sent back."""
    sent_back = application.submissions.filter(outcome__in=[Outcome.CHANGES_REQUESTED, Outcome.REJECTED])
    return sent_back.order_by("-number").first()


def _compare_descriptions(before: str | None, after: str) -> list[list[Piece]]:
    if before is None:
        return [[Piece(paragraph)] for paragraph in split_paragraphs(after)]
    return compare_words(before, after)


def _compare_scopes(
    after: list[SubmittedScope], before: list[SubmittedScope] | None, counts: dict[str, int]
) -> list[ReviewedScope]:
    new = {entry["scope"]: entry for entry in after}
    old = {entry["scope"]: entry for entry in (after if before is None else before)}
    rows = []
    for name in in_catalogue_order([*new, *old]):
        entry = new.get(name) or old[name]
        previous = old.get(name)
        known = ALL.get(name)
        rows.append(
            ReviewedScope(
                name=name,
                label=known.label if known else name,
                category=known.category if known else "",
                reason=entry["reason"],
                is_optional=entry["is_optional"],
                change=_change(new.get(name), previous),
                previous_reason=previous["reason"] if previous and previous["reason"] != entry["reason"] else "",
                was_optional=previous["is_optional"] if previous else entry["is_optional"],
                alike=counts.get(name, 0),
            )
        )
    return rows


def _change(
    entry: SubmittedScope | None, previous: SubmittedScope | None
) -> Literal["", "added", "removed", "changed"]:
    if entry is None:
        return "removed"
    if previous is None:
        return "added"
    return "" if entry == previous else "changed"


def _pages(application: Application) -> list[tuple[str, Any]]:
    pages = [
        ("website", application.website_url),
        ("privacy", application.privacy_policy_url),
        ("terms", application.terms_url),
    ]
    return [(name, find_destination(address)) for name, address in pages if address]
