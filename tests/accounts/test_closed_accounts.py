"""What comes too late for an account that is being closed: nothing is written, and nobody sees a 500.

Closing holds the user's row; the other request has read the user already and waits to write. Then closing commits.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib.auth.models import Group, Permission
from django.db import IntegrityError, transaction
from django.db import connection as database
from django.utils import timezone

from apps.accounts.models import ProfileValue, User
from apps.consent.services import close_account
from apps.developers.errors import RefusedError
from apps.developers.models import Draft, Invitation, Role, TeamMember
from apps.developers.services.drafts import save_draft
from apps.developers.services.team import accept_invitation, add_member
from apps.organisations.models import Membership, Reviewer
from tests.accounts.test_account_pages import THE_PAST
from tests.protocol.test_consent import words_of

COMMITTED = pytest.mark.django_db(transaction=True)


@contextmanager
def closing(user, organisation):
    """Close the account, and commit that at the end."""
    with transaction.atomic():
        assert close_account(user=user, organisation=organisation)
        yield


def while_closing(user, organisation, call):
    """Return what comes of `call` when it has to wait until the account is closed."""

    def run():
        try:
            return call()
        finally:
            database.close()

    with ThreadPoolExecutor(1) as pool:
        with closing(user, organisation):
            result = pool.submit(run)
            wait_for_a_waiter()
        return result.result(60)


def wait_for_a_waiter():
    deadline = time.monotonic() + 60
    with database.cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
            time.sleep(0.01)
    raise AssertionError("Nobody waits.")


def assert_closed(user):
    closed = User.objects.get(pk=user.pk)
    assert closed.closed_at
    assert not closed.is_active
    assert closed.email == f"{user.pk}@closed.invalid"
    assert not closed.has_usable_password()
    assert closed.first_name == ""


# --- the row stays as it is -----------------------------------------------------------------------


def test_stale_copy_of_the_user_is_not_written_back(member, organisation):
    stale = User.objects.get(pk=member.pk)
    close_account(user=member, organisation=organisation)

    with pytest.raises(IntegrityError, match="closed for good"), transaction.atomic():
        stale.save()

    assert_closed(member)


@pytest.mark.parametrize(
    "change",
    [
        {"closed_at": None},
        {"closed_at": None, "is_active": True},
        {"email": "ada@example.com"},
        {"password": "x"},
        {"first_name": "Ada"},
        {"is_superuser": True},
        {"last_login": THE_PAST},
    ],
    ids=lambda change: "+".join(change),
)
def test_nothing_of_a_closed_account_changes(member, organisation, change):
    close_account(user=member, organisation=organisation)

    with pytest.raises(IntegrityError, match="closed for good"), transaction.atomic():
        User.objects.filter(pk=member.pk).update(**change)

    assert_closed(member)


def test_accounts_that_are_not_closed_change_as_they_did(member, make_user, organisation):
    close_account(user=make_user("eve@example.com"), organisation=organisation)
    member.first_name, member.is_active = "Augusta", False
    member.save()

    member.refresh_from_db()
    assert (member.first_name, member.is_active) == ("Augusta", False)


def test_closed_row_can_be_written_as_it_is(member, organisation):
    """A copy of all tables, for one, writes each row once more."""
    close_account(user=member, organisation=organisation)

    User.objects.get(pk=member.pk).save()

    assert_closed(member)


# --- nothing is attached to it ----------------------------------------------------------------------

ATTACHMENTS = {
    "e-mail address": lambda user, _organisation: EmailAddress.objects.create(user=user, email="b@example.com"),
    "profile value": lambda user, _organisation: ProfileValue.objects.create(
        user=user, key="student.enrolment_number", value="A-17"
    ),
    "second factor": lambda user, _organisation: RecoveryCodes.activate(user),
    "membership": lambda user, organisation: Membership.objects.create(
        user=user, organisation=organisation, scheme_name="Gold", created_at=THE_PAST
    ),
    "reviewer": lambda user, organisation: Reviewer.objects.create(user=user, organisation=organisation),
    "group": lambda user, _organisation: user.groups.add(Group.objects.get_or_create(name="staff")[0]),
    "permission": lambda user, _organisation: user.user_permissions.add(Permission.objects.order_by("pk").first()),
}


@pytest.fixture(params=ATTACHMENTS)
def attach(request):
    """Write something about a user, each kind in turn."""
    return ATTACHMENTS[request.param]


def test_open_account_can_be_written_about(member, organisation, attach):
    attach(member, organisation)


def test_closed_account_cannot_be_written_about(member, organisation, attach):
    close_account(user=member, organisation=organisation)

    with pytest.raises(IntegrityError, match="closed for good"), transaction.atomic():
        attach(member, organisation)


@COMMITTED
def test_what_is_attached_while_the_account_closes_is_refused_or_deleted(member, organisation, attach):
    def attach_now():
        with pytest.raises(IntegrityError, match="closed for good"):
            attach(member, organisation)

    while_closing(member, organisation, attach_now)

    assert not EmailAddress.objects.filter(user=member).exists()
    assert not member.groups.exists()


@COMMITTED
def test_whatever_comes_first_nothing_is_left(make_user, organisation):
    """Twenty times at the very same moment."""
    for number in range(20):
        user = make_user(f"{number}@example.com")
        barrier = threading.Barrier(2)

        def write(user=user, barrier=barrier):
            barrier.wait(20)
            try:
                ProfileValue.objects.create(user=user, key="student.enrolment_number", value="A-17")
            finally:
                database.close()

        with ThreadPoolExecutor(1) as pool:
            written = pool.submit(write)
            barrier.wait(20)
            assert close_account(user=user, organisation=organisation)
            refusal = written.exception(20)

        assert refusal is None or "closed for good" in str(refusal)

        assert_closed(user)
        assert not ProfileValue.objects.filter(user=user).exists()


# --- what the person in the other tab sees ----------------------------------------------------------


@COMMITTED
def test_password_that_is_changed_meanwhile_leads_home_logged_out(browser, member, organisation, password):
    form = {"oldpassword": password, "password1": "Blue-Kettle-93", "password2": "Blue-Kettle-93"}

    answer = while_closing(
        member, organisation, lambda: browser.client.post("/account/password/change/", form, follow=True)
    )

    assert answer.redirect_chain == [("/", 302)]
    assert answer.status_code == 200
    assert "Your account has been closed meanwhile, so nothing was changed." in words_of(answer)
    assert_closed(member)
    assert browser.client.get("/account/").status_code == 302


@COMMITTED
def test_password_is_changed_while_nobody_closes_the_account(browser, member, organisation, password):
    form = {"oldpassword": password, "password1": "Blue-Kettle-93", "password2": "Blue-Kettle-93"}

    browser.client.post("/account/password/change/", form)

    member.refresh_from_db()
    assert member.check_password("Blue-Kettle-93")


@COMMITTED
def test_administrator_who_saves_meanwhile_is_told(administrator, member, organisation):
    path = f"/admin/accounts/user/{member.pk}/change/"
    form = {"email": "grace@example.com", "first_name": "Grace", "last_name": "Hopper", "is_active": "on"}

    answer = while_closing(member, organisation, lambda: administrator.post(path, form, follow=True))

    assert answer.redirect_chain == [(path, 302)]
    assert answer.status_code == 200
    assert "This account has been closed meanwhile, so nothing was changed." in words_of(answer)
    assert_closed(member)
    assert not EmailAddress.objects.filter(user=member).exists()


@COMMITTED
def test_other_errors_of_the_database_are_errors(administrator, member, monkeypatch):
    def fail(*args, **kwargs):
        raise IntegrityError("something else")

    monkeypatch.setattr(User, "save", fail)
    form = {"email": member.email, "first_name": "Grace", "last_name": "Hopper", "is_active": "on"}

    with pytest.raises(IntegrityError, match="something else"):
        administrator.post(f"/admin/accounts/user/{member.pk}/change/", form)


# --- teams and drafts -------------------------------------------------------------------------------


@COMMITTED
def test_invitation_that_is_accepted_meanwhile_is_refused(member, organisation, application, make_user):
    later = timezone.now() + timedelta(days=1)
    invitation = Invitation.objects.create(
        application=application.row, email=member.email, role=Role.VIEWER, expires_at=later
    )

    def accept():
        with pytest.raises(RefusedError, match="closed or suspended"):
            accept_invitation(invitation=invitation, user=member)

    while_closing(member, organisation, accept)

    assert not TeamMember.objects.exists()


@COMMITTED
def test_member_whom_an_administrator_adds_meanwhile_is_refused(member, organisation, application):
    def add():
        with pytest.raises(RefusedError, match="closed or suspended"):
            add_member(application=application.row, actor=None, user=member, role=Role.VIEWER)

    while_closing(member, organisation, add)

    assert not TeamMember.objects.exists()


@COMMITTED
def test_draft_that_is_kept_meanwhile_is_refused(member, organisation):
    def keep():
        with pytest.raises(RefusedError, match="closed or suspended"):
            save_draft(user=member, application=None, fields={"name": ["Half a thought"]})

    while_closing(member, organisation, keep)

    assert not Draft.objects.exists()


@COMMITTED
def test_joining_and_closing_at_the_very_same_moment_leaves_nobody_on_the_team(make_user, organisation, application):
    for number in range(20):
        user = make_user(f"{number}@example.com")
        later = timezone.now() + timedelta(days=1)
        invitation = Invitation.objects.create(
            application=application.row, email=user.email, role=Role.OWNER, expires_at=later
        )
        TeamMember.objects.create(application=application.row, user=make_user(f"{number}@example.org"), role=Role.OWNER)
        barrier = threading.Barrier(2)

        def join(user=user, invitation=invitation, barrier=barrier):
            barrier.wait(20)
            try:
                accept_invitation(invitation=invitation, user=user)
            except RefusedError:
                pass
            finally:
                database.close()

        with ThreadPoolExecutor(1) as pool:
            joined = pool.submit(join)
            barrier.wait(20)
            assert close_account(user=user, organisation=organisation)
            joined.result(20)

        assert_closed(user)
        assert not TeamMember.objects.filter(user=user).exists()


def test_suspended_user_joins_no_team_until_reinstated(member, application):
    User.objects.filter(pk=member.pk).update(is_active=False)
    with pytest.raises(RefusedError, match="closed or suspended"):
        add_member(application=application.row, actor=None, user=member, role=Role.VIEWER)
    User.objects.filter(pk=member.pk).update(is_active=True)

    assert add_member(application=application.row, actor=None, user=member, role=Role.VIEWER)
