"""The account page: recent log-ins, all of one's data as a file, and closing the account for good."""

import json
import threading
from datetime import UTC, date, datetime, timedelta
from itertools import count

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import PermissionDenied
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import ProfileValue, User
from apps.accounts.services import reinstate_user
from apps.accounts.tasks import delete_old_admin_log
from apps.audit import trail
from apps.audit.models import Anonymisation, AuditEvent, AuditPerson
from apps.audit.retention import anonymise_due
from apps.connections.models import Connection, EndReason
from apps.consent.services import close_account, grant_consent
from apps.developers.history import note
from apps.developers.models import (
    Draft,
    HistoryKind,
    Invitation,
    Outcome,
    Role,
    Submission,
    TeamMember,
    TermsAgreement,
    TermsVersion,
)
from apps.organisations.models import Membership, Reviewer
from apps.webhooks.models import Notification
from apps.webhooks.services import set_endpoint
from tests.protocol.test_consent import words_of

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
#: In years far from any counter in the tests.
THE_PAST = datetime(2001, 2, 3, tzinfo=UTC)


@pytest.fixture
def proved(browser, password, organisation):
    """The member's browser, in which they have just given their password once more."""
    browser.client.post("/account/reauthenticate/", {"password": password})
    return browser.client


def log_in(email, password):
    client = Client(headers={"user-agent": FIREFOX})
    return client.post("/account/login/", {"login": email, "password": password})


# --- recent log-ins -------------------------------------------------------------------------------


def test_account_page_shows_log_ins_and_refused_ones_with_browser_and_address(member, password, browser):
    log_in(member.email, password)
    log_in(member.email, "wrong")

    page = browser.client.get("/account/")

    shown = [(sign_in.outcome, sign_in.address, sign_in.user_agent) for sign_in in page.context["sign_ins"]]
    assert shown[:2] == [
        ("session:refused", "127.0.0.1", FIREFOX),
        ("session:started", "127.0.0.1", FIREFOX),
    ]
    assert "Firefox on Linux" in words_of(page)
    assert "Refused" in words_of(page)
    assert "from 127.0.0.1" in words_of(page)


def test_account_page_shows_the_last_ten_log_ins_and_nobody_elses(browser, member, make_user):
    trail.record("user:session:started", actor=make_user("eve@example.com"))
    for _ in range(12):
        trail.record("user:session:started", actor=member)

    sign_ins = browser.client.get("/account/").context["sign_ins"]

    assert len(sign_ins) == 10
    own = AuditPerson.objects.filter(user_id=member.pk).order_by("-event_id").values_list("event__happened_at")[:10]
    assert [(sign_in.happened_at,) for sign_in in sign_ins] == list(own)


@pytest.mark.parametrize("path", ["/account/", "/account/data/", "/account/close/"])
def test_account_pages_are_for_logged_in_users(organisation, path):
    answer = Client().get(path)

    assert answer["Location"].startswith("/account/login/?next=")
    if path != "/account/":
        assert Client().post(path)["Location"].startswith("/account/login/?next=")


# --- one's data -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/account/data/", "/account/close/"])
def test_whoever_has_not_just_shown_that_it_is_them_is_asked(browser, member, organisation, path):
    assert browser.client.get(path)["Location"] == f"/account/reauthenticate/?next={path.replace('/', '%2F')}"
    assert browser.client.post(path)["Location"] == path
    member.refresh_from_db()
    assert member.is_active


def test_proof_is_recent_for_five_minutes(proved, organisation, monkeypatch):
    assert proved.get("/account/data/").status_code == 200
    later = timezone.now().timestamp() + 301
    monkeypatch.setattr("allauth.account.internal.flows.reauthentication.time.time", lambda: later)

    assert proved.get("/account/data/").status_code == 302


