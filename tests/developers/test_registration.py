"""What registering an application leaves behind (CONTRACT section 9)."""

import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.hashers import check_password
from django.core.exceptions import ValidationError
from django.utils import timezone

from apps.developers import rules
from apps.developers.errors import AlreadyRegisteredError, RefusedError
from apps.developers.models import (
    Application,
    Draft,
    HistoryEntry,
    Outcome,
    Role,
    Status,
    Submission,
    TermsAgreement,
)
from apps.developers.services import drafts, review
from apps.developers.services.applications import MOST_REGISTRATIONS_AN_HOUR, id_of_registration, mark_deleted
from apps.developers.services.terms import current_terms
from tests.conftest import RegisteredApplication, query_of
from tests.developers.conftest import DESCRIPTION, REASONS, kinds, waiting
from tests.protocol.test_races import at_once

pytestmark = pytest.mark.spec("CONTRACT", "9 (registering)")


def test_whoever_registers_is_the_owner_and_has_agreed_to_the_terms(register, owner, organisation):
    application, _secret = register()

    member = application.team.get()
    assert (member.user, member.role) == (owner, Role.OWNER)
    agreement = TermsAgreement.objects.get()
    assert (agreement.user, agreement.terms) == (owner, current_terms(organisation))


def test_application_waits_for_the_review_with_what_was_written(register, owner, organisation):
    application, _secret = register(
        scopes=["receipt:read", "receipt:write"],
        optional_scopes=["receipt:read"],
        description=f"  {DESCRIPTION}\r\n",
        reasons={"receipt:write": "We send\r\nreceipts.", "receipt:read": " We show receipts. "},
    )

    assert application.status == Status.PENDING
    submission = waiting(application)
    assert (submission.number, submission.submitted_by) == (1, owner)
    assert submission.terms == current_terms(organisation)
    assert submission.description == application.description == DESCRIPTION
    assert submission.scopes == [
        {"scope": "receipt:write", "reason": "We send\nreceipts.", "is_optional": False},
        {"scope": "receipt:read", "reason": "We show receipts.", "is_optional": True},
    ]
    assert kinds(application) == ["registered"]


def test_secret_is_told_once_and_kept_as_a_hash(register):
    application, secret = register()

    assert len(secret) == 128
    assert secret not in Application.objects.get().client_secret
    assert check_password(secret, application.client_secret)


def test_public_client_has_no_secret(register):
    _application, secret = register(client_type="public", redirect_uris=["com.example.app:/callback"])

    assert secret is None


def test_nobody_can_authorise_it_before_it_is_approved(register, browser, reviewer):
    application, secret = register()
    registered = RegisteredApplication(application, secret)

    assert browser.ask(registered).status_code == 400

    review.approve_submission(submission=waiting(application), actor=reviewer)
    assert browser.ask(registered).status_code == 200


def test_service_cannot_be_registered(register):
    with pytest.raises(ValidationError) as refusal:
        register(profile="service", redirect_uris=[], scopes=[], reasons={})

    assert "profile" in refusal.value.message_dict
    assert not Application.objects.exists()


def test_all_problems_are_told_at_once_and_nothing_is_kept(register):
    with pytest.raises(ValidationError) as refusal:
        register(name="", redirect_uris=["http://penni.example/"], reasons={}, description="word " * 126)

    assert set(refusal.value.message_dict) == {"name", "redirect_uris", "reason-receipt:write", "description"}
    for model in (Application, Submission, HistoryEntry, TermsAgreement):
        assert not model.objects.exists()


@pytest.mark.parametrize("redirect_uris", [["http://penni.example/"], []])
@pytest.mark.parametrize("profile", ["", "nonsense"])
def test_redirect_urls_are_told_about_before_a_profile_is_chosen(register, profile, redirect_uris):
    with pytest.raises(ValidationError) as refusal:
        register(profile=profile, redirect_uris=redirect_uris)

    assert set(refusal.value.message_dict) == {"profile", "redirect_uris"}


@pytest.mark.parametrize(("count", "is_accepted"), [(126, False), (127, True), (511, True), (512, False)])
def test_description_has_127_to_511_words(register, count, is_accepted):
    if is_accepted:
        register(description="word " * count)
        assert Application.objects.exists()
    else:
        with pytest.raises(ValidationError, match=f"you wrote {count}"):
            register(description="word " * count)


