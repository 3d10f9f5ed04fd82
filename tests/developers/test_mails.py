"""Who gets which mail about an application, and that each can be read by itself."""

import html
import re
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from apps.developers import mails as developer_mails
from apps.developers.errors import RefusedError
from apps.developers.models import HistoryEntry, Invitation, Role
from apps.developers.services import applications, review, secrets, team
from apps.organisations.models import Reviewer
from tests.developers.conftest import waiting

HOSTILE = 'Penni <script>alert(1)</script> & "Co" {{ settings }}'


@pytest.fixture
def sent(mails):
    """Return what has been sent since the last call: addresses by the mail's subject."""

    def call():
        found = {}
        for message in mails():
            found.setdefault(message.subject, set()).update(message.to)
        return found

    return call


@pytest.fixture
def people(live, join, reviewer, mails):
    """A developer and a viewer on the team; nothing is left in the queue."""
    found = join(live, Role.DEVELOPER, "dora@example.com"), join(live, Role.VIEWER, "vera@example.com")
    mails()
    return found


OWNER, DORA, VERA, RITA = "owner@example.com", "dora@example.com", "vera@example.com", "rita@example.com"


def test_registration_is_told_to_the_reviewers_and_not_to_the_one_who_did_it(register, reviewer, sent):
    register()

    assert sent() == {"Penni Budget waits for a review": {RITA}}


def test_version_is_told_to_reviewers_and_the_rest_of_the_team(live, people, submit, sent):
    submit(live, scopes=["receipt:write", "receipt:read"])

    assert sent() == {
        "Penni Budget waits for a review": {RITA},
        "Penni Budget: version 2 was sent for review": {DORA, VERA},
    }


@pytest.mark.parametrize(
    ("decide", "subject"),
    [
        (review.approve_submission, "Penni Budget is approved"),
        (review.request_changes, "Penni Budget: changes requested"),
        (review.reject_submission, "Penni Budget was not approved"),
    ],
)
def test_decision_is_told_to_the_whole_team_in_the_reviewers_words(
    live, people, submit, reviewer, mails, decide, subject
):
    submit(live, scopes=["receipt:write", "receipt:read"])
    mails()
    decide(submission=waiting(live), actor=reviewer, reason="Please say\nwhy you <b>read</b> receipts & more.")

    messages = mails()
    assert {message.subject for message in messages} == {subject}
    assert {message.to[0] for message in messages} == {OWNER, DORA, VERA}
    assert "> Please say\n> why you <b>read</b> receipts & more." in messages[0].body
    assert "why you &lt;b&gt;read&lt;/b&gt; receipts &amp; more." in messages[0].alternatives[0].content
    assert "Rita" not in messages[0].body


def test_comment_of_the_team_goes_to_both_sides(live, people, owner, sent):
    review.add_comment(application=live, actor=owner, text="Is it clear now?", is_by_reviewer=False)

    assert sent() == {"Penni Budget: a new comment": {DORA, VERA, RITA}}


def test_comment_of_a_reviewer_goes_to_the_team(live, people, organisation, make_user, reviewer, sent):
    Reviewer.objects.create(user=make_user("rob@example.com"), organisation=organisation)
    review.add_comment(application=live, actor=reviewer, text="It is.", is_by_reviewer=True)

    assert sent() == {"Penni Budget: a new comment": {OWNER, DORA, VERA}}


def test_reviewer_on_the_team_is_written_to_as_the_team(live, people, organisation, submit, mails):
    Reviewer.objects.create(user=people[0].user, organisation=organisation)
    submit(live, scopes=["receipt:write", "receipt:read"])

    [message] = [message for message in mails() if message.to == [DORA]]
    assert message.subject == "Penni Budget: version 2 was sent for review"
    assert f"/developer/apps/{live.pk}/" in message.body


def test_reviewers_of_other_organisations_get_nothing(pending, other_organisation, make_user, owner, sent):
    Reviewer.objects.create(user=make_user("oscar@example.com"), organisation=other_organisation)
    review.add_comment(application=pending, actor=owner, text="Hello?", is_by_reviewer=False)

    assert sent() == {}


