"""An application with people around it: a team, and reviewers of its organisation."""

from collections.abc import Callable
from typing import Any

import pytest

from apps.accounts.models import User
from apps.developers.models import Application, Outcome, Role, Status, Submission, TeamMember
from apps.developers.services import review
from apps.developers.services.applications import register_application
from apps.developers.services.terms import current_terms
from apps.organisations.models import Organisation, Reviewer

DESCRIPTION = "word " * 126 + "end"
REASONS = {"receipt:write": "We send receipts.", "receipt:read": "We show receipts."}


@pytest.fixture
def owner(make_user: Callable[..., User]) -> User:
    return make_user("owner@example.com", first_name="Olive", last_name="Owner")


@pytest.fixture
def reviewer(make_user: Callable[..., User], organisation: Organisation) -> User:
    """A reviewer of the organisation, on no team."""
    user = make_user("rita@example.com", first_name="Rita", last_name="Reviewer")
    Reviewer.objects.create(user=user, organisation=organisation)
    return user


@pytest.fixture
def register(organisation: Organisation, owner: User) -> Callable[..., tuple[Application, str | None]]:
    """Register an application as the portal's form does; keyword arguments change a field."""

    def call(**fields: Any) -> tuple[Application, str | None]:
        registration = {
            "actor": owner,
            "terms": current_terms(organisation),
            "name": "Penni Budget",
            "profile": "connection",
            "organisation": organisation,
            "redirect_uris": ["https://penni.example/callback"],
            "scopes": ["receipt:write"],
            "reasons": REASONS,
            "description": DESCRIPTION,
            "website_url": "https://penni.example/",
            "privacy_policy_url": "https://penni.example/privacy",
        }
        return register_application(**{**registration, **fields})

    return call


@pytest.fixture
def pending(register: Callable[..., tuple[Application, str | None]]) -> Application:
    """An application that waits for its first review."""
    return register()[0]


@pytest.fixture
def live(pending: Application, reviewer: User) -> Application:
    """An approved application: sends receipts, and may not read them."""
    review.approve_submission(submission=waiting(pending), actor=reviewer)
    pending.refresh_from_db()
    assert pending.status == Status.APPROVED
    return pending


@pytest.fixture
def join(make_user: Callable[..., User]) -> Callable[..., TeamMember]:
    """Put a new user on an application's team."""

    def call(application: Application, role: str = Role.DEVELOPER, email: str = "dora@example.com") -> TeamMember:
        user = make_user(email, first_name=email.partition("@")[0].title(), last_name="")
        return TeamMember.objects.create(application=application, user=user, role=role)

    return call


@pytest.fixture
def submit(owner: User) -> Callable[..., review.SubmitResult]:
    """Send a version of an application for review; keyword arguments change a field."""

    def call(application: Application, **fields: Any) -> review.SubmitResult:
        version = {
            "actor": owner,
            "description": DESCRIPTION,
            "scopes": ["receipt:write"],
            "reasons": REASONS,
        }
        return review.submit_version(application=application, **{**version, **fields})

    return call


def waiting(application: Application) -> Submission:
    """The submission that waits for a decision."""
    return application.submissions.get(outcome=Outcome.WAITING)


def kinds(application: Application) -> list[str]:
    """What happened to the application, oldest first."""
    return list(application.history.order_by("pk").values_list("kind", flat=True))
