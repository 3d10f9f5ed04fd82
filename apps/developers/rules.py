"""The rules of registration (CONTRACT section 9), for the commands, the administration and the portal alike.

Each function raises ValidationError in words for the person who filled in the form.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

from django.core.exceptions import ValidationError
from django.core.validators import URLValidator
from django.utils.translation import gettext_lazy as _

from apps.developers.models import Application, Profile
from apps.developers.redirect_uris import is_loopback_host, validate_redirect_uri
from apps.developers.scopes import BY_PROFILE
from apps.organisations.models import hex_colour
from apps.organisations.text import is_storable

MAX_NAME_LENGTH = 255
MAX_REDIRECT_URIS = 20
DESCRIPTION_WORDS = (127, 511)
REASON_CHARACTERS = (10, 280)
#: Words may be long, but not without end: 511 of 30 characters each are fewer than this.
MAX_DESCRIPTION_LENGTH = 20_000
MAX_COMMENT_LENGTH = 5_000
#: What the columns hold.
MAX_PAGE_URL_LENGTH = 200
#: Of one person's applications that nobody has approved yet.
MOST_UNAPPROVED_APPLICATIONS = 10
#: The profiles whose applications are for nothing without a scope.
PROFILES_WITH_SCOPES = frozenset({Profile.CONNECTION, Profile.PORTAL})
#: What was there when users agreed, and must be there for them to read later.
LASTING_PAGES = frozenset({"website_url", "privacy_policy_url"})


class _Findings:
    """What is wrong with each field, collected so that a person is told all of it at once."""

    def __init__(self) -> None:
        self._errors: dict[str, list[ValidationError]] = {}

    def check(self, field: str, rule: Callable[..., None], *arguments: object) -> None:
        """Ask `rule`, and keep what it says."""
        try:
            rule(*arguments)
        except ValidationError as error:
            self._errors.setdefault(field, []).extend(error.error_list)

    def report(self) -> None:
        """Raise ValidationError by field, if anything is wrong."""
        if self._errors:
            raise ValidationError(self._errors)


def check_application(
    *,
    name: str,
    profile: str,
    redirect_uris: Sequence[str],
    scopes: Sequence[str],
    client_type: str,
    is_trusted: bool = False,
    description: str = "",
    reasons: Mapping[str, str] | None = None,
    website_url: str = "",
    privacy_policy_url: str = "",
    terms_url: str = "",
) -> None:
    """Check what an administrator makes an application of: description, reasons and pages only if there are any.

    Raises ValidationError with the messages of each field that is wrong: `name`, `profile`, `redirect_uris`,
    `scopes`, `client_type`, `is_trusted`, `description`, `website_url`, `privacy_policy_url`, `terms_url`, and
    `reason_field(scope)` of each wrong reason.
    """
    findings = _Findings()
    _check_basics(findings, name, profile, redirect_uris, scopes, client_type)
    if is_trusted and client_type == Application.CLIENT_PUBLIC:
        findings.check("is_trusted", check_trusted_public_client, redirect_uris)
    if description and profile != Profile.SERVICE:
        findings.check("description", check_description, description)
    for scope, reason in (reasons or {}).items():
        if reason:
            findings.check(reason_field(scope), check_reason, reason)
    _check_pages(findings, website_url, privacy_policy_url, terms_url)
    findings.report()


def check_registration(
    *,
    name: str,
    profile: str,
    redirect_uris: Sequence[str],
    scopes: Sequence[str],
    reasons: Mapping[str, str],
    description: str,
    client_type: str,
    website_url: str,
    privacy_policy_url: str,
    terms_url: str,
) -> None:
    """Check everything that a developer registers (CONTRACT section 9).

    Raises ValidationError with the messages of each field that is wrong; see `check_application`.
    """
    findings = _Findings()
    if profile == Profile.SERVICE:
        # Made by administrators only (CONTRACT section 1).
        findings.check("profile", check_profile, "")
    else:
        _check_basics(findings, name, profile, redirect_uris, scopes, client_type)
    _check_version(findings, description, scopes, reasons)
    findings.check("website_url", check_page_url, website_url)
    findings.check("privacy_policy_url", check_page_url, privacy_policy_url)
    if terms_url:
        findings.check("terms_url", check_page_url, terms_url)
    findings.report()


def check_version(*, profile: str, description: str, scopes: Sequence[str], reasons: Mapping[str, str]) -> None:
    """Check what a reviewer reads, all of it at once: the description, the scopes, and the reason of each.

    Raises ValidationError by field: `description`, `scopes`, and `reason_field(scope)` of each reason that is wrong.
    """
    findings = _Findings()
    findings.check("scopes", check_scopes, scopes, profile)
    _check_version(findings, description, scopes, reasons)
    findings.report()


def check_branding(
    *,
    name: str,
    website_url: str,
    privacy_policy_url: str,
    terms_url: str,
    brand_colour: str,
    emptied: Iterable[str] = (),
) -> None:
    """Check what users see of an application. Raises ValidationError by field.

    `emptied` are the fields that had something and have nothing now.
    """
    findings = _Findings()
    findings.check("name", check_name, name)
    for field in LASTING_PAGES.intersection(emptied):
        findings.check(field, check_page_url, "")
    _check_pages(findings, website_url, privacy_policy_url, terms_url)
    if brand_colour:
        findings.check("brand_colour", hex_colour, brand_colour)
    findings.report()


def _check_basics(
    findings: _Findings,
    name: str,
    profile: str,
    redirect_uris: Sequence[str],
    scopes: Sequence[str],
    client_type: str,
) -> None:
    is_public = client_type == Application.CLIENT_PUBLIC
    findings.check("name", check_name, name)
    findings.check("client_type", check_client_type, client_type, profile)
    findings.check("profile", check_profile, profile)
    if profile in Profile.values:
        findings.check("scopes", check_scopes, scopes, profile)
    findings.check("redirect_uris", check_redirect_uris, redirect_uris, profile, is_public)


def _check_pages(findings: _Findings, website_url: str, privacy_policy_url: str, terms_url: str) -> None:
    pages = {"website_url": website_url, "privacy_policy_url": privacy_policy_url, "terms_url": terms_url}
    for field, url in pages.items():
        if url:
            findings.check(field, check_page_url, url)


def _check_version(findings: _Findings, description: str, scopes: Sequence[str], reasons: Mapping[str, str]) -> None:
    findings.check("description", check_description, description)
    for scope in scopes:
        findings.check(reason_field(scope), check_reason, reasons.get(scope, ""))


def reason_field(scope: str) -> str:
    """Return the name of the form field for the reason of `scope`."""
    return f"reason-{scope}"


def clean_text(text: str) -> str:
    """Return what was typed into a text area without the line ends that browsers add to it."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def check_name(name: str) -> None:
    """A name that a user can read: not empty, not too long, no line breaks or control characters, no address."""
    if not name.strip():
        raise ValidationError(_("Give the application a name."))
    if len(name) > MAX_NAME_LENGTH:
        raise ValidationError(
            _("Use at most %(limit)s characters (you wrote %(length)s)."),
            params={"limit": MAX_NAME_LENGTH, "length": len(name)},
        )
    if not name.isprintable():
        raise ValidationError(_("The name has a character that cannot be shown."))
    # It stands in mails of the organisation's, where many programs make a link of it.
    if "://" in name or "www." in name.casefold():
        raise ValidationError(_("Leave the address out of the name; it has a field of its own."))


