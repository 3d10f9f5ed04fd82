"""What people see who have tried something too often: when to try again, and what they typed."""

import pytest
from django.test import Client

from apps.developers.models import Application, Role, TeamMember
from apps.limits.pages import _kept_fields
from tests.conftest import Browser
from tests.protocol.test_consent import words_of


def assert_page(response):
    assert response.status_code == 429
    assert response["Content-Type"].startswith("text/html")
    assert "no-store" in response["Cache-Control"]
    assert 0 < int(response["Retry-After"]) <= 3600
    assert "Please wait a little" in words_of(response)
    assert "Try again in" in words_of(response)


# --- authorising ---------------------------------------------------------------------------------------------


def test_user_who_asks_too_often_sees_a_page_that_leads_back_to_the_same_request(browser, application, limited):
    limited(authorize="2/h")

    pages = [browser.ask(application, state="kept-state") for _ in range(3)]

    assert [page.status_code for page in pages] == [200, 200, 429]
    assert_page(pages[-1])
    assert "state=kept-state" in pages[-1].content.decode()


def test_refused_answer_can_be_sent_again_and_gives_the_code_then(browser, application, limited, clock):
    limited(authorize="1/h")
    page = browser.ask(application)
    refused = browser.answer(page)
    assert_page(refused)
    assert "Nothing you typed is lost" in words_of(refused)

    clock.now += int(refused["Retry-After"])
    address = refused.context["path"]
    again = browser.client.post(address, dict(refused.context["kept"]))
    assert again.status_code == 302
    assert "code=" in again["Location"]


def test_user_cannot_use_up_another_users_authorisations(browser, application, make_user, limited):
    limited(authorize="1/h")
    browser.ask(application)
    assert browser.ask(application).status_code == 429

    assert Browser(make_user("bea@example.com")).ask(application).status_code == 200


def test_visitors_of_one_address_cannot_use_up_an_application_for_others(application, limited):
    limited(authorize_address="2/h")

    def visit(address):
        return Client(REMOTE_ADDR=address).get("/auth", {"client_id": application.client_id, "response_type": "code"})

    assert [visit("198.51.100.1").status_code for _ in range(3)] == [302, 302, 429]
    assert visit("192.0.2.1").status_code == 302


def test_request_that_is_refused_anyway_is_not_counted(organisation, limited, browser):
    limited(authorize="1/h", authorize_address="1/h")

    answers = [browser.client.get("/auth", {"client_id": "unknown"}).status_code for _ in range(3)]

    assert answers == [400] * 3


# --- the account -----------------------------------------------------------------------------------------------


def test_changes_of_an_account_are_limited_for_that_account(organisation, browser, make_user, limited):
    limited(account="2/h")
    bea = Browser(make_user("bea@example.com"))

    answers = [browser.client.post("/account/email/", {"email": "not an address"}) for _ in range(3)]

    assert [answer.status_code for answer in answers][-1] == 429
    assert_page(answers[-1])
    assert 'value="not an address"' in answers[-1].content.decode()
    assert bea.client.post("/account/email/", {"email": "x"}).status_code != 429
    assert browser.client.get("/account/email/").status_code != 429, "looking is free"


def test_page_never_has_a_password_or_code_in_it(organisation, browser, limited, password):
    limited(account="1/h")
    fields = {"oldpassword": f"not-{password}", "password1": "new-secret-1", "password2": "new-secret-1"}
    browser.client.post("/account/password/change/", fields)

    refused = browser.client.post("/account/password/change/", fields)

    assert_page(refused)
    for value in fields.values():
        assert value not in refused.content.decode()
    assert refused.context["kept"] is None
    assert 'href="/account/password/change/"' in refused.content.decode()


def test_what_was_typed_is_escaped(organisation, browser, limited):
    limited(account="1/h")
    browser.client.post("/account/email/", {"email": "x"})

    refused = browser.client.post("/account/email/", {"email": '"><script>alert(1)</script>'})

    assert b"<script>alert" not in refused.content


