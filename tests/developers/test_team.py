"""Who works on an application: roles, invitations, and that a team always has an owner (CONTRACT section 9)."""

from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.utils import timezone

from apps.developers.errors import LastOwnerError, RefusedError
from apps.developers.models import Invitation, Role, TeamMember
from apps.developers.services import review, team
from apps.developers.services.applications import mark_deleted
from tests.developers.conftest import kinds, waiting
from tests.protocol.test_races import at_once

pytestmark = pytest.mark.spec("CONTRACT", "9 (team)")


@pytest.fixture
def place(pending, owner):
    """The owner's place on the team."""
    return pending.team.get(user=owner)


@pytest.fixture
def invite(pending, owner):
    def call(email="ivan@example.com", role=Role.DEVELOPER, **fields):
        return team.invite_member(**{"application": pending, "actor": owner, "email": email, "role": role, **fields})

    return call


def owners(application):
    return {member.user for member in application.team.filter(role=Role.OWNER).select_related("user")}


# --- roles ------------------------------------------------------------------------------------------


def test_role_is_changed_and_noted(pending, owner, join):
    member = join(pending, Role.VIEWER)

    assert team.change_role(member=member, actor=owner, role=Role.DEVELOPER)
    assert not team.change_role(member=member, actor=owner, role=Role.DEVELOPER)

    member.refresh_from_db()
    assert member.role == Role.DEVELOPER
    entry = pending.history.latest("pk")
    assert (entry.kind, entry.details["old_role"], entry.details["role"]) == ("role_changed", "viewer", "developer")


def test_role_that_there_is_not_is_refused(pending, owner, join):
    member = join(pending, Role.VIEWER)
    with pytest.raises(ValidationError):
        team.change_role(member=member, actor=owner, role="emperor")

    member.refresh_from_db()
    assert member.role == Role.VIEWER


@pytest.mark.parametrize("role", [Role.DEVELOPER, Role.VIEWER])
def test_last_owner_stays_an_owner(pending, owner, place, join, role):
    join(pending, Role.DEVELOPER)

    with pytest.raises(LastOwnerError):
        team.change_role(member=place, actor=owner, role=role)
    with pytest.raises(LastOwnerError):
        team.remove_member(member=place, actor=owner)
    assert owners(pending) == {owner}


def test_owner_may_go_when_there_is_another(pending, owner, place, join):
    other = join(pending, Role.OWNER)
    team.remove_member(member=place, actor=owner)

    assert owners(pending) == {other.user}
    with pytest.raises(LastOwnerError):
        team.remove_member(member=other, actor=other.user)


def test_somebody_who_is_gone_already_is_not_removed_or_promoted(pending, owner, join):
    member = join(pending)
    team.remove_member(member=TeamMember.objects.get(pk=member.pk), actor=owner)

    with pytest.raises(RefusedError, match="no longer on the team"):
        team.remove_member(member=member, actor=owner)
    with pytest.raises(RefusedError, match="no longer on the team"):
        team.change_role(member=member, actor=owner, role=Role.OWNER)
    assert kinds(pending).count("member_left") == 1


def attempt(call):
    def run():
        try:
            call()
        except RefusedError as refusal:
            return refusal
        return None

    return run


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("way", ["leave", "remove each other", "step down", "leave and step down"])
def test_of_two_owners_who_go_at_the_same_moment_one_stays(pending, owner, place, join, way):
    other = join(pending, Role.OWNER)
    first, second = {
        "leave": (
            lambda: team.remove_member(member=place, actor=owner),
            lambda: team.remove_member(member=other, actor=other.user),
        ),
        "remove each other": (
            lambda: team.remove_member(member=other, actor=owner),
            lambda: team.remove_member(member=place, actor=other.user),
        ),
        "step down": (
            lambda: team.change_role(member=place, actor=owner, role=Role.VIEWER),
            lambda: team.change_role(member=other, actor=other.user, role=Role.VIEWER),
        ),
        "leave and step down": (
            lambda: team.remove_member(member=place, actor=owner),
            lambda: team.change_role(member=other, actor=other.user, role=Role.DEVELOPER),
        ),
    }[way]

    answers = at_once(attempt(first), attempt(second))

    assert len(owners(pending)) == 1
    [refusal] = [answer for answer in answers if answer is not None]
    assert isinstance(refusal, LastOwnerError)


# --- transfer ---------------------------------------------------------------------------------------


def test_ownership_goes_to_a_member_and_the_owner_stays_as_a_developer(pending, owner, place, join):
    member = join(pending, Role.VIEWER)
    team.transfer_ownership(application=pending, actor=owner, to=member)

    place.refresh_from_db()
    assert owners(pending) == {member.user}
    assert place.role == Role.DEVELOPER
    assert kinds(pending)[-1] == "ownership_transferred"


