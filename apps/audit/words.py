"""Every event as a sentence. The subject of a tag is said by whoever did it; object and action choose the words."""

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

_SENTENCES: dict[str, Promise] = {
    "connection:granted": gettext_lazy("Connected an application"),
    "connection:changed": gettext_lazy("Changed what an application may do"),
    "connection:confirmed": gettext_lazy("Confirmed a connection as it was"),
    "connection:denied": gettext_lazy("Refused an application"),
    "connection:ended": gettext_lazy("Ended a connection"),
    "family:refused_replay": gettext_lazy("A code or token was presented again: refused, and what came of it ended"),
    "session:started": gettext_lazy("Logged in"),
    "session:ended": gettext_lazy("Logged out"),
    "session:refused": gettext_lazy("Log-in refused"),
    "limit:reached": gettext_lazy("Reached a limit: further tries refused for a while"),
    "account:created": gettext_lazy("Signed up"),
    "account:downloaded": gettext_lazy("Downloaded what is kept about them"),
    "account:closed": gettext_lazy("Closed the account"),
    "password:set": gettext_lazy("Set a password"),
    "password:changed": gettext_lazy("Changed the password"),
    "password:reset": gettext_lazy("Chose a new password after forgetting the old one"),
    "email:added": gettext_lazy("Added an e-mail address"),
    "email:confirmed": gettext_lazy("Confirmed an e-mail address"),
    "email:changed": gettext_lazy("Changed the e-mail address"),
    "email:removed": gettext_lazy("Removed an e-mail address"),
    "second_factor:added": gettext_lazy("Added a second factor"),
    "second_factor:removed": gettext_lazy("Removed a second factor"),
    "second_factor:reset": gettext_lazy("Made new recovery codes"),
    "second_factor:refused": gettext_lazy("Second factor refused"),
    "user:suspended": gettext_lazy("Suspended a user"),
    "user:reinstated": gettext_lazy("Ended a user's suspension"),
    "signing_keys:rotated": gettext_lazy("Made new signing keys"),
    "audit:pruned": gettext_lazy("Deleted old events of this trail"),
    "audit:anonymised": gettext_lazy("Made events of a closed account anonymous"),
    "audit:exported": gettext_lazy("Exported this trail"),
    "backup:made": gettext_lazy("Backed everything up"),
    "backup:restored": gettext_lazy("Restored everything from a backup"),
    "application:registered": gettext_lazy("Registered an application"),
    "application:submitted": gettext_lazy("Sent a version for review"),
    "application:withdrawn": gettext_lazy("Took a version back from review"),
    "application:commented": gettext_lazy("Commented on an application"),
    "application:approved": gettext_lazy("Approved an application"),
    "application:changes_requested": gettext_lazy("Asked for changes to an application"),
    "application:rejected": gettext_lazy("Rejected an application"),
    "application:suspended": gettext_lazy("Suspended an application"),
    "application:reinstated": gettext_lazy("Ended an application's suspension"),
    "application:trusted": gettext_lazy("Marked an application as trusted"),
    "application:untrusted": gettext_lazy("No longer trusts an application"),
    "application:scopes_removed": gettext_lazy("Removed scopes from an application"),
    "application:version_changed": gettext_lazy("Changed an application's version past the review"),
    "application:redirect_uris_changed": gettext_lazy("Changed redirect URLs"),
    "application:branding_changed": gettext_lazy("Changed name, logo or links"),
    "application:secret_created": gettext_lazy("Made a new client secret"),
    "application:secret_ended": gettext_lazy("Ended the previous client secret"),
    "application:webhook_changed": gettext_lazy("Changed where an application is told by webhook"),
    "application:webhook_key_created": gettext_lazy("Made a new key of an application's webhook"),
    "application:webhook_key_ended": gettext_lazy("Ended the previous key of an application's webhook"),
    "application:member_invited": gettext_lazy("Invited somebody to the team"),
    "application:invitation_cancelled": gettext_lazy("Cancelled an invitation to the team"),
    "application:member_joined": gettext_lazy("Joined the team"),
    "application:member_added": gettext_lazy("Put somebody on the team"),
    "application:member_left": gettext_lazy("Left the team, or was removed from it"),
    "application:role_changed": gettext_lazy("Changed somebody's role in the team"),
    "application:ownership_transferred": gettext_lazy("Made somebody else the owner"),
    "application:deleted": gettext_lazy("Deleted an application"),
}
#: Of one tag, by a fact and its value.
_BY_FACT: dict[str, dict[tuple[str, bool], Promise]] = {
    "application:webhook_changed": {
        ("paused", True): gettext_lazy("Paused an application's webhook"),
        ("paused", False): gettext_lazy("Let an application's webhook go on"),
        ("has_url", True): gettext_lazy("Gave an application's webhook an address"),
        ("has_url", False): gettext_lazy("Removed an application's webhook"),
    },
}
#: What the facts of events are called.
_FACTS: dict[str, Promise] = {
    "added": gettext_lazy("added"),
    "changed": gettext_lazy("changed"),
    "events": gettext_lazy("events"),
    "family": gettext_lazy("token family"),
    "fields": gettext_lazy("fields"),
    "format": gettext_lazy("format"),
    "has_url": gettext_lazy("has an address"),
    "is_known": gettext_lazy("the account exists"),
    "key": gettext_lazy("key"),
    "kids": gettext_lazy("ids of the keys"),
    "kind": gettext_lazy("kind"),
    "limit": gettext_lazy("limit"),
    "made_at": gettext_lazy("made at"),
    "model": gettext_lazy("kind of row"),
    "number": gettext_lazy("version"),
    "object": gettext_lazy("id of the row"),
    "old_role": gettext_lazy("role before"),
    "older_than": gettext_lazy("older than"),
    "overlap_seconds": gettext_lazy("seconds that the one before works on"),
    "paused": gettext_lazy("paused"),
    "people": gettext_lazy("parts of events"),
    "presented": gettext_lazy("what was presented"),
    "removed": gettext_lazy("removed"),
    "role": gettext_lazy("role"),
    "scopes": gettext_lazy("scopes"),
    "seals": gettext_lazy("seals"),
    "searched_by": gettext_lazy("searched by"),
    "secret_key": gettext_lazy("with the deployment's secret"),
}
_SUBJECTS: dict[str, Promise] = {
    "user": gettext_lazy("user"),
    "visitor": gettext_lazy("somebody not logged in"),
    "partner": gettext_lazy("partner"),
    "team": gettext_lazy("developer"),
    "reviewer": gettext_lazy("reviewer"),
    "administrator": gettext_lazy("administrator"),
    "operator": gettext_lazy("operator, by command"),
    "server": gettext_lazy("server"),
}
_ADMINISTRATION: dict[str, Promise] = {
    "added": gettext_lazy("Added in the administration: %(what)s"),
    "changed": gettext_lazy("Changed in the administration: %(what)s"),
    "deleted": gettext_lazy("Deleted in the administration: %(what)s"),
}


def sentence(tag: str, details: dict[str, Any]) -> str:
    """Return what happened. A tag without words of its own, an older version's perhaps, is spelt out."""
    _subject, _, what = tag.partition(":")
    action = what.partition(":")[2]
    if "model" in details and action in _ADMINISTRATION:
        return str(_ADMINISTRATION[action]) % {"what": details["model"]}
    for (name, value), words in _BY_FACT.get(what, {}).items():
        if details.get(name) is value:
            return str(words)
    return str(_SENTENCES[what]) if what in _SENTENCES else spell_out(tag)


def spell_out(tag: str) -> str:
    """Return what a tag says by itself."""
    _subject, thing, action = tag.split(":")
    return _("%(thing)s %(action)s") % {
        "thing": thing.replace("_", " ").capitalize(),
        "action": action.replace("_", " "),
    }


def subject(tag: str) -> str:
    """Return in which capacity it was done."""
    word = tag.partition(":")[0]
    return str(_SUBJECTS.get(word, word))


def fact(name: str, value: Any) -> tuple[str, str]:
    """Return a fact of an event as it is read: what it is called, and what it is."""
    if isinstance(value, bool):
        value = _("yes") if value else _("no")
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return str(_FACTS.get(name, name.replace("_", " "))), text
