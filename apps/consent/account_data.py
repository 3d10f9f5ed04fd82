"""All that is kept about a user, for the user: one JSON document, written piece by piece.

Nothing of anybody else is in it: of who did something to the account, only what the user did, or somebody unknown who
tried to log in as them.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from apps.accounts.models import User
from apps.audit.selectors import Search, ShownEvent, walk
from apps.connections.models import Connection
from apps.developers.models import HistoryEntry, Invitation, Submission
from apps.webhooks.models import Notification

Rows = Iterable[Mapping[str, object]]

_ACTIONS = {ADDITION: "added", CHANGE: "changed", DELETION: "deleted"}


def write_account_data(user: User) -> Iterator[bytes]:
    """Yield the document: `made_at`, `account`, and a list for each of `SECTIONS`."""
    yield f'{{"made_at": {_json(timezone.now())},\n"account": {_json(_account(user))}'.encode()
    for name, read in SECTIONS.items():
        yield f',\n"{name}": ['.encode()
        for number, row in enumerate(read(user)):
            yield f"{',' if number else ''}\n  {_json(row)}".encode()
        yield b"]"
    yield b"}\n"


def _account(user: User) -> dict[str, Any]:
    names = ("id", "email", "username", "first_name", "last_name", "phone", "birth_date", "created_at", "last_login")
    return {name: getattr(user, name) for name in (*names, "is_staff", "is_superuser")}


def _groups(user: User) -> Rows:
    return user.groups.order_by("name").values("name")


def _permissions(user: User) -> Rows:
    own = user.user_permissions.select_related("content_type").order_by("content_type__app_label", "codename")
    return ({"name": f"{permission.content_type.app_label}.{permission.codename}"} for permission in own)


def _email_addresses(user: User) -> Rows:
    return EmailAddress.objects.filter(user=user).order_by("pk").values("email", "verified", "primary")


def _second_factors(user: User) -> Rows:
    return Authenticator.objects.filter(user=user).order_by("pk").values("type", "created_at", "last_used_at")


def _sessions(user: User) -> Rows:
    rows = UserSession.objects.filter(user=user).order_by("pk")
    return rows.values("created_at", "last_seen_at", "ip", "user_agent")


def _profile_values(user: User) -> Rows:
    return user.profile_values.order_by("key").values("key", "value", "updated_at")


def _memberships(user: User) -> Rows:
    for membership in user.memberships.select_related("organisation").order_by("created_at", "pk"):
        yield {
            "organisation": membership.organisation.name,
            "member_id": membership.member_id,
            "scheme_name": membership.scheme_name,
            "points": membership.points,
            "expiring": membership.expiring,
            "current_level": membership.current_level,
            "last_transacted_at": membership.last_transacted_at,
            "created_at": membership.created_at,
        }


def _connections(user: User) -> Rows:
    rows = Connection.objects.filter(user=user).select_related("application__organisation")
    for connection in rows.order_by("created_at", "pk").iterator():
        yield {
            "id": connection.pk,
            "application": connection.application.name,
            "organisation": connection.application.organisation.name,
            "scopes": connection.scopes,
            "partner_metadata": connection.partner_metadata,
            "created_at": connection.created_at,
            "changed_at": connection.changed_at,
            "last_used_at": connection.last_used_at,
            "ended_at": connection.ended_at,
            "end_reason": connection.end_reason,
        }


def _notifications(user: User) -> Rows:
    """What partners were told about the user: of receipts, of transactions, and that a connection was ended."""
    told = Notification.objects.filter(connection_id__in=Connection.objects.filter(user=user).values("pk"))
    for notification in told.select_related("application").order_by("created_at", "pk").iterator():
        yield {
            "application": notification.application.name,
            "connection_id": notification.connection_id,
            # Emptied, when it was cancelled because the connection had ended.
            "body": json.loads(notification.body) if notification.body else None,
            "state": notification.state,
            "created_at": notification.created_at,
        }


def _teams(user: User) -> Rows:
    for member in user.team_memberships.select_related("application").order_by("joined_at", "pk"):
        yield {"application": member.application.name, "role": member.role, "joined_at": member.joined_at}


def _invitations(user: User) -> Rows:
    """Those that wait for an answer. Only to addresses that are proved to be the user's; not who sent them."""
    addresses = EmailAddress.objects.filter(user=user, verified=True).values("email")
    waiting = Invitation.objects.filter(email__in=addresses, accepted_at__isnull=True).select_related("application")
    for invitation in waiting.order_by("created_at", "pk"):
        yield {
            "application": invitation.application.name,
            "email": invitation.email,
            "role": invitation.role,
            "created_at": invitation.created_at,
            "expires_at": invitation.expires_at,
        }