def test_file_has_all_that_is_kept(proved, member, connect, application, organisation, other_organisation):
    connect(application)
    Connection.objects.update(partner_metadata={"customer": "4711"})
    ProfileValue.objects.create(user=member, key="student.enrolment_number", value="A-17")
    Membership.objects.create(
        user=member, organisation=other_organisation, scheme_name="Gold", points="12.50", created_at=THE_PAST
    )
    TeamMember.objects.create(application=application.row, user=member, role=Role.VIEWER)
    Reviewer.objects.create(user=member, organisation=organisation)
    terms = TermsVersion.objects.create(organisation=organisation, number=1, text="Be kind.")
    TermsAgreement.objects.create(terms=terms, user=member)
    Draft.objects.create(user=member, fields={"name": ["Half a thought"]})
    RecoveryCodes.activate(member)

    answer = proved.post("/account/data/")

    assert answer["Content-Type"] == "application/json"
    assert answer["Content-Disposition"].startswith('attachment; filename="account-')
    assert "no-store" in answer["Cache-Control"]
    assert answer.streaming
    text = answer.getvalue().decode()
    data = json.loads(text)
    assert data["account"]["email"] == member.email
    assert data["email_addresses"] == [{"email": member.email, "verified": True, "primary": True}]
    assert data["profile_values"][0]["value"] == "A-17"
    assert data["memberships"][0]["points"] == "12.50"
    (connection,) = data["connections"]
    assert connection["application"] == "Example connection"
    assert connection["scopes"] == ["receipt:write", "receipt:read"]
    assert connection["partner_metadata"] == {"customer": "4711"}
    assert connection["last_used_at"]
    assert data["teams"][0]["role"] == "viewer"
    assert data["reviewing"][0]["organisation"] == organisation.name
    assert data["agreements"][0]["terms_version"] == 1
    assert data["drafts"][0]["fields"] == {"name": ["Half a thought"]}
    assert data["second_factors"][0]["type"] == "recovery_codes"
    tags = [event["tag"] for event in data["events"]]
    assert {"user:connection:granted", "user:session:started", "user:account:downloaded"} <= set(tags)
    assert member.password not in text
    assert Authenticator.objects.get().data["seed"] not in text


@pytest.fixture
def keep(member, connect, application, make_application, make_user, organisation):
    """Keep one more of everything about the member that grows."""
    connect(application)
    connection = Connection.objects.get(user=member)
    terms = TermsVersion.objects.create(organisation=organisation, number=1, text="Be kind.")
    other = make_user("eve@example.com", first_name="Eve", last_name="Moneypenny")
    numbers = count(1)
    set_endpoint(application=application.row, actor=other, url="https://partner.example/hooks/s3cret")

    def call():
        number = next(numbers)
        row = make_application("portal", name=f"App {number}").row
        TeamMember.objects.create(application=row, user=member, role=Role.VIEWER)
        Connection.objects.create(user=member, application=row, scopes=[])
        TermsAgreement.objects.create(
            terms=TermsVersion.objects.create(organisation=organisation, number=number + 1, text="-"), user=member
        )
        for body in (
            {"notification_type": "receipt_notification", "receipt_id": f"r-{number}"},
            {"notification_type": "transaction_notification", "data": {"merchant_name": f"Bakery {number}"}},
        ):
            Notification.objects.create(
                application=application.row,
                endpoint=application.row.webhook_endpoint,
                connection_id=connection.pk,
                notification_type=body["notification_type"],
                body=json.dumps(body),
            )
        later = timezone.now() + timedelta(days=1)
        Invitation.objects.create(application=row, email=member.email, role=Role.OWNER, expires_at=later)
        for sender, judge, text in ((member, other, f"Mine {number}"), (other, member, f"Others {number}")):
            Submission.objects.create(
                application=row,
                number=Submission.objects.filter(application=row).count() + 1,
                description=f"{text}, described",
                submitted_by=sender,
                decided_by=judge,
                decided_at=timezone.now(),
                reason=f"{text}, judged",
                outcome=Outcome.REJECTED,
                terms=terms,
            )
            note(row, HistoryKind.COMMENTED, actor=sender, text=f"{text}, commented")
        note(row, HistoryKind.MEMBER_ADDED, actor=member, member=str(other), role="viewer")
        LogEntry.objects.log_actions(member.pk, [other], CHANGE, [])
        member.groups.add(Group.objects.create(name=f"group {number}"))
        member.user_permissions.add(Permission.objects.order_by("pk")[number])

    return call


