"""The versions of an application: the live one, on the application itself, and those that wait for the review."""

import json
from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256

from django.db import transaction

from apps.accounts.models import User
from apps.developers.models import Application, RequestedScope, Submission, TermsAgreement, TermsVersion
from apps.developers.models.review import SubmittedScope
from apps.developers.rules import clean_text
from apps.developers.scopes import in_catalogue_order
from apps.developers.services.terms import current_terms


def mark_of(application: Application) -> str:
    """Return what tells how the application stands for whoever writes its next version: what is live, and whether
    that is in use, and the number of the latest submission. It changes as soon as one of them does.
    """
    facts = [
        application.is_approved,
        _last_number(application),
        clean_text(application.description),
        live_scopes(application),
    ]
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


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


def live_scopes(application: Application) -> list[SubmittedScope]:
    """Return the live scopes with their reasons, in catalogue order, as a submission would have them."""
    rows = {row.scope: row for row in application.requested_scopes.all()}
    return [
        SubmittedScope(
            scope=scope,
            reason=rows[scope].reason if scope in rows else "",
            is_optional=scope in rows and rows[scope].is_optional,
        )
        for scope in in_catalogue_order(application.scopes)
    ]


def create_submission(
    *, application: Application, actor: User | None, description: str, scopes: list[SubmittedScope]
) -> Submission:
    """Store the application's next version, waiting. The application's row is locked, or not seen by others yet."""
    terms = _agreed_terms(application, actor)
    return Submission.objects.create(
        application=application,
        number=_last_number(application) + 1,
        description=description.strip(),
        scopes=scopes,
        submitted_by=actor,
        terms=terms,
    )


def apply_version(row: Application, *, description: str, scopes: list[SubmittedScope]) -> None:
    """Write a version to the application itself."""
    names = [entry["scope"] for entry in scopes]
    row.description, row.scopes = description.strip(), names
    row.save(update_fields=["description", "scopes", "updated"])
    set_requested_scopes(
        application=row,
        scopes=names,
        reasons={entry["scope"]: entry["reason"] for entry in scopes},
        optional_scopes=[entry["scope"] for entry in scopes if entry["is_optional"]],
    )


def _last_number(application: Application) -> int:
    return application.submissions.order_by("-number").values_list("number", flat=True).first() or 0


def _agreed_terms(application: Application, actor: User | None) -> TermsVersion | None:
    if actor is None:
        return None
    terms = current_terms(application.organisation)
    return terms if TermsAgreement.objects.filter(terms=terms, user=actor).exists() else None
