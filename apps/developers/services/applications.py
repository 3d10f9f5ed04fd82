"""Making applications, and what may be changed on one without a review (CONTRACT section 9)."""

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import timedelta

from django.core.files.base import File
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _
from oauth2_provider.generators import generate_client_id, generate_client_secret

from apps.accounts.models import User
from apps.developers import mails, rules, selectors
from apps.developers.errors import AlreadyRegisteredError, RefusedError
from apps.developers.history import note
from apps.developers.models import (
    Application,
    Draft,
    HistoryEntry,
    HistoryKind,
    Outcome,
    Profile,
    Role,
    Status,
    TeamMember,
    TermsVersion,
)
from apps.developers.scopes import in_catalogue_order
from apps.developers.services.locking import lock_application, lock_person
from apps.developers.services.terms import agree_to_terms
from apps.developers.services.versions import create_submission, live_scopes, set_requested_scopes
from apps.organisations.logos import replace_logo
from apps.organisations.models import Organisation

#: By one person, those included that they have deleted since: each is a mail to every reviewer.
MOST_REGISTRATIONS_AN_HOUR = 20
#: Of one trusted application: each is a mail to every reviewer, too.
MOST_REDIRECT_CHANGES_AN_HOUR = 20


def id_of_registration(*, user: User, form_key: uuid.UUID) -> uuid.UUID:
    """Return the id of the application that `user` registers with the form that carries `form_key`.

    The same form has the same id, so it registers once, however often it is sent; nobody else can meet that id.
    """
    return uuid.uuid5(user.pk, str(form_key))


@transaction.atomic
def register_application(
    *,
    actor: User,
    terms: TermsVersion,
    name: str,
    profile: str,
    organisation: Organisation,
    redirect_uris: Sequence[str],
    scopes: Sequence[str],
    reasons: Mapping[str, str],
    description: str,
    website_url: str,
    privacy_policy_url: str,
    terms_url: str = "",
    optional_scopes: Collection[str] = (),
    client_type: str = Application.CLIENT_CONFIDENTIAL,
    logo: File | None = None,
    application_id: uuid.UUID | None = None,
) -> tuple[Application, str | None]:
    """Register an application for `actor`, who becomes its owner and has agreed to `terms`, and send it for review.

    Returns it and its client secret, which is nowhere to be had again (None for a public client). Raises
    ValidationError by field, all of them at once; RefusedError when too many applications of theirs wait already, or
    were registered of late; AlreadyRegisteredError if there is one with `application_id` (see `id_of_registration`).
    """
    scopes, description = in_catalogue_order(scopes), rules.clean_text(description)
    reasons = {scope: rules.clean_text(reason) for scope, reason in reasons.items()}
    rules.check_registration(
        name=name,
        profile=profile,
        redirect_uris=_unique(redirect_uris),
        scopes=scopes,
        reasons=reasons,
        description=description,
        client_type=client_type,
        website_url=website_url,
        privacy_policy_url=privacy_policy_url,
        terms_url=terms_url,
    )
    # One at a time for each person, so that the limit below holds.
    lock_person(actor)
    if application_id is not None and (before := Application.objects.filter(pk=application_id).first()):
        raise AlreadyRegisteredError(before)
    if selectors.unapproved_applications(actor).count() >= rules.MOST_UNAPPROVED_APPLICATIONS:
        raise RefusedError(too_many_unapproved())
    lately = HistoryEntry.objects.filter(
        kind=HistoryKind.REGISTERED, actor=actor, created_at__gt=timezone.now() - timedelta(hours=1)
    )
    if lately.count() >= MOST_REGISTRATIONS_AN_HOUR:
        raise RefusedError(_("You have registered a lot of applications. Wait an hour, then go on."))
    agree_to_terms(user=actor, terms=terms)
    application, secret = create_application(
        name=name,
        profile=profile,
        organisation=organisation,
        redirect_uris=redirect_uris,
        scopes=scopes,
        reasons=reasons,
        optional_scopes=optional_scopes,
        client_type=client_type,
        description=description,
        website_url=website_url,
        privacy_policy_url=privacy_policy_url,
        terms_url=terms_url,
        owner=actor,
        logo=logo,
        application_id=application_id,
    )
    Draft.objects.filter(user=actor, application=None).delete()
    mails.version_submitted(application, submission=application.submissions.get(), actor=actor)
    return application, secret