def test_file_has_what_partners_were_told_and_what_the_user_wrote_and_decided(proved, keep, member):
    User.objects.filter(pk=member.pk).update(is_staff=True)
    keep()

    text = proved.post("/account/data/").getvalue().decode()

    data = json.loads(text)
    assert (data["account"]["is_staff"], data["account"]["is_superuser"]) == (True, False)
    assert data["groups"] == [{"name": "group 1"}]
    assert len(data["permissions"]) == 1
    receipt, transaction = data["notifications"]
    assert receipt["body"]["receipt_id"] == "r-1"
    assert transaction["body"]["data"] == {"merchant_name": "Bakery 1"}
    assert (data["invitations"][0]["application"], data["invitations"][0]["role"]) == ("App 1", "owner")
    (sent,) = data["submissions"]
    assert (sent["application"], sent["version"], sent["description"]) == ("App 1", 1, "Mine 1, described")
    (decision,) = data["decisions"]
    assert (decision["version"], decision["outcome"], decision["reason"]) == (2, "rejected", "Others 1, judged")
    assert [entry["text"] for entry in data["history"]] == ["Mine 1, commented", ""]
    assert data["administration"][0] | {"action_time": ""} == {
        "action": "changed",
        "kind": "accounts.user",
        "action_time": "",
    }
    # Others' words, names and keys.
    for theirs in ("Mine 1, judged", "Others 1, described", "Others 1, commented", "Moneypenny", "eve@", "s3cret"):
        assert theirs not in text


def test_file_has_notifications_that_were_emptied_too(proved, keep):
    keep()
    Notification.objects.update(body="")

    told = json.loads(proved.post("/account/data/").getvalue())["notifications"]

    assert [notification["body"] for notification in told] == [None, None]


def test_file_has_no_invitation_to_an_address_that_is_not_proved(proved, member, application):
    EmailAddress.objects.create(user=member, email="claimed@example.com")
    Invitation.objects.create(
        application=application.row,
        email="claimed@example.com",
        role=Role.VIEWER,
        expires_at=timezone.now() + timedelta(days=1),
    )

    assert json.loads(proved.post("/account/data/").getvalue())["invitations"] == []


def test_file_takes_as_many_queries_for_much_as_for_little(proved, keep):
    def ask():
        with CaptureQueriesContext(database) as captured:
            text = proved.post("/account/data/").getvalue()
        return len(captured), len(json.loads(text)["submissions"])

    keep()
    ask()
    few, one = ask()
    for _ in range(3):
        keep()
    many, four = ask()

    assert (one, four) == (1, 4)
    assert many == few


def test_file_tells_nothing_of_others(proved, member, make_user):
    other = make_user("root@example.com", first_name="Grace", last_name="Hopper")
    trail.record("administrator:user:suspended", actor=other, about=member)
    trail.record("user:session:started", actor=other)
    ProfileValue.objects.create(user=other, key="student.enrolment_number", value="B-18")

    text = proved.post("/account/data/").getvalue().decode()

    events = {event["tag"]: event for event in json.loads(text)["events"]}
    assert events["administrator:user:suspended"]["by_you"] is False
    assert events["administrator:user:suspended"]["address"] == ""
    assert "Hopper" not in text
    assert "root@" not in text
    assert "B-18" not in text


# --- closing --------------------------------------------------------------------------------------


def test_closing_ends_every_connection_and_tells_the_partners(
    proved, member, connect, make_application, application, other_organisation, call_with
):
    portal = make_application("portal")
    token = connect(portal)["access_token"]
    set_endpoint(application=application.row, actor=None, url="https://partner.example/hooks")
    connect(application)
    Connection.objects.update(partner_metadata={"customer": "4711"})
    elsewhere = make_application("connection", organisation=other_organisation).row
    Connection.objects.create(user=member, application=elsewhere, scopes=["receipt:read"])

    answer = proved.post("/account/close/", follow=True)

    assert "Your account is closed." in words_of(answer)
    assert set(Connection.objects.values_list("end_reason", flat=True)) == {EndReason.USER}
    assert not Connection.objects.active().exists()
    assert call_with("/open_auth/get_user_data/", token).status_code == 401
    assert "4711" in Notification.objects.get().body
    assert set(Connection.objects.values_list("partner_metadata", flat=True)) == {None}


