"""Fills a database with the demo's data. Idempotent: what is there stays, what is missing is made."""

import hmac
import string
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from apps.accounts.models import ProfileValue, User
from apps.accounts.services import create_user
from apps.demo.seeding_data import (
    APPLICATIONS,
    ORGANISATIONS,
    PASSWORD,
    USERS,
    DemoApplication,
    DemoOrganisation,
    DemoUser,
)
from apps.developers.history import note
from apps.developers.models import Application, HistoryKind, Role, TeamMember
from apps.developers.models.review import SubmittedScope
from apps.developers.scopes import in_catalogue_order
from apps.developers.services.applications import create_application
from apps.developers.services.secrets import replace_secret
from apps.developers.services.terms import agree_to_terms, current_terms
from apps.developers.services.versions import create_submission
from apps.organisations.models import Membership, Organisation
from apps.organisations.services import create_organisation
from apps.sealing import derive_secret

_LOGOS = Path(__file__).parent / "logos"
_SECRET_LENGTH = 128
#: Any number, as long as nothing else in this database locks the same.
_LOCK = 2_026_110_1


def demo_client_secret(client_id: str) -> str:
    """Return the client secret of a demo application, derived from the deployment secret.

    Only its hash is stored, and yet the command and the demo partner can tell it each time.
    """
    key = derive_secret("demo-client-secrets")
    blocks = [hmac.digest(key, f"{client_id}/{index}".encode(), "sha512") for index in range(2)]
    number = int.from_bytes(b"".join(blocks), "big")
    alphabet = string.ascii_letters + string.digits
    characters = []
    for _ in range(_SECRET_LENGTH):
        number, digit = divmod(number, len(alphabet))
        characters.append(alphabet[digit])
    return "".join(characters)


