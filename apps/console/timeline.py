"""The history of an application in sentences, for its team and its reviewers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.core.paginator import Page, Paginator
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from apps.developers.models import Application, HistoryEntry, HistoryKind, Role
from apps.developers.scopes import ALL

PAGE_SIZE = 50


@dataclass(frozen=True)
class ShownEntry:
    """One thing that happened, as a page shows it."""

    kind: str
    sentence: str
    #: Who did it; empty: a command, or somebody whose account is gone.
    who: str
    is_by_reviewer: bool
    at: datetime
    #: What they wrote, as they wrote it.
    text: str
    #: What was added, changed and taken away, e.g. redirect URLs.
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def timeline_of(application: Application, *, page: str | None) -> Page[HistoryEntry]:
    """Return one page of the history, the newest first; a number that is none gives the nearest page there is."""
    entries = application.history.select_related("actor", "submission").order_by("-created_at", "-pk")
    return Paginator(entries, PAGE_SIZE).get_page(page)


def show(entry: HistoryEntry) -> ShownEntry:
    """Return the entry in words."""
    details = entry.details
    added, changed, removed = (list(details.get(key, [])) for key in ("added", "changed", "removed"))
    if entry.kind in {HistoryKind.SCOPES_REMOVED, HistoryKind.VERSION_CHANGED}:
        added, changed = _labels(added), _labels(changed)
        removed = _labels(removed or details.get("scopes", []))
    if entry.kind == HistoryKind.WEBHOOK_CHANGED and details.get("url"):
        added.append(details["url"])
    if details.get("description"):
        changed.append(_("the description"))
    say = SENTENCES.get(HistoryKind(entry.kind), HistoryEntry.get_kind_display)
    return ShownEntry(
        kind=entry.kind,
        sentence=say(entry),
        who=str(entry.actor) if entry.actor else "",
        is_by_reviewer=entry.is_by_reviewer,
        at=entry.created_at,
        text=entry.text,
        added=added,
        changed=changed,
        removed=removed,
    )


def _labels(scopes: Iterable[str]) -> list[str]:
    return [str(ALL[scope].label) if scope in ALL else scope for scope in scopes]


def span(duration: timedelta) -> str:
    """Return a whole number of days or hours in words."""
    hours = round(duration.total_seconds() / 3600)
    if hours > 24 and hours % 24 == 0:
        return ngettext("%(count)s day", "%(count)s days", hours // 24) % {"count": hours // 24}
    return ngettext("%(count)s hour", "%(count)s hours", hours) % {"count": hours}


def _plain(sentence: str | Promise) -> Callable[[HistoryEntry], str]:
    return lambda entry: str(sentence)


def _about_version(sentence: str | Promise, without_number: str | Promise) -> Callable[[HistoryEntry], str]:
    def say(entry: HistoryEntry) -> str:
        number = entry.submission.number if entry.submission else entry.details.get("number")
        return str(sentence) % {"number": number} if number else str(without_number)

    return say


def _with_details(sentence: str | Promise) -> Callable[[HistoryEntry], str]:
    def say(entry: HistoryEntry) -> str:
        facts = {"email": "", "member": "", **entry.details}
        facts["role"] = _role(entry.details.get("role"))
        facts["old_role"] = _role(entry.details.get("old_role"))
        return str(sentence) % facts

    return say


def _role(role: str | None) -> str:
    return str(dict(Role.choices).get(role or "", role or "")).lower()


def _say_secret_created(entry: HistoryEntry) -> str:
    overlap = timedelta(seconds=entry.details.get("overlap_seconds", 0))
    if not overlap:
        return _("A new client secret was made; the one before it ended at once.")
    return _("A new client secret was made; the one before it works on for %(span)s.") % {"span": span(overlap)}


def _say_webhook_changed(entry: HistoryEntry) -> str:
    if "paused" in entry.details:
        return _("The webhook was paused.") if entry.details["paused"] else _("The webhook goes on.")
    return _("The webhook got another address.") if entry.details.get("url") else _("The webhook was removed.")


def _say_webhook_key_created(entry: HistoryEntry) -> str:
    overlap = timedelta(seconds=entry.details.get("overlap_seconds", 0))
    if not overlap:
        return _("A new key of the webhook was made.")
    return _("A new key of the webhook was made; the one before it works on for %(span)s.") % {"span": span(overlap)}


def _say_member_left(entry: HistoryEntry) -> str:
    member = entry.details.get("member", "")
    if entry.actor is not None and str(entry.actor) == member:
        return _("%(member)s left the team.") % {"member": member}
    return _("%(member)s was taken off the team.") % {"member": member}


def _say_branding_changed(entry: HistoryEntry) -> str:
    names = {
        "name": _("name"),
        "website_url": _("website"),
        "privacy_policy_url": _("privacy policy"),
        "terms_url": _("terms of service"),
        "brand_colour": _("brand colour"),
        "logo": _("logo"),
    }
    fields = ", ".join(names.get(name, name) for name in entry.details.get("fields", []))
    return _("The branding was changed: %(fields)s.") % {"fields": fields}


#: One for each kind there is.
SENTENCES: dict[HistoryKind, Callable[[HistoryEntry], str]] = {
    HistoryKind.REGISTERED: _plain(gettext_lazy("The application was registered.")),
    HistoryKind.SUBMITTED: _about_version(
        gettext_lazy("Version %(number)s was sent for review."), gettext_lazy("A version was sent for review.")
    ),
    HistoryKind.WITHDRAWN: _about_version(
        gettext_lazy("Version %(number)s was taken back from review."),
        gettext_lazy("A version was taken back from review."),
    ),
    HistoryKind.COMMENTED: _plain(gettext_lazy("Comment")),
    HistoryKind.APPROVED: _about_version(
        gettext_lazy("Version %(number)s was approved."), gettext_lazy("The application was approved.")
    ),
    HistoryKind.CHANGES_REQUESTED: _about_version(
        gettext_lazy("Changes to version %(number)s were requested."), gettext_lazy("Changes were requested.")
    ),
    HistoryKind.REJECTED: _about_version(
        gettext_lazy("Version %(number)s was rejected."), gettext_lazy("A version was rejected.")
    ),
    HistoryKind.SUSPENDED: _plain(gettext_lazy("The application was suspended: nothing of it works.")),
    HistoryKind.REINSTATED: _plain(gettext_lazy("The suspension ended: the application works again.")),
    HistoryKind.TRUSTED: _plain(gettext_lazy("The application was marked as trusted: users see no consent screen.")),
    HistoryKind.UNTRUSTED: _plain(gettext_lazy("The application is no longer trusted: users see the consent screen.")),
    HistoryKind.SCOPES_REMOVED: _plain(gettext_lazy("Scopes were removed, and ended at once.")),
    HistoryKind.VERSION_CHANGED: _plain(gettext_lazy("An administrator changed the live version.")),
    HistoryKind.REDIRECT_URIS_CHANGED: _plain(gettext_lazy("The redirect URLs were changed.")),
    HistoryKind.BRANDING_CHANGED: _say_branding_changed,
    HistoryKind.SECRET_CREATED: _say_secret_created,
    HistoryKind.SECRET_ENDED: _plain(gettext_lazy("The previous client secret was ended.")),
    HistoryKind.WEBHOOK_CHANGED: _say_webhook_changed,
    HistoryKind.WEBHOOK_KEY_CREATED: _say_webhook_key_created,
    HistoryKind.WEBHOOK_KEY_ENDED: _plain(gettext_lazy("The previous key of the webhook was ended.")),
    HistoryKind.MEMBER_INVITED: _with_details(gettext_lazy("%(email)s was invited to the team as %(role)s.")),
    HistoryKind.INVITATION_CANCELLED: _with_details(gettext_lazy("The invitation of %(email)s was cancelled.")),
    HistoryKind.MEMBER_JOINED: _with_details(gettext_lazy("Joined the team as %(role)s.")),
    HistoryKind.MEMBER_ADDED: _with_details(gettext_lazy("%(member)s was put on the team as %(role)s.")),
    HistoryKind.MEMBER_LEFT: _say_member_left,
    HistoryKind.ROLE_CHANGED: _with_details(gettext_lazy("%(member)s is now %(role)s, and was %(old_role)s.")),
    HistoryKind.OWNERSHIP_TRANSFERRED: _with_details(gettext_lazy("Ownership went to %(member)s.")),
    HistoryKind.DELETED: _plain(gettext_lazy("The application was deleted.")),
}
