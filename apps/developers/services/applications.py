"""Everything that writes applications."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from django.contrib.auth.hashers import check_password
from django.core.files.base import File
from django.db import transaction
from oauth2_provider.generators import generate_client_id, generate_client_secret

from apps.accounts.models import User
from apps.developers import rules
from apps.developers.models import Application, RequestedScope, Status
from apps.organisations.models import Organisation


@transaction.atomic
def create_application(
    *,
    name: str,
    profile: str,
    organisation: Organisation,
    redirect_uris: Sequence[str] = (),
    scopes: Sequence[str] = (),
    client_type: str = Application.CLIENT_CONFIDENTIAL,
    is_trusted: bool = False,
    is_approved: bool = False,
    reasons: Mapping[str, str] | None = None,
    optional_scopes: Collection[str] = (),
    description: str = "",
    website_url: str = "",
    privacy_policy_url: str = "",
    terms_url: str = "",
    owner: User | None = None,
    client_id: str | None = None,
    client_secret: str | None = None,
    logo: File | None = None,
) -> tuple[Application, str | None]:
    """Create an application; return it and its client secret, which is nowhere to be had again.

    A public client has no secret: None. `reasons` gives by scope why it is asked for, `optional_scopes` those
    that users may untick. Client id and secret are random unless given.

    Raises ValidationError by field for what `rules.check_application` or the model refuses.
    """
    redirect_uris, scopes = _unique(redirect_uris), _unique(scopes)
    rules.check_application(
        name=name,
        profile=profile,
        redirect_uris=redirect_uris,
        scopes=scopes,
        client_type=client_type,
        is_trusted=is_trusted,
    )
    secret = client_secret or generate_client_secret()
    application = Application(
        name=name.strip(),
        profile=profile,
        organisation=organisation,
        redirect_uris=" ".join(redirect_uris),
        scopes=scopes,
        client_type=client_type,
        is_trusted=is_trusted,
        status=Status.APPROVED if is_approved else Status.PENDING,
        description=description,
        website_url=website_url,
        privacy_policy_url=privacy_policy_url,
        terms_url=terms_url,
        logo=logo,
        user=owner,
        client_id=client_id or generate_client_id(),
        # Hashed by the field. A public client's row has one too, that nobody learns: an empty one would match.
        client_secret=secret,
    )
    application.full_clean(exclude={"authorization_grant_type"})
    application.save(force_insert=True)
    set_requested_scopes(application=application, scopes=scopes, reasons=reasons or {}, optional_scopes=optional_scopes)
    return application, None if application.is_public else secret


@transaction.atomic
def set_requested_scopes(
    *,
    application: Application,
    scopes: Sequence[str],
    reasons: Mapping[str, str] | None = None,
    optional_scopes: Collection[str] | None = None,
) -> None:
    """Let the application ask for exactly `scopes`; what is not given of one it has stays as it was."""
    reasons = reasons or {}
    application.requested_scopes.exclude(scope__in=scopes).delete()
    present = {row.scope: row for row in application.requested_scopes.all()}
    for scope in scopes:
        row = present.get(scope) or RequestedScope(application=application, scope=scope)
        row.reason = reasons.get(scope, row.reason)
        row.is_optional = row.is_optional if optional_scopes is None else scope in optional_scopes
        row.save()


def approve_application(*, application: Application) -> bool:
    """Let users authorise the application; says whether they could not before."""
    return _change_status(application, Status.APPROVED)


def suspend_application(*, application: Application) -> bool:
    """End what the application may do, for as long as it is suspended: no log-in, and no token of it works.

    Says whether it was not suspended before.
    """
    return _change_status(application, Status.SUSPENDED)


def replace_secret(*, application: Application, client_secret: str) -> bool:
    """Make `client_secret` the application's only secret; says whether it was another one before."""
    if check_password(client_secret, application.client_secret):
        return False
    application.client_secret = client_secret
    application.save(update_fields=["client_secret", "updated"])
    return True


def _change_status(application: Application, status: Status) -> bool:
    if application.status == status:
        return False
    application.status = status
    application.save(update_fields=["status", "updated"])
    return True


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value.strip() for value in values))