@transaction.atomic
def seed() -> dict[str, list[dict[str, Any]]]:
    """Make what is missing of the demo, and describe all of it (CONTRACT section 13)."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    organisations = _seed_organisations()
    _seed_users(organisations)
    applications = _seed_applications(organisations)
    return {
        "organisations": [{"slug": row.slug, "name": row.name, "domain": row.domain} for row in organisations.values()],
        "users": [
            {
                "email": user.email,
                "password": PASSWORD,
                "organisation": user.organisation,
                "reviewer": user.is_reviewer,
            }
            for user in USERS
        ],
        "applications": [_describe(row) for row in applications],
    }


def _describe(application: Application) -> dict[str, Any]:
    return {
        "name": application.name,
        "profile": application.profile,
        "organisation": application.organisation.slug,
        "client_id": application.client_id,
        "client_secret": demo_client_secret(application.client_id),
        "redirect_uris": application.redirect_uri_list,
        "scopes": application.scopes,
        "approved": application.is_approved,
    }


def _seed_organisations() -> dict[str, Organisation]:
    present = {row.slug: row for row in Organisation.objects.filter(slug__in=[o.slug for o in ORGANISATIONS])}
    return {demo.slug: present.get(demo.slug) or _create_organisation(demo) for demo in ORGANISATIONS}


def _create_organisation(demo: DemoOrganisation) -> Organisation:
    organisation = create_organisation(
        slug=demo.slug,
        name=demo.name,
        domain=demo.domain,
        tagline=demo.tagline,
        brand_colour=demo.brand_colour,
        website_url=demo.website_url,
        privacy_policy_url=demo.privacy_policy_url,
        support_email=demo.support_email,
    )
    _store_logo(organisation, f"organisations/{demo.slug}.png")
    return organisation


def _seed_users(organisations: dict[str, Organisation]) -> None:
    emails = [demo.email for demo in USERS]
    present = set(User.objects.filter(email__in=emails).values_list("email", flat=True))
    for demo in USERS:
        if demo.email not in present:
            _create_user(demo, organisations)


def _create_user(demo: DemoUser, organisations: dict[str, Organisation]) -> None:
    user = create_user(
        email=demo.email,
        password=PASSWORD,
        first_name=demo.first_name,
        last_name=demo.last_name,
        phone=demo.phone,
        birth_date=demo.birth_date,
        username=demo.username,
        is_administrator=demo.is_administrator,
        reviewer_at=organisations[demo.organisation] if demo.is_reviewer else None,
    )
    Membership.objects.bulk_create(
        Membership(
            user=user,
            organisation=organisations[membership.organisation],
            scheme_name=membership.scheme_name,
            points=membership.points,
            expiring=membership.expiring,
            current_level=membership.current_level,
            created_at=membership.created_at,
            last_transacted_at=membership.last_transacted_at,
        )
        for membership in demo.memberships
    )
    ProfileValue.objects.bulk_create(
        ProfileValue(user=user, key=key, value=value) for key, value in demo.profile_values.items()
    )


def _seed_applications(organisations: dict[str, Organisation]) -> list[Application]:
    team = TeamMember.objects.filter(application=OuterRef("pk"))
    rows = (
        Application.objects.select_related("organisation")
        .annotate(has_team=Exists(team))
        .filter(client_id__in=[demo.client_id for demo in APPLICATIONS])
    )
    present = {row.client_id: row for row in rows}
    for row in present.values():
        # After a change of the deployment secret the stored hash is of another secret.
        replace_secret(application=row, client_secret=demo_client_secret(row.client_id))
    applications = []
    for demo in APPLICATIONS:
        row = present.get(demo.client_id)
        if row is None:
            row = _create_application(demo, organisations[demo.organisation])
            _tell_story(demo, row)
        elif demo.owner and not row.has_team:
            _seed_team(demo, row)
        applications.append(row)
    return applications


def _create_application(demo: DemoApplication, organisation: Organisation) -> Application:
    owner = User.objects.get(email=demo.owner) if demo.owner else None
    if owner:
        agree_to_terms(user=owner, terms=current_terms(organisation))
    application, _secret = create_application(
        name=demo.name,
        profile=demo.profile,
        organisation=organisation,
        redirect_uris=demo.redirect_uris,
        scopes=list(demo.reasons),
        reasons=demo.reasons,
        optional_scopes=demo.optional_scopes,
        is_trusted=demo.is_trusted,
        is_approved=demo.is_approved,
        description=demo.description,
        website_url=demo.page("/"),
        privacy_policy_url=demo.page("/privacy"),
        terms_url=demo.page("/terms"),
        owner=owner,
        client_id=demo.client_id,
        client_secret=demo_client_secret(demo.client_id),
    )
    _store_logo(application, f"applications/{demo.client_id}.png")
    _seed_team(demo, application)
    return application


def _seed_team(demo: DemoApplication, application: Application) -> None:
    """Put the people of the demo on the team, without the mails that an invitation brings."""
    roles = {demo.owner: Role.OWNER, **dict(demo.team)}
    for user in User.objects.filter(email__in=roles):
        TeamMember.objects.get_or_create(application=application, user=user, defaults={"role": roles[user.email]})


def _tell_story(demo: DemoApplication, application: Application) -> None:
    """Let what happened before today have happened: days ago, and without the mails of that time."""
    now = timezone.now()
    Application.objects.filter(pk=application.pk).update(created=now - demo.age)
    application.submissions.update(submitted_at=now - demo.age)
    application.submissions.exclude(decided_at=None).update(decided_at=now - demo.age)
    application.history.update(created_at=now - demo.age)
    for comment in demo.comments:
        author = User.objects.get(email=comment.author)
        is_on_team = comment.author in {demo.owner, *dict(demo.team)}
        entry = note(application, HistoryKind.COMMENTED, actor=author, is_by_reviewer=not is_on_team, text=comment.text)
        entry.created_at = now - comment.age
        entry.save(update_fields=["created_at"])
    if demo.update:
        submission = create_submission(
            application=application,
            actor=application.user,
            description=demo.update.description,
            scopes=[
                SubmittedScope(
                    scope=scope, reason=demo.update.reasons[scope], is_optional=scope in demo.update.optional_scopes
                )
                for scope in in_catalogue_order(demo.update.reasons)
            ],
        )
        submission.submitted_at = now - demo.update.age
        submission.save(update_fields=["submitted_at"])
        entry = note(
            application, HistoryKind.SUBMITTED, actor=application.user, submission=submission, number=submission.number
        )
        entry.created_at = submission.submitted_at
        entry.save(update_fields=["created_at"])


def _store_logo(row: Organisation | Application, name: str) -> None:
    """Put the logo of that name, if there is one, where LogoView serves it; an older one of the name goes."""
    source = _LOGOS / name
    if source.exists():
        path = f"logos/{name}"
        default_storage.delete(path)
        row.logo.name = default_storage.save(path, ContentFile(source.read_bytes()))
        row.save(update_fields=["logo"])