def check_profile(profile: str) -> None:
    """One of the profiles there are."""
    if not profile:
        raise ValidationError(_("Choose a profile."))
    if profile not in Profile.values:
        raise ValidationError(
            _("“%(profile)s” is not a profile; choose one of %(choices)s."),
            params={"profile": profile, "choices": ", ".join(Profile.values)},
        )


def check_client_type(client_type: str, profile: str) -> None:
    """A service proves who it is by its secret, which a public client has not (RFC 6749 4.4)."""
    if client_type not in dict(Application.CLIENT_TYPES):
        raise ValidationError(_("Choose whether the client is confidential or public."))
    if profile == Profile.SERVICE and client_type == Application.CLIENT_PUBLIC:
        raise ValidationError(_("A service needs a secret, so it cannot be a public client."))


def check_scopes(scopes: Sequence[str], profile: str) -> None:
    """Only scopes of the profile, and at least one where the profile is for nothing without."""
    known = [scope.name for scope in BY_PROFILE[profile]]
    if unknown := [scope for scope in scopes if scope not in known]:
        if not known:
            raise ValidationError(_("Applications of this profile have no scopes."))
        raise ValidationError(
            _("Not a scope of this profile: %(unknown)s. It has %(known)s."),
            params={"unknown": ", ".join(unknown), "known": ", ".join(known)},
        )
    if not scopes and profile in PROFILES_WITH_SCOPES:
        raise ValidationError(_("Choose at least one scope."))


