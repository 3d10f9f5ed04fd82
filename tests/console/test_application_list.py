"""The first page of the portal, and how people find it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.developers.models import Application, Invitation, Role, Status
from apps.developers.services.terms import current_terms
from tests.console.conftest import client_of

LIST = "/developer/"


def page_of(user) -> str:
    response = client_of(user).get(LIST)
    assert response.status_code == 200
    return response.content.decode()


@pytest.fixture
def invite(owner):
    def call(application: Application, email: str, **fields) -> Invitation:
        defaults = {"role": Role.VIEWER, "invited_by": owner, "expires_at": timezone.now() + timedelta(days=7)}
        return Invitation.objects.create(application=application, email=email, **{**defaults, **fields})

    return call


def test_who_has_none_is_told_what_the_portal_is_for(member, organisation):
    page = page_of(member)

    assert "Let people connect your application to Kuittila" in page
    assert "a description of 127 to 511 words" in page
    assert 'href="/developer/add"' in page
    assert 'href="/developer/terms/"' in page


def test_list_shows_name_role_status_and_another_sites_organisation(owner, live, register, other_organisation):
    live.name = "<b>Penni</b>"
    live.save()
    register(name="Aldermoor Timetable", organisation=other_organisation, terms=current_terms(other_organisation))

    page = page_of(owner)

    assert "&lt;b&gt;Penni&lt;/b&gt;" in page
    assert f'href="/developer/apps/{live.pk}/"' in page
    assert "Approved" in page
    assert "Pending" in page
    assert "you are owner" in page
    assert page.count("Aldermoor ·") == 1
    assert "Kuittila ·" not in page


def test_nobody_sees_the_applications_of_others_or_deleted_ones(member, owner, live):
    assert "Penni Budget" not in page_of(member)
    live.status = Status.DELETED
    live.save()
    assert "Penni Budget" not in page_of(owner)


def test_open_invitations_to_verified_addresses_are_shown(member, live, invite):
    invitation = invite(live, member.email)

    assert f'href="/developer/invitations/{invitation.pk}/"' in page_of(member)


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "else@example.com"},
        {"expires_at": timezone.now() - timedelta(minutes=1)},
        {"accepted_at": timezone.now()},
    ],
)
def test_other_invitations_are_not(member, live, invite, fields):
    invite(live, **{"email": member.email, **fields})

    assert "/developer/invitations/" not in page_of(member)


def test_invitation_to_an_address_that_is_not_proved_is_not_shown(member, live, invite):
    member.emailaddress_set.update(verified=False)
    invite(live, member.email)

    assert "/developer/invitations/" not in page_of(member)


def test_list_takes_the_same_queries_for_one_application_and_for_many(owner, register, django_assert_max_num_queries):
    for number in range(8):
        register(name=f"Number {number}")
    client = client_of(owner)
    client.get(LIST)

    with django_assert_max_num_queries(10):
        client.get(LIST)


def test_portal_is_linked_for_everybody_and_the_review_desk_for_reviewers(client, member, reviewer, organisation):
    assert 'href="/developer/"' in client.get("/").content.decode()
    assert 'href="/review/"' not in client.get("/").content.decode()
    assert 'href="/review/"' not in client_of(member).get("/").content.decode()
    assert 'href="/review/"' in client_of(reviewer).get("/").content.decode()
