"""What the error codes of OAuth mean, and what a developer can do about each."""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.activity.recorder import OTHER, REDIRECT_URI_MISMATCH


@dataclass(frozen=True)
class Explanation:
    meaning: str | Promise
    remedy: str | Promise


_EXPLANATIONS: dict[str, Explanation] = {
    REDIRECT_URI_MISMATCH: Explanation(
        _("A request asked to send the user to an address that is not registered, so nobody was sent anywhere."),
        _("Compare it with the redirect URLs letter by letter: the page “Redirect URLs” shows what was different."),
    ),
    "access_denied": Explanation(
        _("The user, or a rule of the organisation, said no."), _("Nothing is broken. Tell the user what they miss.")
    ),
    "consent_required": Explanation(
        _("You asked with prompt=none, but the user has not agreed to these scopes yet."),
        _("Send the user again without prompt=none."),
    ),
    "login_required": Explanation(
        _("You asked with prompt=none, but the user was not logged in."), _("Send the user again without prompt=none.")
    ),
    "invalid_client": Explanation(
        _("The client secret was wrong or missing, or the client ID unknown."),
        _("Check that all your servers have the newest secret, and send it once: in the header or in the body."),
    ),
    "invalid_grant": Explanation(
        _(
            "The code or refresh token was wrong, used before or too old, or the redirect URI or PKCE verifier was "
            "not that of the request."
        ),
        _(
            "Redeem each code once, within a minute. Keep the newest refresh token; if it is refused, ask the user "
            "again."
        ),
    ),
    "invalid_request": Explanation(
        _("A parameter was missing, sent twice or could not be read."),
        _("The answer’s error_description names the parameter. Public clients have to send PKCE with S256."),
    ),
    "invalid_scope": Explanation(
        _("The request asked for a scope that the application does not have."),
        _("Ask only for scopes of the live version, or send a new version for review."),
    ),
    "server_error": Explanation(
        _("The mistake was ours."), _("Try again a little later. If it goes on, write to the organisation.")
    ),
    "temporarily_unavailable": Explanation(
        _("There were more requests in a short time than we allow."),
        _("Wait as many seconds as the header Retry-After says. Ask for tokens when you need them, not all at once."),
    ),
    "unauthorized_client": Explanation(
        _("The application may not do this: it is not approved or is suspended, or this grant is not for its profile."),
        _("Look at the status on the overview."),
    ),
    "unsupported_grant_type": Explanation(
        _("The token request named a grant type that does not exist here."),
        _("Use authorization_code, or refresh_token where your profile has one."),
    ),
    "unsupported_response_type": Explanation(
        _("The authorization request asked for something other than a code."), _("Send response_type=code.")
    ),
}
_UNKNOWN = Explanation(
    _("Another error."), _("The answer that your application got says more, in its error_description.")
)


def explain(code: str) -> Explanation:
    """Return what the code means; one that we have no words for, and `OTHER`, get general ones."""
    return _UNKNOWN if code == OTHER else _EXPLANATIONS.get(code, _UNKNOWN)