def check_redirect_uris(redirect_uris: Sequence[str], profile: str, is_public: bool) -> None:
    """Where users are sent back to: none for a service, else at least one, each of them safe."""
    if profile == Profile.SERVICE:
        if redirect_uris:
            raise ValidationError(_("A service sends nobody anywhere: it has no redirect URLs."))
        return
    if not redirect_uris:
        raise ValidationError(_("Give at least one redirect URL."))
    if len(redirect_uris) > MAX_REDIRECT_URIS:
        raise ValidationError(_("Give at most %(limit)s redirect URLs."), params={"limit": MAX_REDIRECT_URIS})
    errors = []
    for uri in redirect_uris:
        try:
            validate_redirect_uri(uri, is_public=is_public)
        except ValidationError as error:
            errors.append(error)
    if errors:
        raise ValidationError(errors)


def check_trusted_public_client(redirect_uris: Iterable[str]) -> None:
    """Without a secret only an https address tells who a client is (RFC 8252 8.6)."""
    if any(not uri.lower().startswith("https://") for uri in redirect_uris):
        raise ValidationError(_("A public client can be trusted only if all its redirect URLs start with https://."))


def count_words(text: str) -> int:
    """Count the runs of non-space characters that have a letter or a digit."""
    return sum(any(character.isalnum() for character in word) for word in text.split())


def check_description(text: str) -> None:
    """Between 127 and 511 words, both included."""
    if not is_storable(text):
        raise ValidationError(_("This has a character that cannot be kept."))
    if len(text) > MAX_DESCRIPTION_LENGTH:
        raise ValidationError(
            _("Use at most %(limit)s characters (you wrote %(length)s)."),
            params={"limit": MAX_DESCRIPTION_LENGTH, "length": len(text)},
        )
    fewest, most = DESCRIPTION_WORDS
    words = count_words(text)
    if words < fewest:
        raise ValidationError(
            _("Use at least %(limit)s words (you wrote %(count)s)."), params={"limit": fewest, "count": words}
        )
    if words > most:
        raise ValidationError(
            _("Use at most %(limit)s words (you wrote %(count)s)."), params={"limit": most, "count": words}
        )


def check_reason(reason: str) -> None:
    """Why a scope is needed, in 10 to 280 characters."""
    fewest, most = REASON_CHARACTERS
    if not is_storable(reason):
        raise ValidationError(_("This has a character that cannot be kept."))
    if not fewest <= len(clean_text(reason)) <= most:
        raise ValidationError(
            _("Say why in %(fewest)s to %(most)s characters."), params={"fewest": fewest, "most": most}
        )


def check_page_url(url: str) -> None:
    """A page that users can open: https, or plain http for what is on the developer's own machine.

    The host is written as it is asked for, so that reviewers and users are not shown one that only looks like another.
    """
    if not url:
        raise ValidationError(_("Give the address of the page."))
    if len(url) > MAX_PAGE_URL_LENGTH:
        raise ValidationError(
            _("Use at most %(limit)s characters (you wrote %(length)s)."),
            params={"limit": MAX_PAGE_URL_LENGTH, "length": len(url)},
        )
    try:
        URLValidator(schemes=["https", "http"])(url)
        parts = urlsplit(url)
        # Characters that cannot be seen, or turn the line around.
        is_address = parts.port != 0 and url.isprintable() and "\\" not in url
    except (ValueError, ValidationError):
        is_address = False
    if not is_address:
        raise ValidationError(_("“%(url)s” is not the address of a web page."), params={"url": url})
    if "@" in parts.netloc:
        raise ValidationError(_("The address must not have a user name in it."))
    if not parts.netloc.isascii():
        raise ValidationError(_("Write the host name in plain letters, as browsers ask for it (xn--…)."))
    if parts.scheme.lower() == "http" and not is_loopback_host(parts.hostname):
        raise ValidationError(_("Use an address that starts with https://."))


def check_decision_reason(text: str) -> None:
    """Whoever asks for changes or refuses says why."""
    if not text.strip():
        raise ValidationError(_("Say why, so that the team knows what to do."))
    check_comment(text)


def check_note(text: str) -> None:
    """What may be said, or not, along with a decision."""
    if text.strip():
        check_comment(text)


def check_comment(text: str) -> None:
    """Something, and not a book."""
    if not text.strip():
        raise ValidationError(_("Write something first."))
    if not is_storable(text):
        raise ValidationError(_("This has a character that cannot be kept."))
    if len(text) > MAX_COMMENT_LENGTH:
        raise ValidationError(
            _("Use at most %(limit)s characters (you wrote %(length)s)."),
            params={"limit": MAX_COMMENT_LENGTH, "length": len(text)},
        )
