"""The team on the dashboard: roles, invitations, transfer, leaving."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.test import Client
from django.utils import timezone

from apps.developers.models import Invitation, Role, TeamMember
from apps.developers.services import team
from tests.console.conftest import client_of
from tests.console.test_dashboard_pages import EVIL, address, text_of


@pytest.fixture
def team_client(owner):
    client = Client()
    client.force_login(owner)
    return client


@pytest.fixture
def invite(team_client):
    def call(application, email="nora@example.com", role="developer", client=team_client):
        return client.post(address(application, "team/invite"), {"email": email, "role": role}, follow=True)

    return call


def main_of(response):
    """The page without what differs each time: the tokens of the header's forms."""
    _before, main, after = text_of(response).partition("<main")
    return main + after.partition("</main>")[0]


def role_of(application, user):
    return application.team.get(user=user).role


def test_an_invited_person_joins_with_the_role_they_were_invited_to(invite, live, make_user, mails):
    mails()
    assert "on its way to nora@example.com" in text_of(invite(live, "Nora@Example.com", "viewer"))
    [message] = mails()
    assert message.to == ["nora@example.com"]
    invitation = live.invitations.get()
    assert f"/developer/invitations/{invitation.pk}/" in message.body

    nora = make_user("nora@example.com", first_name="Nora", last_name="")
    client = client_of(nora)
    page = client.get(f"/developer/invitations/{invitation.pk}/")
    assert "Olive Owner invites you to work on Penni Budget" in text_of(page)
    assert "Viewer" in text_of(page)
    response = client.post(f"/developer/invitations/{invitation.pk}/", follow=True)

    assert response.redirect_chain == [(address(live), 302)]
    assert role_of(live, nora) == Role.VIEWER


def test_an_invitation_is_for_the_person_it_was_sent_to_only(invite, live, browser):
    invite(live)
    path = f"/developer/invitations/{live.invitations.get().pk}/"

    assert browser.client.get(path).status_code == 404
    assert browser.client.post(path).status_code == 404
    assert Client().get(path)["Location"] == f"/account/login/?next={path}"


def test_whoever_an_invitation_is_not_for_learns_only_what_they_can_do(invite, live, browser):
    """One that is somebody else's, one that has run out and one that never was are told apart by nobody."""
    invite(live)
    invitation = live.invitations.get()
    missing = f"/developer/invitations/{uuid4()}/"
    path = f"/developer/invitations/{invitation.pk}/"

    said = main_of(browser.client.get(path))
    assert "log in with the address that the mail was sent to" in said
    assert "Penni Budget" not in said
    assert main_of(browser.client.get(missing)) == said
    invitation.accepted_at = timezone.now()
    invitation.save()
    assert main_of(browser.client.get(path)) == said
    assert main_of(browser.client.post(path)) == main_of(browser.client.post(missing))


def test_an_accepted_invitation_leads_its_member_to_the_application(invite, live, make_user, team_client):
    """Their mail still has the link, and a button can be pressed twice."""
    invite(live, "nora@example.com", "viewer")
    path = f"/developer/invitations/{live.invitations.get().pk}/"
    nora = make_user("nora@example.com")
    client = client_of(nora)
    assert client.post(path)["Location"] == address(live)

    assert client.get(path)["Location"] == address(live)
    assert client.post(path)["Location"] == address(live)
    assert live.team.filter(user=nora).count() == 1
    live.team.get(user=nora).delete()
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    ("email", "role", "message"),
    [
        ("nonsense", "viewer", "Enter a valid email address."),
        ("", "viewer", "This field is required."),
        (f"{EVIL}@example.com", "viewer", "Enter a valid email address."),
        ("x" * 255 + "@example.com", "viewer", "at most 254"),
        ("owner@example.com", "viewer", "is on the team already"),
        ("nora@example.com", "king", "Select a valid choice"),
    ],
)
def test_an_invitation_that_cannot_be_sent_is_refused_beside_the_field(invite, live, email, role, message):
    response = invite(live, email, role)

    assert response.status_code == 400
    assert message in text_of(response)
    assert "<script>alert" not in response.content.decode()
    assert not live.invitations.exists()


def test_the_21st_invitation_of_an_hour_waits(invite, live, mails):
    for number in range(team.MOST_INVITATIONS_AN_HOUR):
        assert invite(live, f"n{number}@example.com").redirect_chain
    mails()

    response = invite(live, "one-more@example.com")

    assert response.status_code == 409
    assert "Wait an hour" in text_of(response)
    assert "one-more@example.com" in response.content.decode()
    assert mails() == []