def test_suspended_users_get_nothing(live, people, owner, reviewer, submit, mails, make_user, sent):
    for user in (people[0].user, reviewer):
        user.is_active = False
        user.save()
    gone = make_user("gone@example.com", is_active=False)
    submit(live, scopes=["receipt:write", "receipt:read"])
    review.add_comment(application=live, actor=owner, text="Is it clear now?", is_by_reviewer=False)
    secrets.create_secret(application=live, actor=owner)
    team.invite_member(application=live, actor=owner, email=gone.email, role=Role.VIEWER)
    team.remove_member(member=people[0], actor=owner)

    assert set().union(*sent().values()) == {OWNER, VERA}


def test_suspension_and_its_end_are_told_with_the_reason(live, people, reviewer, mails):
    review.suspend_application(application=live, actor=reviewer, reason="Sends too much.")
    review.reinstate_application(application=live, actor=reviewer)

    messages = mails()
    assert [message.subject for message in messages] == 3 * ["Penni Budget is suspended"] + 3 * [
        "Penni Budget works again"
    ]
    assert "> Sends too much." in messages[0].body
    assert ">" not in messages[-1].body


def test_new_secret_is_told_to_whoever_made_it_too(live, people, owner, mails):
    secret = secrets.create_secret(application=live, actor=owner, overlap=timedelta(hours=24))

    messages = mails()
    assert {message.to[0] for message in messages} == {OWNER, DORA, VERA}
    body = words_of(messages[0].body)
    assert f"The old one ends on {live.previous_client_secret_ends_at:%-d %B %Y, %H:%M} UTC." in body
    assert "If this was not you or your team, end it at once:" in body
    assert f"http://receipts.example:8000/developer/apps/{live.pk}/credentials/" in messages[0].body
    assert all(secret not in message.message().as_string() for message in messages)


def test_new_secret_without_an_overlap_says_so(live, people, owner, mails):
    secrets.create_secret(application=live, actor=owner, overlap=timedelta(0))

    assert "The old one does not work any more." in words_of(mails()[0].body)


def test_end_of_the_old_secret_is_told_to_the_whole_team(live, people, owner, sent):
    secrets.create_secret(application=live, actor=owner)
    sent()
    secrets.end_previous_secret(application=live, actor=owner)

    assert sent() == {"The old client secret of Penni Budget has ended": {OWNER, DORA, VERA}}


def test_invitation_says_who_invites_whom_to_what_and_until_when(live, people, owner, mails):
    invitation = team.invite_member(application=live, actor=owner, email="Ivan@Example.com", role=Role.DEVELOPER)

    [message] = mails()
    assert message.to == ["ivan@example.com"]
    assert message.subject == "You are invited to the team of Penni Budget"
    body = words_of(message.body)
    assert "Olive Owner (owner@example.com) invites you to work on the application Penni Budget at Kuittila." in body
    assert "You would be a developer" in body
    assert "for ivan@example.com: log in or create an account with this address" in body
    assert f"open until {invitation.expires_at:%-d %B %Y, %H:%M} UTC" in body
    assert f"/developer/invitations/{invitation.pk}/" in message.body


def test_name_in_an_invitation_is_no_leaflet(live, owner, mails):
    live.name = owner.first_name = "Win a car " * 10
    live.save()
    owner.save()
    team.invite_member(application=live, actor=owner, email="ivan@example.com", role=Role.VIEWER)

    message = mails()[-1]
    assert len(message.subject) < 110
    assert "Win a car " * 7 not in words_of(message.body)


def test_joining_is_told_to_the_rest_of_the_team(live, people, owner, make_user, sent):
    invitation = team.invite_member(application=live, actor=owner, email="ivan@example.com", role=Role.DEVELOPER)
    sent()
    team.accept_invitation(invitation=invitation, user=make_user("ivan@example.com"))

    assert sent() == {"Penni Budget: somebody joined the team": {OWNER, DORA, VERA}}


