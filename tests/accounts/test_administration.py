"""The administration's pages of people, and how administrators get there."""

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Permission
from django.test import Client

from apps.accounts.models import ProfileValue, User

USERS = "/admin/accounts/user/"


@pytest.fixture
def staff(make_user):
    """The browser of somebody who may change users, but is no superuser."""
    user = make_user("staff@example.com", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    client = Client()
    client.force_login(user)
    return client


def fields_of(user, **fields):
    return {
        "email": user.email,
        "first_name": user.first_name,
        "last_name": user.last_name,
        "is_active": "on",
        **fields,
    }


def test_log_in_is_everybodys_so_that_a_second_factor_counts(client, organisation):
    response = client.get("/admin/", follow=True)

    assert response.request["PATH_INFO"] == "/account/login/"
    assert response.request["QUERY_STRING"] == "next=%2Fadmin%2F"


def test_user_who_is_no_administrator_is_refused(client, member):
    client.force_login(member)

    assert client.get("/admin/", follow=True).status_code == 403


def test_new_user_can_log_in_at_once(administrator, client, organisation):
    data = {"email": "New@Example.com", "first_name": "N", "password1": "Blue-Kettle-93", "password2": "Blue-Kettle-93"}
    administrator.post(f"{USERS}add/", data)

    response = client.post("/account/login/", {"login": "new@example.com", "password": "Blue-Kettle-93"})
    assert response.status_code == 302
    assert EmailAddress.objects.get(email="new@example.com").verified


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"email": "ADA@example.com"}, "already has an account"),
        ({"password1": "1234", "password2": "1234"}, "too short"),
        ({"password2": "Blue-Kettle-94"}, "match"),
    ],
)
def test_bad_new_user_is_refused(administrator, member, wrong, message):
    data = {"email": "new@example.com", "password1": "Blue-Kettle-93", "password2": "Blue-Kettle-93", **wrong}
    page = administrator.post(f"{USERS}add/", data).content.decode()

    assert message in page
    assert User.objects.count() == 2


def test_another_address_replaces_the_old_one(administrator, member):
    administrator.post(f"{USERS}{member.pk}/change/", fields_of(member, email="New@Example.com"))

    assert list(EmailAddress.objects.filter(user=member).values_list("email", "verified")) == [
        ("new@example.com", True)
    ]


def act(client, action, *users):
    return client.post(USERS, {"action": action, "_selected_action": [str(user.pk) for user in users]}, follow=True)


def test_users_are_suspended_and_reinstated_but_never_oneself(administrator, member):
    root = User.objects.get(email="root@example.com")

    act(administrator, "suspend", member, root)
    assert set(User.objects.values_list("email", "is_active")) == {("ada@example.com", False), (root.email, True)}

    act(administrator, "reinstate", member)
    assert User.objects.get(pk=member.pk).is_active


def test_users_are_not_deleted(administrator, member):
    assert administrator.post(f"{USERS}{member.pk}/delete/", {"post": "yes"}).status_code == 403


def test_staff_cannot_make_themselves_superusers(staff):
    user = User.objects.get(email="staff@example.com")
    staff.post(f"{USERS}{user.pk}/change/", fields_of(user, is_superuser="on", is_staff="on"))

    assert not User.objects.get(pk=user.pk).is_superuser


def test_staff_cannot_change_a_superuser(staff, make_user):
    root = make_user("root@example.com", is_superuser=True, is_staff=True)

    assert staff.post(f"{USERS}{root.pk}/change/", fields_of(root, email="mine@example.com")).status_code == 403
    assert staff.post(f"{USERS}{root.pk}/password/", {}).status_code == 403
    act(staff, "suspend", root)
    assert User.objects.get(pk=root.pk).is_active


def test_value_is_written_as_its_data_point_is_kept(administrator, member):
    path = "/admin/accounts/profilevalue/add/"
    administrator.post(path, {"user": str(member.pk), "key": "person.roles", "text": "student; tutor"})
    page = administrator.post(path, {"user": str(member.pk), "key": "student.current_year", "text": "third"})

    assert "must be a number" in page.content.decode()
    assert list(ProfileValue.objects.values_list("key", "value")) == [("person.roles", ["student", "tutor"])]


def test_value_is_changed(administrator, member):
    row = ProfileValue.objects.create(user=member, key="student.current_year", value=3)
    administrator.post(f"/admin/accounts/profilevalue/{row.pk}/change/", {"text": "4"})

    assert ProfileValue.objects.get().value == 4


def test_secret_of_a_second_factor_is_not_shown_but_it_can_be_removed(administrator, member):
    row = Authenticator.objects.create(user=member, type="totp", data={"secret": "TOPSECRET"})
    path = f"/admin/mfa/authenticator/{row.pk}"

    assert "TOPSECRET" not in administrator.get(f"{path}/change/").content.decode()
    administrator.post(f"{path}/delete/", {"post": "yes"})
    assert not Authenticator.objects.exists()
