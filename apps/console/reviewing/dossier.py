"""Everything that a reviewer reads about one application, gathered in a constant number of queries."""

from typing import Any

from apps.console.comparing import Version, compare
from apps.console.reviewing.destinations import find_destination
from apps.console.timeline import show, timeline_of
from apps.developers import selectors
from apps.developers.models import Application, Outcome, Status, Submission
from apps.developers.rules import count_words
from apps.developers.services.versions import live_scopes

#: Of the versions before the one that is shown. What came of older ones is in the timeline.
MOST_EARLIER = 10


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
    compared = compare(shown, before, alike=counts)
    return {
        **compared,
        "waiting": waiting,
        "earlier": earlier.order_by("-number")[:MOST_EARLIER],
        "is_live": is_live,
        "compared_with": sent_back,
        "word_count": count_words(shown.description),
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
        "preview_scopes": [scope for scope in compared["scopes"] if scope.change != "removed"],
    }


def _latest_sent_back(application: Application) -> Submission | None:
    """Return the version that the team is likely to have mended: the latest that a reviewer sent back."""
    sent_back = application.submissions.filter(outcome__in=[Outcome.CHANGES_REQUESTED, Outcome.REJECTED])
    return sent_back.order_by("-number").first()


def _pages(application: Application) -> list[tuple[str, Any]]:
    pages = [
        ("website", application.website_url),
        ("privacy", application.privacy_policy_url),
        ("terms", application.terms_url),
    ]
    return [(name, find_destination(address)) for name, address in pages if address]