def test_only_an_owner_hands_over_and_only_to_another_member(pending, register, owner, place, join):
    developer = join(pending, Role.DEVELOPER)
    elsewhere = join(register(name="Other")[0], Role.DEVELOPER, "eve@example.com")

    for actor, to in [(developer.user, developer), (owner, place), (owner, elsewhere), (elsewhere.user, developer)]:
        with pytest.raises(RefusedError, match="from an owner to another member"):
            team.transfer_ownership(application=pending, actor=actor, to=to)
    assert owners(pending) == {owner}


@pytest.mark.django_db(transaction=True)
def test_two_transfers_at_the_same_moment_leave_one_heir(pending, owner, join):
    first, second = join(pending, Role.VIEWER), join(pending, Role.VIEWER, "vera@example.com")
    calls = [
        attempt(lambda to=to: team.transfer_ownership(application=pending, actor=owner, to=to))
        for to in (first, second)
    ]

    answers = at_once(*calls)

    assert sum(answer is None for answer in answers) == 1
    assert len(owners(pending)) == 1
    assert owners(pending) <= {first.user, second.user}


# --- invitations ------------------------------------------------------------------------------------


def test_invited_person_joins_with_the_role(pending, invite, make_user):
    user = make_user("ivan@example.com")
    member = team.accept_invitation(invitation=invite("Ivan@Example.com ", Role.VIEWER), user=user)

    assert (member.user, member.role, member.application) == (user, Role.VIEWER, pending)
    assert Invitation.objects.get().accepted_at is not None
    assert kinds(pending)[-2:] == ["member_invited", "member_joined"]


def test_invitation_is_open_for_two_weeks(invite):
    invitation = invite()

    assert invitation.expires_at - timezone.now() == pytest.approx(timedelta(days=14), abs=timedelta(minutes=1))


def test_second_invitation_renews_the_first(invite, owner, join, pending):
    other = join(pending, Role.OWNER)
    first = invite()
    Invitation.objects.update(expires_at=timezone.now() - timedelta(days=1))
    second = invite(role=Role.VIEWER, actor=other.user)

    assert first.pk == second.pk
    row = Invitation.objects.get()
    assert (row.role, row.invited_by) == (Role.VIEWER, other.user)
    assert row.expires_at > timezone.now()


def test_invitation_after_an_accepted_one_is_a_new_one(invite, owner, make_user):
    first = invite()
    member = team.accept_invitation(invitation=first, user=make_user("ivan@example.com"))
    team.remove_member(member=member, actor=owner)

    assert invite().pk != first.pk


@pytest.mark.parametrize("email", ["", "ivan", "ivan@", "a@b.example\nBcc: c@d.example", "i" * 250 + "@example.com"])
def test_address_that_is_none_is_refused(invite, email):
    with pytest.raises(ValidationError):
        invite(email)

    assert not Invitation.objects.exists()


def test_role_of_an_invitation_has_to_be_one(invite):
    with pytest.raises(ValidationError, match="Choose a role"):
        invite(role="emperor")


def test_somebody_on_the_team_is_not_invited(invite, owner):
    with pytest.raises(ValidationError, match="on the team already"):
        invite(owner.email.upper())


def test_accepting_twice_is_refused_the_second_time(invite, make_user, owner):
    invitation, user = invite(), make_user("ivan@example.com")
    member = team.accept_invitation(invitation=invitation, user=user)
    with pytest.raises(RefusedError, match="no longer open"):
        team.accept_invitation(invitation=invitation, user=user)

    team.remove_member(member=member, actor=owner)
    with pytest.raises(RefusedError, match="no longer open"):
        team.accept_invitation(invitation=invitation, user=user)
    assert not TeamMember.objects.filter(user=user).exists()


@pytest.mark.django_db(transaction=True)
def test_accepting_twice_at_the_same_moment_is_once(pending, invite, make_user):
    invitation, user = invite(), make_user("ivan@example.com")
    accept = attempt(lambda: team.accept_invitation(invitation=invitation, user=user))

    answers = at_once(accept, accept, accept)

    assert sum(answer is None for answer in answers) == 1
    assert kinds(pending).count("member_joined") == 1


@pytest.mark.django_db(transaction=True)
def test_cancelling_and_accepting_at_the_same_moment_do_not_both_happen(pending, invite, owner, make_user):
    invitation, user = invite(), make_user("ivan@example.com")
    cancelled = []

    answers = at_once(
        attempt(lambda: cancelled.append(team.cancel_invitation(invitation=invitation, actor=owner))),
        attempt(lambda: team.accept_invitation(invitation=invitation, user=user)),
    )

    has_joined = pending.team.filter(user=user).exists()
    assert has_joined == (answers[1] is None) == (cancelled == [False])


def test_invitation_that_ran_out_is_refused(invite, make_user):
    invitation = invite()
    Invitation.objects.update(expires_at=timezone.now())

    with pytest.raises(RefusedError, match="no longer open"):
        team.accept_invitation(invitation=invitation, user=make_user("ivan@example.com"))


def test_invitation_of_another_address_is_refused(invite, make_user):
    with pytest.raises(RefusedError, match="another e-mail address"):
        team.accept_invitation(invitation=invite(), user=make_user("eve@example.com"))