def test_an_invitation_can_be_sent_again_and_cancelled(invite, live, team_client, mails):
    invite(live)
    live.invitations.update(expires_at=timezone.now() - timedelta(days=1))
    assert "Has run out" in text_of(team_client.get(address(live, "team/")))
    invite(live)
    invitation = live.invitations.get()
    assert invitation.expires_at > timezone.now()
    assert sum(message.to == ["nora@example.com"] for message in mails()) == 2

    cancel = address(live, f"team/invitations/{invitation.pk}/cancel")
    assert "is cancelled" in text_of(team_client.post(cancel, follow=True))
    assert not live.invitations.exists()
    assert team_client.post(cancel).status_code == 409


def test_another_application_s_invitation_cannot_be_cancelled(invite, live, register, team_client):
    other = register(name="Other")[0]
    invite(other)

    team_client.post(address(live, f"team/invitations/{other.invitations.get().pk}/cancel"))

    assert other.invitations.exists()


def test_an_owner_changes_roles(team_client, live, join):
    member = join(live)

    response = team_client.post(address(live, f"team/{member.pk}/role"), {"role": "viewer"}, follow=True)

    assert "Dora is now viewer" in text_of(response)
    assert role_of(live, member.user) == Role.VIEWER
    assert team_client.post(address(live, f"team/{member.pk}/role"), {"role": "king"}).status_code == 400


def test_the_last_owner_stays(team_client, live, owner, join):
    join(live)
    own = live.team.get(user=owner)

    for page, data in [("role", {"role": "viewer"}), ("remove", {})]:
        response = team_client.post(address(live, f"team/{own.pk}/{page}"), data)
        assert response.status_code == 409
        assert "The last owner cannot go" in text_of(response)
    assert role_of(live, owner) == Role.OWNER


def test_removing_somebody_asks_once_more(team_client, live, join, mails):
    member = join(live)
    mails()
    page = team_client.get(address(live, f"team/{member.pk}/remove"))
    assert "Remove Dora from the team?" in text_of(page)
    assert live.team.filter(pk=member.pk).exists()

    team_client.post(address(live, f"team/{member.pk}/remove"))

    assert not live.team.filter(pk=member.pk).exists()
    assert [message.to for message in mails()] == [["dora@example.com"]]
    assert client_of(member.user).get(address(live)).status_code == 404


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.VIEWER])
def test_members_leave_by_themselves_and_manage_nobody_else(live, owner, join, role):
    member, other = join(live, role=role), join(live, email="olaf@example.com")
    client = client_of(member.user)

    for path in [f"{other.pk}/remove", f"{other.pk}/role", "invite", "transfer"]:
        data = {"role": "owner", "email": "x@example.com", "to": other.pk, "is_sure": "on"}
        assert client.post(address(live, f"team/{path}"), data).status_code == 403
    assert client.get(address(live, f"team/{other.pk}/remove")).status_code == 403
    assert "Leave the team of Penni Budget?" in text_of(client.get(address(live, f"team/{member.pk}/remove")))
    assert "You have left the team" in text_of(client.post(address(live, f"team/{member.pk}/remove"), follow=True))
    assert not live.team.filter(pk=member.pk).exists()
    assert live.team.filter(user__in=[owner, other.user]).count() == 2


def test_a_member_of_another_team_is_not_found(team_client, live, register, join):
    stranger = join(register(name="Other")[0])

    assert team_client.get(address(live, f"team/{stranger.pk}/remove")).status_code == 404
    assert team_client.post(address(live, f"team/{stranger.pk}/remove")).status_code == 404
    assert team_client.post(address(live, f"team/{stranger.pk}/role"), {"role": "viewer"}).status_code == 404
    assert team_client.post(address(live, "team/transfer"), {"to": stranger.pk, "is_sure": "on"}).status_code == 400
    assert team_client.get(address(live, f"team/{10**20}/remove")).status_code == 404


def test_ownership_goes_to_another_member_who_is_told(team_client, live, owner, join, mails):
    heir = join(live)
    mails()
    assert team_client.post(address(live, "team/transfer"), {"to": heir.pk}).status_code == 400
    assert role_of(live, owner) == Role.OWNER

    response = team_client.post(address(live, "team/transfer"), {"to": heir.pk, "is_sure": "on"}, follow=True)

    assert "Dora is an owner now" in text_of(response)
    assert role_of(live, heir.user) == Role.OWNER
    assert role_of(live, owner) == Role.DEVELOPER
    assert ["dora@example.com"] in [message.to for message in mails()]
    assert team_client.post(address(live, "team/transfer"), {"to": heir.pk, "is_sure": "on"}).status_code == 403


def test_names_of_members_are_harmless(team_client, live, join, make_user):
    user = make_user("evil@example.com", first_name=EVIL[:100], last_name="")
    TeamMember.objects.create(application=live, user=user, role=Role.VIEWER)
    Invitation.objects.create(
        application=live,
        email="x@example.com",
        role="viewer",
        invited_by=user,
        expires_at=timezone.now() + timedelta(days=1),
    )

    page = team_client.get(address(live, "team/")).content.decode()

    assert "<script>alert" not in page
    assert "<img src=x" not in page
