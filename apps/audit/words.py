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
    "application:member_invited": gettext_lazy("Invited somebody to the team"),
    "application:invitation_cancelled": gettext_lazy("Cancelled an invitation to the team"),
    "application:member_joined": gettext_lazy("Joined the team"),
    "application:member_left": gettext_lazy("Left the team, or was removed from it"),
    "application:role_changed": gettext_lazy("Changed somebody's role in the team"),
    "application:ownership_transferred": gettext_lazy("Made somebody else the owner"),
    "application:deleted": gettext_lazy("Deleted an application"),
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
    _subject, thing, action = tag.split(":")
    if "model" in details and action in _ADMINISTRATION:
        return str(_ADMINISTRATION[action]) % {"what": details["model"]}
    words = _SENTENCES.get(f"{thing}:{action}")
    return (
        str(words)
        if words
        else _("%(thing)s %(action)s")
        % {
            "thing": thing.replace("_", " ").capitalize(),
            "action": action.replace("_", " "),
        }
    )


def subject(tag: str) -> str:
    """Return in which capacity it was done."""
    word = tag.partition(":")[0]
    return str(_SUBJECTS.get(word, word))


def known_tags() -> list[str]:
    """Return the ends of tags that there are words for, as suggestions for a search."""
    return sorted(_SENTENCES)