def test_closing_leaves_nothing_of_the_person(proved, member, organisation, password_hash):
    User.objects.filter(pk=member.pk).update(phone="+44 1", birth_date=date(1815, 12, 10), is_staff=True)
    member.groups.add(Group.objects.create(name="staff"))
    ProfileValue.objects.create(user=member, key="student.enrolment_number", value="A-17")
    Membership.objects.create(user=member, organisation=organisation, scheme_name="Gold", created_at=THE_PAST)
    Reviewer.objects.create(user=member, organisation=organisation)
    Draft.objects.create(user=member, fields={"name": ["Half a thought"]})
    RecoveryCodes.activate(member)

    proved.post("/account/close/")

    closed = User.objects.get(pk=member.pk)
    assert closed.closed_at
    assert not closed.is_active
    assert not closed.is_staff
    assert not closed.has_usable_password()
    assert closed.email == f"{member.pk}@closed.invalid"
    assert closed.username != member.username
    assert (closed.first_name, closed.last_name, closed.phone, closed.birth_date) == ("", "", "", None)
    assert str(closed) == "Closed account"
    assert not closed.groups.exists()
    for model in (EmailAddress, ProfileValue, Membership, Reviewer, Draft, Authenticator):
        assert not model.objects.filter(user=member).exists()


def test_closing_takes_the_person_out_of_the_administrations_log(
    proved, administrator, member, make_user, make_application, organisation
):
    """Rows of people were called by their names once, and by the names that people had then."""
    trail.record("user:session:started", actor=member)
    User.objects.filter(pk=member.pk).update(first_name="Zoë", last_name="Quill")
    EmailAddress.objects.create(user=member, email="zoe@example.org")
    row = make_application("portal").row
    actor, other = (
        User.objects.get(email="root@example.com"),
        make_user("zo@example.com", first_name="Zoë", last_name="Q"),
    )
    reviewer = Reviewer.objects.create(user=member, organisation=organisation)
    for name in ("Ada Byron", "Zoë Quill", "zoe@example.org", "Zoë Q"):
        message = [
            {"added": {"name": "team member", "object": f"{name} (Viewer)"}},
            {"deleted": {"name": "reviewer", "object": f"{name} @ Kuittila"}},
            {"changed": {"name": "requested scope", "object": "receipt:read", "fields": ["Reason"]}},
        ]
        LogEntry.objects.log_actions(actor.pk, [row], CHANGE, message)
        LogEntry.objects.log_actions(actor.pk, [reviewer, member], CHANGE, [])
        LogEntry.objects.filter(object_repr=str(reviewer)).update(object_repr=f"{name} @ Kuittila")

    proved.post("/account/close/")

    kept = " ".join(f"{entry.object_repr} {entry.get_change_message()}" for entry in LogEntry.objects.all())
    for name in ("Ada", "Quill", "zoe@", member.email):
        assert name not in kept
    assert kept.count("Zoë Q (Viewer)") == kept.count(f"{other} @ Kuittila”") == 1
    assert kept.count("Closed account (Viewer)") == 3
    assert kept.count("receipt:read") == 4
    assert LogEntry.objects.filter(object_repr=row.name).count() == 4


def test_administrations_log_calls_nobody_by_name(administrator, member, organisation, make_application):
    row = make_application("portal").row
    reviewer = Reviewer.objects.create(user=member, organisation=organisation)
    reviewers, brand = "/admin/organisations/reviewer/", f"/admin/organisations/organisation/{organisation.pk}/change/"
    person = {"user": str(member.pk), "organisation": str(organisation.pk)}

    # On its own pages, one and several at once; and inside the organisation's.
    administrator.post(f"{reviewers}{reviewer.pk}/change/", {**person, "_continue": "1"})
    administrator.post(f"{reviewers}{reviewer.pk}/delete/", {"post": "yes"})
    assert administrator.post(f"{reviewers}add/", person).status_code == 302
    several = {"action": "delete_selected", "_selected_action": [str(Reviewer.objects.get().pk)], "post": "yes"}
    assert administrator.post(reviewers, several).status_code == 302
    assert change_inside(administrator, brand, "reviewers", user=str(member.pk)).status_code == 302
    assert change_inside(administrator, brand, "reviewers", DELETE="on").status_code == 302
    application = f"/admin/developers/application/{row.pk}/change/"
    assert change_inside(administrator, application, "team", user=str(member.pk), role="viewer").status_code == 302
    assert change_inside(administrator, application, "team", role="developer").status_code == 302
    assert change_inside(administrator, application, "team", DELETE="on").status_code == 302

    entries = list(LogEntry.objects.order_by("pk"))
    assert [entry.object_repr for entry in entries] == [
        *[f"{member.pk} @ {organisation}"] * 4,
        *[str(organisation)] * 2,
        *[row.name] * 3,
    ]
    inside = [facts["object"] for entry in entries[4:] for each in changes_in(entry) for facts in each.values()]
    assert inside == [
        *[f"{member.pk} @ {organisation}"] * 2,
        f"{member.pk} (Viewer)",
        *[f"{member.pk} (Developer)"] * 2,
    ]
    kept = " ".join(f"{entry.object_repr} {entry.get_change_message()}" for entry in entries)
    assert str(member) not in kept
    assert member.email not in kept