def test_very_long_text_is_not_carried_along(rf):
    assert _kept_fields(rf.post("/", {"text": "x" * 100_001})) is None
    assert _kept_fields(rf.post("/", {"text": "x" * 1000, "more": ["a", "b"]})) == [
        ("text", "x" * 1000),
        ("more", "a"),
        ("more", "b"),
    ]


@pytest.mark.parametrize("path", ["/account/confirm-email/guess/", "/account/password/reset/key/1-set-password/"])
def test_link_of_a_mail_can_be_guessed_only_slowly(organisation, limited, path):
    limited(mail_link="2/h")
    client = Client()

    answers = [client.post(path) for _ in range(4)]

    assert [answer.status_code == 429 for answer in answers] == [False, False, True, True]
    assert_page(answers[-1])


def test_passkey_can_be_guessed_only_slowly(organisation, limited):
    limited(passkey_address="2/h")
    client = Client()

    answers = [client.post("/account/2fa/webauthn/login/", {"credential": "{}"}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [302, 302, 429, 429]
    assert_page(answers[-1])


# --- the portal ------------------------------------------------------------------------------------------------


def test_registration_form_that_is_sent_too_often_keeps_what_was_typed(organisation, browser, limited):
    limited(registration="2/h")

    answers = [browser.client.post("/developer/add", {"name": "Kept name"}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [400, 400, 429]
    assert "That was too often." in words_of(answers[-1])
    assert 'value="Kept name"' in answers[-1].content.decode()
    assert int(answers[-1]["Retry-After"]) > 0


@pytest.fixture
def teams(make_user, make_application):
    """Browsers of two owners, each with an application."""
    pairs = []
    for number in range(2):
        owner = make_user(f"owner{number}@example.com")
        row: Application = make_application("portal", name=f"App {number}").row
        TeamMember.objects.create(application=row, user=owner, role=Role.OWNER)
        pairs.append((Browser(owner).client, f"/developer/apps/{row.pk}/team/invite"))
    return pairs


def invite(team, email="somebody@example.com"):
    client, path = team
    return client.post(path, {"email": email, "role": "viewer"})


def test_developer_invites_nobody_more_often_than_the_limit_whichever_teams_they_are_on(
    teams, limited, mails, make_application
):
    limited(invitation="3/d")
    client, path = teams[0]
    second: Application = make_application("portal", name="Second").row
    TeamMember.objects.create(application=second, user=TeamMember.objects.first().user, role=Role.OWNER)
    both = [(client, path), (client, f"/developer/apps/{second.pk}/team/invite")]

    answers = [invite(team, email) for team in both for email in ("somebody@example.com", "SOMEBODY@example.com")]

    assert [answer.status_code for answer in answers] == [302, 302, 302, 429]
    assert "This address got many invitations of late." in words_of(answers[-1])
    assert int(answers[-1]["Retry-After"]) > 0
    assert invite(teams[0], "other@example.com").status_code == 302
    assert invite(teams[1]).status_code == 302, "nor does anybody use up what others may send"
    assert len([message for message in mails() if message.to == ["somebody@example.com"]]) == 4


def test_nobody_gets_more_invitations_than_the_limit_of_all_developers(teams, limited):
    limited(invitation="10/d", invitation_recipient="3/d")

    statuses = [invite(team).status_code for team in teams * 2]

    assert statuses == [302, 302, 302, 429]


def test_invitation_that_is_refused_for_another_reason_is_not_counted(teams, limited, make_user):
    limited(invitation="2/d", invitation_recipient="2/d")
    somebody = make_user("somebody@example.com")
    application = Application.objects.get(name="App 0")
    membership = TeamMember.objects.create(application=application, user=somebody, role=Role.VIEWER)
    assert [invite(teams[0]).status_code for _ in range(4)] == [400] * 4
    membership.delete()

    assert [invite(teams[0]).status_code for _ in range(3)] == [302, 302, 429]