def test_removal_is_told_to_the_one_removed_without_a_link(live, people, owner, mails):
    team.remove_member(member=people[0], actor=owner)

    [message] = mails()
    assert message.to == [DORA]
    assert "Olive Owner (owner@example.com) took you off the team of Penni Budget." in words_of(message.body)
    assert "http" not in message.body
    assert "href" not in message.alternatives[0].content


def test_leaving_by_oneself_needs_no_mail(live, people, sent):
    team.remove_member(member=people[0], actor=people[0].user)

    assert sent() == {}


def test_transfer_of_ownership_is_told_to_the_whole_team(live, people, owner, mails):
    team.transfer_ownership(application=live, actor=owner, to=people[0])

    messages = mails()
    assert {message.to[0] for message in messages} == {OWNER, DORA, VERA}
    assert messages[0].subject == "Penni Budget has another owner"
    assert f"/developer/apps/{live.pk}/team/" in messages[0].body


def test_new_role_is_told_to_the_whole_team(live, people, owner, mails):
    assert team.change_role(member=people[1], actor=owner, role=Role.OWNER)

    messages = mails()
    assert {message.to[0] for message in messages} == {OWNER, DORA, VERA}
    assert messages[0].subject == "Penni Budget: a role on the team has changed"
    said = "has changed the role of Vera (vera@example.com) on the team of Penni Budget: from Viewer to Owner."
    assert said in words_of(messages[0].body)
    assert f"/developer/apps/{live.pk}/team/" in messages[0].body

    assert not team.change_role(member=people[1], actor=owner, role=Role.OWNER)
    assert mails() == []


def test_reviewers_are_told_when_a_trusted_application_s_redirect_urls_change(live, people, owner, reviewer, mails):
    def change(*uris):
        assert applications.set_redirect_uris(application=live, actor=owner, redirect_uris=uris)
        return mails()

    assert change("https://penni.example/other") == []
    review.set_trusted(application=live, actor=reviewer, is_trusted=True)
    [message] = change("https://penni.example/new?a=1&b=2")

    assert message.to == [RITA]
    assert message.subject == "Penni Budget is trusted, and its redirect URLs have changed"
    assert "New:\nhttps://penni.example/new?a=1&b=2\n\nGone:\nhttps://penni.example/other\n\n" in message.body
    assert "<li>https://penni.example/new?a=1&amp;b=2</li>" in message.alternatives[0].content
    assert f"/review/apps/{live.pk}/" in message.body


def test_redirect_urls_of_a_trusted_application_change_not_without_end(live, owner, reviewer):
    review.set_trusted(application=live, actor=reviewer, is_trusted=True)

    def change(number):
        return applications.set_redirect_uris(
            application=live, actor=owner, redirect_uris=[f"https://penni.example/{number}"]
        )

    for number in range(applications.MOST_REDIRECT_CHANGES_AN_HOUR):
        change(number)
    with pytest.raises(RefusedError, match="Wait an hour"):
        change("one-more")
    live.history.update(created_at=timezone.now() - timedelta(hours=1, seconds=1))
    assert change("an-hour-later")


def test_deletion_is_told_without_a_link(live, people, owner, mails):
    applications.mark_deleted(application=live, actor=owner)

    messages = mails()
    assert {message.to[0] for message in messages} == {DORA, VERA}
    assert "http" not in messages[0].body
    assert "href" not in messages[0].alternatives[0].content


def test_what_was_done_by_a_command_names_the_organisation(live, people, mails):
    secrets.create_secret(application=live, actor=None)

    assert "Somebody at Kuittila made a new client secret for Penni Budget." in words_of(mails()[0].body)


def test_nothing_is_sent_for_what_was_rolled_back(live, people, owner, sent):
    def fail_afterwards():
        with transaction.atomic():
            secrets.create_secret(application=live, actor=owner)
            raise RefusedError("No.")

    with pytest.raises(RefusedError):
        fail_afterwards()

    assert sent() == {}