def changes_in(entry):
    """What the entry says of rows inside of the one that was changed."""
    return [each for each in json.loads(entry.change_message) if any("object" in facts for facts in each.values())]


def change_inside(client, address, prefix, **fields):
    """Save the page, with some fields of its last row of that kind changed, which is added if they have a user."""
    page = client.get(address)
    bound = list(page.context["adminform"].form)
    for inline in page.context["inline_admin_formsets"]:
        bound += [field for form in [inline.formset.management_form, *inline.formset.forms] for field in form]
    data = {field.html_name: field.value() for field in bound if field.name != "logo"}
    data = {name: value for name, value in data.items() if value is not None and value is not False}
    count = int(data[f"{prefix}-TOTAL_FORMS"])
    if "user" in fields:
        data[f"{prefix}-TOTAL_FORMS"] = count = count + 1
    return client.post(address, {**data, **{f"{prefix}-{count - 1}-{name}": value for name, value in fields.items()}})


def test_administrations_pages_call_people_by_name(administrator, member, organisation, make_application):
    row = make_application("portal").row
    reviewer = Reviewer.objects.create(user=member, organisation=organisation)
    TeamMember.objects.create(application=row, user=member, role=Role.VIEWER)
    reviewers = "/admin/organisations/reviewer/"

    for page in (
        administrator.get(f"{reviewers}{reviewer.pk}/delete/"),
        administrator.post(reviewers, {"action": "delete_selected", "_selected_action": [str(reviewer.pk)]}),
        administrator.get(f"{reviewers}{reviewer.pk}/change/"),
        administrator.get(f"/admin/organisations/organisation/{organisation.pk}/change/"),
    ):
        assert f"{member} @ {organisation}" in page.content.decode()
    page = administrator.get(f"/admin/developers/application/{row.pk}/change/")
    assert f"{member} (Viewer)" in page.content.decode()


@pytest.mark.parametrize(("days", "kept"), [(730, 1), (0, 2), (1000, 2)])
def test_administrations_log_is_kept_as_long_as_the_trail(member, settings, days, kept):
    settings.AUDIT_RETENTION_DAYS = days
    for age in (731, 729):
        entry = LogEntry.objects.log_actions(member.pk, [member], CHANGE, [], single_object=True)
        LogEntry.objects.filter(pk=entry.pk).update(action_time=timezone.now() - timedelta(days=age))

    assert delete_old_admin_log(timestamp=0) == 2 - kept

    assert LogEntry.objects.count() == kept


def test_closing_logs_out_everywhere(proved, member, password):
    elsewhere = Client()
    elsewhere.post("/account/login/", {"login": member.email, "password": password})
    assert elsewhere.get("/account/").status_code == 200

    proved.post("/account/close/")

    assert elsewhere.get("/account/").status_code == 302
    assert proved.get("/account/").status_code == 302
    assert log_in(member.email, password).status_code == 200


def test_person_gets_a_last_mail(proved, member, mails):
    mails()

    proved.post("/account/close/")

    (mail,) = mails()
    assert mail.to == ["ada@example.com"]
    assert mail.subject == "Your account is closed"
    assert "Goodbye Ada Byron" in mail.body
    assert "Goodbye Ada Byron" in mail.alternatives[0].content


def test_address_can_be_used_again(proved, member, organisation):
    proved.post("/account/close/")
    form = {"first_name": "Ada", "last_name": "Byron", "email": "ada@example.com", "password1": "Blue-Kettle-93"}

    Client().post("/account/signup/", form)

    assert User.objects.get(email="ada@example.com").pk != member.pk


