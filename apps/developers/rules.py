"""The rules of registration (CONTRACT section 9), for the commands, the administration and the portal alike.

Each function raises ValidationError in words for the person who filled in the form.
"""

from collections.abc import Iterable, Sequence

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from apps.developers.models import Application, Profile
from apps.developers.redirect_uris import validate_redirect_uri
from apps.developers.scopes import BY_PROFILE

MAX_NAME_LENGTH = 255
MAX_REDIRECT_URIS = 20
DESCRIPTION_WORDS = (127, 511)
REASON_CHARACTERS = (10, 280)
#: The profiles whose applications are for nothing without a scope.
PROFILES_WITH_SCOPES = frozenset({Profile.CONNECTION, Profile.PORTAL})


def check_application(
    *,
    name: str,
    profile: str,
    redirect_uris: Sequence[str],
    scopes: Sequence[str],
    client_type: str,
    is_trusted: bool = False,
) -> None:
    """Check what an application is made of, all of it at once.

    Raises ValidationError with the messages of each field that is wrong: `name`, `profile`, `redirect_uris`,
    `scopes`, `client_type`, `is_trusted`.
    """
    errors: dict[str, list[ValidationError]] = {}

    def check(field: str, rule: object, *args: object) -> None:
        try:
            rule(*args)  # type: ignore[operator]
        except ValidationError as error:
            errors.setdefault(field, []).extend(error.error_list)

    is_public = client_type == Application.CLIENT_PUBLIC
    check("name", check_name, name)
    check("client_type", check_client_type, client_type, profile)
    if profile in Profile.values:
        check("scopes", check_scopes, scopes, profile)
        check("redirect_uris", check_redirect_uris, redirect_uris, profile, is_public)
    else:
        check("profile", check_profile, profile)
    if is_trusted and is_public:
        check("is_trusted", check_trusted_public_client, redirect_uris)
    if errors:
        raise ValidationError(errors)


def check_name(name: str) -> None:
    """A name that a user can read: not empty, not too long, no line breaks or control characters."""
    if not name.strip():
        raise ValidationError(_("Give the application a name."))
    if len(name) > MAX_NAME_LENGTH:
        raise ValidationError(
            _("Use at most %(limit)s characters (you wrote %(length)s)."),
            params={"limit": MAX_NAME_LENGTH, "length": len(name)},
        )
    if not name.isprintable():
        raise ValidationError(_("The name has a character that cannot be shown."))


def check_profile(profile: str) -> None:
    """One of the profiles there are."""
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
    if not fewest <= len(reason.strip()) <= most:
        raise ValidationError(
            _("Say why in %(fewest)s to %(most)s characters."), params={"fewest": fewest, "most": most}
        )
