"""The developer terms of use: versions, and who has agreed to which (CONTRACT section 9)."""

import pytest

from apps.developers.models import Role, Status, TermsAgreement, TermsVersion
from apps.developers.selectors import owners_who_have_not_agreed, terms_to_agree
from apps.developers.services.applications import mark_deleted
from apps.developers.services.terms import agree_to_terms, current_terms, publish_terms
from apps.developers.terms_text import FIRST_TERMS
from tests.protocol.test_races import at_once

pytestmark = pytest.mark.spec("CONTRACT", "9 (terms)")


def test_organisation_that_publishes_none_has_the_text_we_come_with(organisation, other_organisation):
    terms = current_terms(organisation)

    assert (terms.number, terms.text) == (1, FIRST_TERMS)
    assert current_terms(organisation) == terms
    assert current_terms(other_organisation) != terms


def test_next_version_is_in_force_and_the_one_before_stays(organisation, other_organisation):
    first = current_terms(organisation)
    second = publish_terms(organisation=organisation, text="Be kinder.", changes="Kinder.")

    assert (second.number, second.changes) == (2, "Kinder.")
    assert current_terms(organisation) == second
    first.refresh_from_db()
    assert first.text == FIRST_TERMS
    assert current_terms(other_organisation).number == 1


def test_first_agreement_counts(organisation, owner):
    terms = current_terms(organisation)
    agreement = agree_to_terms(user=owner, terms=terms)

    assert agree_to_terms(user=owner, terms=terms) == agreement
    assert TermsAgreement.objects.get().agreed_at == agreement.agreed_at


def test_new_version_is_for_owners_to_agree_to(pending, owner, organisation, join):
    developer = join(pending, Role.DEVELOPER)
    second_owner = join(pending, Role.OWNER, "olga@example.com")
    assert list(terms_to_agree(owner)) == []
    assert list(terms_to_agree(second_owner.user)) == [current_terms(organisation)]

    newer = publish_terms(organisation=organisation, text="Be kinder.")
    assert list(terms_to_agree(owner)) == [newer]
    assert list(terms_to_agree(second_owner.user)) == [newer]
    assert list(terms_to_agree(developer.user)) == []

    agree_to_terms(user=owner, terms=newer)
    assert list(terms_to_agree(owner)) == []


def test_agreement_to_an_older_version_is_not_enough(pending, owner, organisation):
    first = current_terms(organisation)
    newer = publish_terms(organisation=organisation, text="Be kinder.")
    agree_to_terms(user=owner, terms=first)

    assert list(terms_to_agree(owner)) == [newer]


def test_terms_of_another_organisation_are_none_of_their_business(pending, owner, other_organisation):
    publish_terms(organisation=other_organisation, text="Be kinder.")

    assert list(terms_to_agree(owner)) == []


def test_owner_of_nothing_but_deleted_applications_is_not_asked(pending, owner, organisation):
    publish_terms(organisation=organisation, text="Be kinder.")
    mark_deleted(application=pending, actor=owner)

    assert list(terms_to_agree(owner)) == []
    assert list(owners_who_have_not_agreed(organisation)) == []


def test_reviewers_see_which_owners_have_not_agreed(pending, owner, organisation, join, register, other_organisation):
    register(name="Elsewhere", organisation=other_organisation, terms=current_terms(other_organisation))
    join(pending, Role.DEVELOPER)
    other = join(pending, Role.OWNER, "olga@example.com")
    assert list(owners_who_have_not_agreed(organisation)) == [other]

    newer = publish_terms(organisation=organisation, text="Be kinder.")
    assert {place.user for place in owners_who_have_not_agreed(organisation)} == {owner, other.user}

    agree_to_terms(user=other.user, terms=newer)
    [place] = owners_who_have_not_agreed(organisation)
    assert (place.user, place.application) == (owner, pending)
    assert list(owners_who_have_not_agreed(other_organisation)) == []


def test_work_goes_on_without_an_agreement(pending, owner, organisation, submit):
    publish_terms(organisation=organisation, text="Be kinder.")
    submit(pending)

    pending.refresh_from_db()
    assert pending.status == Status.PENDING


@pytest.mark.django_db(transaction=True)
def test_two_publishers_at_the_same_moment_publish_two_versions(organisation):
    def publish(text):
        return lambda: publish_terms(organisation=organisation, text=text)

    versions = at_once(publish("Be kind."), publish("Be kinder."))

    assert sorted(version.number for version in versions) == [2, 3]
    assert {version.text for version in TermsVersion.objects.all()} == {FIRST_TERMS, "Be kind.", "Be kinder."}


@pytest.mark.django_db(transaction=True)
def test_first_visitors_at_the_same_moment_see_the_same_version(organisation):
    versions = at_once(*[lambda: current_terms(organisation)] * 5)

    assert len({version.pk for version in versions}) == 1


@pytest.mark.django_db(transaction=True)
def test_agreeing_twice_at_the_same_moment_is_once(organisation, owner):
    terms = current_terms(organisation)

    agreements = at_once(*[lambda: agree_to_terms(user=owner, terms=terms)] * 5)

    assert len({agreement.pk for agreement in agreements}) == 1