def test_address_that_is_not_proved_is_not_enough(invite, make_user):
    user = make_user("eve@example.com")
    EmailAddress.objects.create(user=user, email="ivan@example.com", verified=False)

    with pytest.raises(RefusedError, match="another e-mail address"):
        team.accept_invitation(invitation=invite(), user=user)


def test_second_address_that_is_proved_is_enough(invite, make_user):
    user = make_user("other@example.com")
    EmailAddress.objects.create(user=user, email="ivan@example.com", verified=True)

    assert team.accept_invitation(invitation=invite(), user=user).user == user


def test_invitation_does_not_change_the_role_of_a_member(pending, invite, owner, make_user):
    invitation = invite(role=Role.VIEWER)
    user = make_user("ivan@example.com")
    TeamMember.objects.create(application=pending, user=user, role=Role.OWNER)

    assert team.accept_invitation(invitation=invitation, user=user).role == Role.OWNER


def test_cancelled_invitation_is_gone(pending, invite, owner, make_user):
    invitation = invite()
    assert team.cancel_invitation(invitation=invitation, actor=owner)
    assert not team.cancel_invitation(invitation=invitation, actor=owner)

    with pytest.raises(RefusedError, match="no longer open"):
        team.accept_invitation(invitation=invitation, user=make_user("ivan@example.com"))
    assert kinds(pending).count("invitation_cancelled") == 1


def test_accepted_invitation_cannot_be_cancelled(invite, owner, make_user):
    invitation = invite()
    team.accept_invitation(invitation=invitation, user=make_user("ivan@example.com"))

    assert not team.cancel_invitation(invitation=invitation, actor=owner)
    assert Invitation.objects.exists()


def test_deleted_application_has_no_team_to_join(pending, invite, owner, make_user):
    invitation = invite()
    mark_deleted(application=pending, actor=owner)

    with pytest.raises(RefusedError, match="deleted"):
        team.accept_invitation(invitation=invitation, user=make_user("ivan@example.com"))
    with pytest.raises(RefusedError, match="deleted"):
        invite("other@example.com")


# --- limits -----------------------------------------------------------------------------------------


def test_of_two_thousand_invitations_an_hour_twenty_are_sent(live, invite, mails):
    mails()
    refusals = set()
    for number in range(2000):
        try:
            invite(f"guest{number}@example.com")
        except RefusedError as refusal:
            refusals.add(str(refusal.message))

    assert len(mails()) == Invitation.objects.count() == 20
    assert refusals == {"That is a lot of invitations. Wait an hour, then go on."}


def test_the_same_address_again_and_again_is_a_lot_too(live, invite, mails):
    mails()
    for _ in range(20):
        invite()

    with pytest.raises(RefusedError, match="a lot of invitations"):
        invite()
    assert len(mails()) == 20


def test_cancelling_makes_no_room_for_more(live, invite, owner):
    for number in range(20):
        team.cancel_invitation(invitation=invite(f"guest{number}@example.com"), actor=owner)

    with pytest.raises(RefusedError, match="a lot of invitations"):
        invite()


def test_an_hour_later_it_goes_on(live, invite):
    for number in range(20):
        invite(f"guest{number}@example.com")
    live.history.update(created_at=timezone.now() - timedelta(hours=1))

    invite()


def test_before_the_first_approval_five_are_sent(pending, invite, register, reviewer, mails):
    mails()
    for number in range(5):
        invite(f"guest{number}@example.com")

    with pytest.raises(RefusedError, match="a lot of invitations"):
        invite()
    assert len(mails()) == 5
    other, third = register(name="Penni Two")[0], register(name="Penni Three")[0]
    for number in range(5):
        invite(f"guest{number}@example.com", application=other)
    with pytest.raises(RefusedError, match="a lot of invitations"):
        invite(application=third)

    review.approve_submission(submission=waiting(pending), actor=reviewer)
    invite()


def test_one_person_with_many_applications_is_limited_too(register, reviewer, invite):
    applications = [register(name=f"Penni {number}")[0] for number in range(3)]
    for application in applications:
        review.approve_submission(submission=waiting(application), actor=reviewer)
    for number in range(40):
        invite(f"guest{number}@example.com", application=applications[number % 2])

    with pytest.raises(RefusedError, match="a lot of invitations"):
        invite(application=applications[2])


@pytest.mark.django_db(transaction=True)
def test_limit_holds_for_invitations_at_the_same_moment(live, invite):
    for number in range(18):
        invite(f"guest{number}@example.com")

    answers = at_once(*[attempt(lambda n=n: invite(f"more{n}@example.com")) for n in range(6)])

    assert sum(answer is None for answer in answers) == 2
    assert Invitation.objects.count() == 20


def test_team_has_an_end(pending, invite, make_user, monkeypatch):
    monkeypatch.setattr(team, "LARGEST_TEAM", 3)
    team.accept_invitation(invitation=invite(), user=make_user("ivan@example.com"))
    invite("third@example.com")

    with pytest.raises(RefusedError, match="as large as it can be"):
        invite("fourth@example.com")