def test_trail_keeps_who_closed_it_until_the_waiting_time_is_over(proved, member, settings):
    proved.post("/account/close/")

    assert AuditEvent.objects.filter(tag="user:account:closed").count() == 1
    wait = timedelta(days=settings.AUDIT_ANONYMISE_AFTER_DAYS)
    assert abs(Anonymisation.objects.get(user_id=member.pk).due_at - timezone.now() - wait) < timedelta(minutes=1)
    assert anonymise_due() == 0
    assert AuditPerson.objects.filter(user_id=member.pk).exists()
    Anonymisation.objects.update(due_at=timezone.now())
    assert anonymise_due() == 1
    assert not AuditPerson.objects.filter(user_id=member.pk).exists()


def test_last_owner_is_told_which_applications_need_somebody_else(proved, member, make_application, make_user):
    alone = make_application("portal", name="Owned alone").row
    shared = make_application("portal", name="Owned by two").row
    watched = make_application("portal", name="Only watched").row
    other = make_user("eve@example.com")
    for application, user, role in [
        (alone, member, Role.OWNER),
        (alone, other, Role.DEVELOPER),
        (shared, member, Role.OWNER),
        (shared, other, Role.OWNER),
        (watched, member, Role.VIEWER),
        (watched, other, Role.OWNER),
    ]:
        TeamMember.objects.create(application=application, user=user, role=role)

    page = proved.get("/account/close/")
    answer = proved.post("/account/close/")

    for shown in (page, answer):
        assert "Owned alone" in words_of(shown)
        assert "Owned by two" not in words_of(shown)
        assert f"/developer/apps/{alone.pk}/team/" in shown.content.decode()
        assert "for good" not in words_of(shown)
    assert answer.status_code == 409
    member.refresh_from_db()
    assert member.is_active
    assert member.team_memberships.count() == 3

    TeamMember.objects.filter(application=alone, user=other).update(role=Role.OWNER)
    assert proved.post("/account/close/").status_code == 302
    assert not TeamMember.objects.filter(user=member).exists()


def test_deleted_application_needs_no_owner(proved, member, make_application):
    gone = make_application("portal", status="deleted").row
    TeamMember.objects.create(application=gone, user=member, role=Role.OWNER)

    assert proved.post("/account/close/").status_code == 302
    assert not TeamMember.objects.exists()


def test_invitations_to_the_person_go_with_them(proved, member, application):
    later = timezone.now() + timedelta(days=1)
    for email in (member.email, "eve@example.com"):
        Invitation.objects.create(application=application.row, email=email, role=Role.VIEWER, expires_at=later)

    proved.post("/account/close/")

    assert [invitation.email for invitation in Invitation.objects.all()] == ["eve@example.com"]


def test_closing_twice_is_closing_once(member, organisation, mails):
    assert close_account(user=member, organisation=organisation)
    due_at = Anonymisation.objects.get().due_at
    mails()

    assert not close_account(user=member, organisation=organisation)

    assert mails() == []
    assert Anonymisation.objects.get().due_at == due_at
    assert AuditEvent.objects.filter(tag="user:account:closed").count() == 1


def test_closed_account_cannot_be_reinstated(member, organisation, administrator):
    close_account(user=member, organisation=organisation)

    assert not reinstate_user(user=member)

    member.refresh_from_db()
    assert not member.is_active
    page = administrator.post(
        f"/admin/accounts/user/{member.pk}/change/", {"is_active": "on", "email": "a@example.com"}
    )
    assert page.status_code == 403
    member.refresh_from_db()
    assert not member.is_active


def test_nobody_connects_for_a_closed_account(member, organisation, application):
    close_account(user=member, organisation=organisation)

    with pytest.raises(PermissionDenied):
        grant_consent(user=member, application=application.row, asked_scopes=[], granted_scopes=[])

    assert not Connection.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_consent_at_the_very_moment_of_closing_leaves_no_connection(member, organisation, application):
    """Twenty times at once; whichever comes first, nothing is connected afterwards."""
    for number in range(20):
        user = User.objects.create(email=f"{number}@example.com")
        barrier = threading.Barrier(2)

        def connect(user=user, barrier=barrier):
            barrier.wait()
            try:
                grant_consent(
                    user=user,
                    application=application.row,
                    asked_scopes=["receipt:read"],
                    granted_scopes=["receipt:read"],
                )
            except PermissionDenied:
                pass
            finally:
                database.close()

        thread = threading.Thread(target=connect)
        thread.start()
        barrier.wait()
        assert close_account(user=user, organisation=organisation)
        thread.join()

        assert not Connection.objects.active().filter(user=user).exists()