def too_many_unapproved() -> str:
    """Return what somebody is told who has registered as many applications as may wait."""
    return _("You have %(count)s applications that are not approved yet. Delete one, or wait for the review.") % {
        "count": rules.MOST_UNAPPROVED_APPLICATIONS
    }


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
    application_id: uuid.UUID | None = None,
) -> tuple[Application, str | None]:
    """Create an application; return it and its client secret, which is nowhere to be had again.

    A public client has no secret: None. `reasons` gives by scope why it is asked for, `optional_scopes` those
    that users may untick. Ids and secret are random unless given.

    For administrators, who need neither description nor reasons; what they give follows the same rules as a
    developer's. It waits for the review unless `is_approved`; a service is none of the reviewers' business.

    Raises ValidationError by field for what `rules.check_application` or the model refuses, RefusedError when the
    owner's account is not open.
    """
    redirect_uris, scopes, description = _unique(redirect_uris), _unique(scopes), rules.clean_text(description)
    reasons = {scope: rules.clean_text(reason) for scope, reason in (reasons or {}).items()}
    rules.check_application(
        name=name,
        profile=profile,
        redirect_uris=redirect_uris,
        scopes=scopes,
        client_type=client_type,
        is_trusted=is_trusted,
        description=description,
        reasons=reasons,
        website_url=website_url,
        privacy_policy_url=privacy_policy_url,
        terms_url=terms_url,
    )
    if owner is not None:
        lock_person(owner)
    secret = client_secret or generate_client_secret()
    application = Application(
        id=application_id or uuid.uuid4(),
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
    set_requested_scopes(application=application, scopes=scopes, reasons=reasons, optional_scopes=optional_scopes)
    if owner is not None:
        TeamMember.objects.create(application=application, user=owner, role=Role.OWNER)
    note(application, HistoryKind.REGISTERED, actor=owner)
    if profile != Profile.SERVICE:
        submission = create_submission(
            application=application, actor=owner, description=description, scopes=live_scopes(application)
        )
        if is_approved:
            submission.outcome, submission.decided_at = Outcome.APPROVED, timezone.now()
            submission.save(update_fields=["outcome", "decided_at"])
    return application, None if application.is_public else secret


@transaction.atomic
def change_branding(
    *,
    application: Application,
    actor: User | None,
    name: str,
    website_url: str,
    privacy_policy_url: str,
    terms_url: str,
    brand_colour: str,
) -> list[str]:
    """Change what users see of the application; returns the names of the fields that are different now.

    Raises ValidationError by field.
    """
    row = lock_application(application)
    given = {
        "name": name.strip(),
        "website_url": website_url,
        "privacy_policy_url": privacy_policy_url,
        "terms_url": terms_url,
        "brand_colour": brand_colour.lower(),
    }
    changed = [field for field, value in given.items() if getattr(row, field) != value]
    # What was there before there were rules may stay.
    rules.check_branding(
        **{field: value if field in {"name", *changed} else "" for field, value in given.items()},
        emptied=[field for field in changed if not given[field]],
    )
    for field in changed:
        setattr(row, field, given[field])
        setattr(application, field, given[field])
    if changed:
        row.clean_fields(exclude={field.name for field in row._meta.fields} - set(changed))
        row.save(update_fields=[*changed, "updated"])
        note(row, HistoryKind.BRANDING_CHANGED, actor=actor, fields=changed)
    return changed


@transaction.atomic
def change_logo(*, application: Application, actor: User | None, logo: File | None) -> bool:
    """Give the application the logo of a LogoField, or none; says whether that is a change."""
    row = lock_application(application)
    if logo is None and not row.logo:
        return False
    replace_logo(row=row, logo=logo)
    application.logo = row.logo
    note(row, HistoryKind.BRANDING_CHANGED, actor=actor, fields=["logo"])
    return True


@transaction.atomic
def set_redirect_uris(
    *, application: Application, actor: User | None, redirect_uris: Sequence[str], seen: Sequence[str] | None = None
) -> bool:
    """Let users be sent to exactly `redirect_uris`; says whether that is a change.

    `seen` is what the page showed before: if it is not what is there now, somebody else has been faster, and nothing
    is changed. Raises ValidationError for a redirect URL, RefusedError.
    """
    row = lock_application(application)
    wanted = _unique(redirect_uris)
    if seen is not None and list(seen) != row.redirect_uri_list:
        raise RefusedError(_("Somebody else has changed the redirect URLs meanwhile. Look at them and try again."))
    rules.check_redirect_uris(wanted, row.profile, row.is_public)
    if row.is_trusted and row.is_public:
        rules.check_trusted_public_client(wanted)
    before = row.redirect_uri_list
    if wanted == before:
        return False
    if row.is_trusted:
        _check_redirect_changes(row)
    row.redirect_uris = application.redirect_uris = " ".join(wanted)
    row.save(update_fields=["redirect_uris", "updated"])
    added = [uri for uri in wanted if uri not in before]
    removed = [uri for uri in before if uri not in wanted]
    note(row, HistoryKind.REDIRECT_URIS_CHANGED, actor=actor, added=added, removed=removed)
    if row.is_trusted and (added or removed):
        mails.trusted_redirects_changed(row, added=added, removed=removed, actor=actor)
    return True


@transaction.atomic
def mark_deleted(*, application: Application, actor: User | None) -> None:
    """Delete the application for good: nobody can authorise it, no token of it works, and its team sees it no more.

    The rows stay, because connections and decisions are on record; whoever calls this has the connections ended.
    Raises RefusedError if it has been deleted before.
    """
    row = lock_application(application)
    row.status = application.status = Status.DELETED
    row.save(update_fields=["status", "updated"])
    row.submissions.filter(outcome=Outcome.WAITING).update(outcome=Outcome.WITHDRAWN, decided_at=timezone.now())
    row.invitations.filter(accepted_at__isnull=True).delete()
    note(row, HistoryKind.DELETED, actor=actor)
    mails.application_deleted(row, actor=actor)


def _check_redirect_changes(row: Application) -> None:
    lately = row.history.filter(
        kind=HistoryKind.REDIRECT_URIS_CHANGED, created_at__gt=timezone.now() - timedelta(hours=1)
    )
    if lately.count() >= MOST_REDIRECT_CHANGES_AN_HOUR:
        raise RefusedError(_("The redirect URLs have changed a lot. Wait an hour, then go on."))


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(stripped for value in values if (stripped := value.strip())))