@pytest.fixture
def every_mail(live, people, owner, reviewer, mails):
    """One of each mail there is, by template, about an application whose people mean harm."""
    application, member = live, people[0]
    application.name = HOSTILE
    submission = application.submissions.get()
    submission.reason = text = f"{HOSTILE}\n\n" + "Why do you need this? " * 10 + "w" * 90
    entry = HistoryEntry(application=application, actor=owner, text=text)
    reply = HistoryEntry(application=application, actor=reviewer, text=text, is_by_reviewer=True)
    invitation = team.invite_member(application=live, actor=owner, email="ivan@example.com", role=Role.OWNER)
    invitation.application = application
    calls = {
        "version_submitted": lambda: developer_mails.version_submitted(application, submission=submission, actor=owner),
        "submission_approved": lambda: developer_mails.submission_approved(
            application, submission=submission, actor=reviewer
        ),
        "changes_requested": lambda: developer_mails.changes_requested(
            application, submission=submission, actor=reviewer
        ),
        "submission_rejected": lambda: developer_mails.submission_rejected(
            application, submission=submission, actor=reviewer
        ),
        "comment_added": lambda: developer_mails.comment_added(application, entry=entry),
        "comment_by_reviewer": lambda: developer_mails.comment_added(application, entry=reply),
        "application_suspended": lambda: developer_mails.application_suspended(
            application, reason=text, actor=reviewer
        ),
        "application_reinstated": lambda: developer_mails.application_reinstated(
            application, reason=text, actor=reviewer
        ),
        "application_deleted": lambda: developer_mails.application_deleted(application, actor=owner),
        "secret_created": lambda: developer_mails.secret_created(application, actor=owner),
        "secret_ended": lambda: developer_mails.secret_ended(application, actor=owner),
        "invitation_sent": lambda: developer_mails.invitation_sent(invitation),
        "member_joined": lambda: developer_mails.member_joined(application, member=member),
        "member_removed": lambda: developer_mails.member_removed(application, user=member.user, actor=owner),
        "ownership_transferred": lambda: developer_mails.ownership_transferred(application, member=member, actor=owner),
        "role_changed": lambda: developer_mails.role_changed(
            application, member=member, old_role=Role.VIEWER, actor=owner
        ),
        "trusted_redirects_changed": lambda: developer_mails.trusted_redirects_changed(
            application, added=["https://penni.example/new"], removed=["https://penni.example/old"], actor=owner
        ),
    }
    mails()
    found = {}
    for name, call in calls.items():
        call()
        for message in mails():
            found[f"{name}-{'reviewer' if message.to == [RITA] else 'team'}"] = message
    return found


def test_every_mail_is_safe_and_can_be_read_by_itself(every_mail):
    assert len(every_mail) == 19
    for name, message in every_mail.items():
        page = message.alternatives[0].content
        assert "<script" not in page, name
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page, name
        assert not re.search(r"<img|src=|url\(", page), name
        assert "{{" not in page.replace("{{ settings }}", ""), name
        assert HOSTILE[:40] in message.subject, name
        assert HOSTILE in words_of(message.body), name
        assert "You get this because" in message.body, name
        assert "You get this because" in page, name
        assert not re.search(r"\n{3}", message.body), name
        long = {line for line in message.body.splitlines() if len(line) > 76 and "http" not in line}
        assert long <= {"> " + "w" * 90}, name
        [heading] = re.findall(r"<h1>(.*?)</h1>", page)
        assert words_of(message.body).startswith(html.unescape(heading)), name
        links = re.findall(r'href="([^"]+)"', page)
        assert all(link in message.body for link in links), name
        assert len(links) == ("deleted" not in name and "removed" not in name), name


def words_of(body):
    """The text of a mail, on one line."""
    return " ".join(body.split())


def test_invitation_of_nobody_in_particular_says_where_it_comes_from(live, mails):
    invitation = Invitation(application=live, email="ivan@example.com", role=Role.VIEWER, expires_at=live.created)
    developer_mails.invitation_sent(invitation)

    assert "Somebody at Kuittila invites you" in words_of(mails()[-1].body)
