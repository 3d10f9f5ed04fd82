"""manage.py create_user and the services behind it (CONTRACT section 13)."""

import io

import pytest
from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.core.management import CommandError

from apps.accounts.models import User
from apps.accounts.services import change_email, create_user, reinstate_user, suspend_user
from apps.organisations.models import Reviewer

pytestmark = pytest.mark.spec("CONTRACT", "13 (create_user)")

PASSWORD = "correct-horse-7"


@pytest.fixture
def create(manage):
    def call(*arguments, email="Ada@Example.com", password=PASSWORD):
        return manage("create_user", "--email", email, "--password", password, *arguments)

    return call


def log_in(client, email, password=PASSWORD):
    return client.post("/account/login/", {"login": email, "password": password})


def test_answer_describes_the_user_without_the_password(create):
    answer = create("--first-name", "Ada", "--last-name", "Byron")

    row = User.objects.get()
    assert answer == {
        "id": str(row.pk),
        "email": "ada@example.com",
        "username": row.username,
        "first_name": "Ada",
        "last_name": "Byron",
        "reviewer": False,
        "organisation": None,
        "administrator": False,
    }


def test_user_can_log_in_at_once(create, client, organisation):
    create()

    assert log_in(client, "ada@example.com").status_code == 302
    assert client.session["_auth_user_id"] == str(User.objects.get().pk)


def test_address_counts_as_verified(create):
    create()

    address = EmailAddress.objects.get()
    assert (address.email, address.verified, address.primary) == ("ada@example.com", True, True)


def test_whoever_claimed_the_address_without_proof_loses_that_claim(create, member):
    EmailAddress.objects.create(user=member, email="new@example.com", verified=False)
    create(email="new@example.com")

    assert EmailAddress.objects.get(email="new@example.com").user != member


def test_reviewer_decides_at_the_default_organisation_or_the_one_named(create, organisation, other_organisation):
    create("--reviewer")
    create("--reviewer", "--organisation", "campus", email="bob@example.com")

    assert set(Reviewer.objects.values_list("user__email", "organisation__slug")) == {
        ("ada@example.com", "receipts"),
        ("bob@example.com", "campus"),
    }


def test_administrator_may_do_everything(create):
    assert create("--administrator")["administrator"] is True
    assert User.objects.get().is_superuser


def test_password_may_come_from_standard_input(manage, monkeypatch, client, organisation):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{PASSWORD}\n"))
    manage("create_user", "--email", "ada@example.com")

    assert log_in(client, "ada@example.com").status_code == 302


def test_weak_password_is_taken_with_a_word_of_warning(create, capsys):
    create(password="1234")

    assert "too short" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "arguments", "reason"),
    [
        ({"email": "taken@example.com"}, [], "already has an account"),
        ({"email": "TAKEN@example.com"}, [], "already has an account"),
        ({"email": "nobody"}, [], "valid email"),
        ({"email": "a" * 250 + "@example.com"}, [], "email: "),
        ({"password": ""}, [], "Give a password"),
        ({}, ["--first-name", "n" * 101], "first name"),
        ({}, ["--birth-date", "2020-02-31"], "YYYY-MM-DD"),
        ({}, ["--organisation", "receipts"], "--reviewer"),
        ({}, ["--reviewer", "--organisation", "nowhere"], "no organisation 'nowhere'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_and_nobody_is_made(
    create, make_user, organisation, fields, arguments, reason
):
    make_user("taken@example.com")

    with pytest.raises(CommandError, match=reason) as refusal:
        create(*arguments, **fields)

    assert "\n" not in str(refusal.value)
    assert User.objects.count() == 1


def test_address_that_another_account_has_proved_is_refused(member):
    EmailAddress.objects.create(user=member, email="second@example.com", verified=True)

    with pytest.raises(ValidationError, match="already has an account"):
        create_user(email="second@example.com", password=PASSWORD)


def test_another_address_replaces_the_old_one(member, client, organisation, password):
    change_email(user=member, email="New@Example.com")

    assert list(EmailAddress.objects.values_list("email", "verified")) == [("new@example.com", True)]
    assert log_in(client, "ada@example.com", password).status_code == 200
    assert log_in(client, "new@example.com", password).status_code == 302


def test_suspended_user_loses_what_they_had_granted_until_they_are_reinstated(member, application, connect, call_with):
    token = connect(application)["access_token"]

    assert suspend_user(user=member)
    assert not suspend_user(user=member)
    assert introspects(application, token, call_with) is False
    assert reinstate_user(user=member)
    assert introspects(application, token, call_with) is True


def introspects(application, token, call_with):
    from django.test import Client

    return Client().post("/oauth/introspect", {"token": token, **application.credentials}).json()["active"]