@pytest.mark.parametrize("field", ["name", "description", "website_url", "redirect_uris"])
def test_text_that_is_hostile_is_refused_or_kept_as_it_is(register, field):
    hostile = "<script>alert(1)</script>{{ settings.SECRET_KEY }}'; DROP TABLE users; --"
    values = {"description": f"{hostile} {DESCRIPTION}", "redirect_uris": [hostile]}
    given = values.get(field, hostile)
    if field in ("name", "description"):
        assert getattr(register(**{field: given})[0], field) == given
    else:
        with pytest.raises(ValidationError) as refusal:
            register(**{field: given})
        assert set(refusal.value.message_dict) == {field}


def test_draft_of_a_new_application_is_forgotten_and_no_other(register, owner, member, pending):
    drafts.save_draft(user=owner, application=None, fields={"name": ["Penni"]})
    drafts.save_draft(user=owner, application=pending, fields={"description": ["Next"]})
    drafts.save_draft(user=member, application=None, fields={"name": ["Other"]})
    register(name="Penni Two")

    assert set(Draft.objects.values_list("user", "application")) == {(owner.pk, pending.pk), (member.pk, None)}


def test_same_form_registers_once(register, owner):
    key = id_of_registration(user=owner, form_key=uuid.uuid4())
    application, _secret = register(application_id=key)

    with pytest.raises(AlreadyRegisteredError) as refusal:
        register(application_id=key)
    assert refusal.value.application == application
    assert Application.objects.count() == 1


def test_same_key_of_somebody_else_is_another_application(owner, member):
    key = uuid.uuid4()

    assert id_of_registration(user=owner, form_key=key) != id_of_registration(user=member, form_key=key)
    assert id_of_registration(user=owner, form_key=key) == id_of_registration(user=owner, form_key=key)


@pytest.mark.django_db(transaction=True)
def test_same_form_sent_twice_at_once_registers_once(register, owner):
    key = id_of_registration(user=owner, form_key=uuid.uuid4())

    def send():
        try:
            return register(application_id=key)
        except AlreadyRegisteredError:
            return None

    answers = at_once(send, send)

    assert sorted(answer is None for answer in answers) == [False, True]
    assert Application.objects.count() == 1


def test_person_with_many_unapproved_applications_waits(register, make_user):
    applications = [register(name=f"Penni {n}")[0] for n in range(rules.MOST_UNAPPROVED_APPLICATIONS)]

    with pytest.raises(RefusedError, match="10 applications that are not approved"):
        register()

    register(actor=make_user("other@example.com"))
    mark_deleted(application=applications[0], actor=None)
    register()


def test_approved_applications_do_not_count(register, reviewer):
    for number in range(rules.MOST_UNAPPROVED_APPLICATIONS):
        application, _secret = register(name=f"Penni {number}")
        review.approve_submission(submission=waiting(application), actor=reviewer)

    register()


def test_registering_and_deleting_again_and_again_has_an_end(register, owner, make_user):
    for number in range(MOST_REGISTRATIONS_AN_HOUR):
        mark_deleted(application=register(name=f"Penni {number}")[0], actor=owner)

    with pytest.raises(RefusedError, match="Wait an hour"):
        register()
    register(actor=make_user("other@example.com"))
    HistoryEntry.objects.update(created_at=timezone.now() - timedelta(hours=1, seconds=1))
    register()


@pytest.mark.django_db(transaction=True)
def test_limit_holds_for_registrations_at_the_same_moment(register, owner):
    for number in range(rules.MOST_UNAPPROVED_APPLICATIONS - 1):
        register(name=f"Penni {number}")

    def send():
        try:
            return register()
        except RefusedError:
            return None

    answers = at_once(*[send] * 4)

    assert sum(answer is not None for answer in answers) == 1
    assert Application.objects.count() == rules.MOST_UNAPPROVED_APPLICATIONS


def test_closed_account_registers_nothing(register, owner):
    """The form may still be open in another window."""
    type(owner).objects.filter(pk=owner.pk).update(is_active=False)

    with pytest.raises(RefusedError, match="closed"):
        register()
    assert not Application.objects.exists()


def test_repeated_redirect_urls_and_scopes_are_kept_once(register):
    application, _secret = register(
        redirect_uris=[" https://a.example/cb", "https://b.example/cb", "https://a.example/cb ", ""],
        scopes=["receipt:write", "receipt:write"],
        reasons=REASONS,
    )

    assert application.redirect_uri_list == ["https://a.example/cb", "https://b.example/cb"]
    assert application.scopes == ["receipt:write"]


def test_registered_application_works_once_approved(register, reviewer, browser, exchange):
    application, secret = register()
    review.approve_submission(submission=waiting(application), actor=reviewer)
    registered = RegisteredApplication(application, secret)

    answer = browser.answer(browser.ask(registered))
    assert exchange(registered, query_of(answer)["code"]).status_code == 200
    assert application.submissions.get().outcome == Outcome.APPROVED