def _submissions(user: User) -> Rows:
    """Versions that the user sent for review; not who decided on them, and in which words."""
    sent = Submission.objects.filter(submitted_by=user).select_related("application")
    for submission in sent.order_by("submitted_at", "pk").iterator():
        yield {
            "application": submission.application.name,
            "version": submission.number,
            "description": submission.description,
            "scopes": submission.scopes,
            "submitted_at": submission.submitted_at,
            "outcome": submission.outcome,
        }


def _decisions(user: User) -> Rows:
    """What the user decided as a reviewer; not what was sent, nor by whom."""
    decided = Submission.objects.filter(decided_by=user).select_related("application")
    for submission in decided.order_by("decided_at", "pk").iterator():
        yield {
            "application": submission.application.name,
            "version": submission.number,
            "outcome": submission.outcome,
            "reason": submission.reason,
            "decided_at": submission.decided_at,
        }


def _history(user: User) -> Rows:
    """What the user did to applications, and wrote about them; the details, which may name others, are left out."""
    done = HistoryEntry.objects.filter(actor=user).select_related("application")
    for entry in done.order_by("created_at", "pk").iterator():
        yield {
            "application": entry.application.name,
            "kind": entry.kind,
            "text": entry.text,
            "is_by_reviewer": entry.is_by_reviewer,
            "created_at": entry.created_at,
        }


def _administration(user: User) -> Rows:
    """What the user changed in the administration: of which kind, not which row, that may be somebody."""
    done = LogEntry.objects.filter(user=user).select_related("content_type").order_by("action_time", "pk")
    for entry in done.iterator():
        kind = entry.content_type
        yield {
            "action": _ACTIONS[entry.action_flag],
            "kind": f"{kind.app_label}.{kind.model}" if kind else "",
            "action_time": entry.action_time,
        }


def _reviewing(user: User) -> Rows:
    for reviewer in user.reviewing.select_related("organisation").order_by("created_at", "pk"):
        yield {"organisation": reviewer.organisation.name, "since": reviewer.created_at}


def _agreements(user: User) -> Rows:
    for agreement in user.terms_agreements.select_related("terms__organisation").order_by("agreed_at", "pk"):
        yield {
            "organisation": agreement.terms.organisation.name,
            "terms_version": agreement.terms.number,
            "agreed_at": agreement.agreed_at,
        }


def _drafts(user: User) -> Rows:
    return user.drafts.order_by("pk").values("application_id", "fields", "updated_at")


def _events(user: User) -> Rows:
    return (_event(shown, user) for shown in walk(Search(user_id=user.pk)))


def _event(shown: ShownEvent, user: User) -> dict[str, Any]:
    event, actor = shown.event, shown.actor
    is_own = actor is not None and actor.user_id == user.pk
    # Whoever has an account and did something to this one is somebody else: an administrator, say.
    shows_origin = actor is not None and (is_own or actor.user_id is None)
    return {
        "happened_at": event.happened_at,
        "tag": event.tag,
        "what": shown.sentence,
        "by_you": is_own,
        "address": actor.address if actor and shows_origin else "",
        "user_agent": actor.user_agent if actor and shows_origin else "",
        "application": shown.application_name,
        "organisation": shown.organisation_name,
        "connection_id": event.connection_id,
        "details": event.details,
    }


SECTIONS: dict[str, Callable[[User], Rows]] = {
    "email_addresses": _email_addresses,
    "second_factors": _second_factors,
    "groups": _groups,
    "permissions": _permissions,
    "sessions": _sessions,
    "profile_values": _profile_values,
    "memberships": _memberships,
    "connections": _connections,
    "notifications": _notifications,
    "teams": _teams,
    "invitations": _invitations,
    "reviewing": _reviewing,
    "agreements": _agreements,
    "drafts": _drafts,
    "submissions": _submissions,
    "decisions": _decisions,
    "history": _history,
    "administration": _administration,
    "events": _events,
}


def _json(value: Any) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder, ensure_ascii=False)
