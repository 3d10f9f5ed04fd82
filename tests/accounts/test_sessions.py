"""Sessions of browsers in which nobody is logged in: anybody can begin one, so they are short, small and few."""

import json
import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from apps.accounts.sessions import ANONYMOUS_LIFETIME
from apps.accounts.tasks import delete_expired_sessions
from tests.conftest import Browser, query_of
from tests.limits.conftest import limited  # noqa: F401 (a fixture)


def pass_time(**span):
    """Let all sessions have been begun so much earlier."""
    for row in Session.objects.all():
        Session.objects.filter(pk=row.pk).update(expire_date=row.expire_date - timedelta(**span))


def lifetime(client):
    return (Session.objects.get(pk=client.session.session_key).expire_date - timezone.now()).total_seconds()


def test_session_lasts_two_hours_until_somebody_logs_in(application, member, password, settings):
    visitor = Browser()
    page = visitor.ask(application)

    assert lifetime(visitor.client) == pytest.approx(ANONYMOUS_LIFETIME, abs=60)
    assert ANONYMOUS_LIFETIME == 7_200
    cookie = visitor.client.cookies[settings.SESSION_COOKIE_NAME]
    assert cookie["max-age"] == ANONYMOUS_LIFETIME

    answer = visitor.client.post(page["Location"], {"login": member.email, "password": password})
    assert answer.status_code == 302
    assert visitor.client.get(answer["Location"]).status_code == 200, "the consent page"
    assert lifetime(visitor.client) == pytest.approx(settings.SESSION_COOKIE_AGE, abs=60)


def test_session_that_nobody_went_on_with_is_deleted(application, member):
    Browser().ask(application)
    inside = Browser(member)
    pass_time(hours=2, minutes=1)

    assert delete_expired_sessions(timestamp=0) == 1
    assert [row.pk for row in Session.objects.all()] == [inside.client.session.session_key]


def sign_up(visitor, page):
    where = page["Location"].replace("/account/login/", "/account/signup/")
    fields = {"email": "new@example.com", "password1": f"p-{uuid.uuid4()}", "first_name": "New", "last_name": "Comer"}
    assert visitor.client.post(where, fields).status_code == 302


def confirm(visitor, mails):
    [message] = mails()
    return visitor.client.post(re.search(r"https?://[^/]+(/account/confirm-email/\S+)", message.body).group(1))


def test_whoever_takes_their_time_to_sign_up_and_confirm_goes_on_to_the_application(application, mails):
    visitor = Browser()
    page = visitor.ask(application)
    pass_time(minutes=20)
    sign_up(visitor, page)
    pass_time(minutes=100)

    answer = confirm(visitor, mails)

    assert answer.status_code == 302
    consent = visitor.client.get(answer["Location"])
    assert consent.status_code == 200
    assert "code" in query_of(visitor.answer(consent))


def test_whoever_confirms_much_later_has_an_account_to_log_in_to(application, mails):
    visitor = Browser()
    sign_up(visitor, visitor.ask(application))
    pass_time(hours=3)

    answer = confirm(visitor, mails)

    assert answer.status_code == 302
    assert "_auth_user_id" not in visitor.client.session


# --- how many ------------------------------------------------------------------------------------------------


def test_sessions_begun_from_one_address_are_limited(application, make_application, member, limited):  # noqa: F811
    limited(new_session="2/m")
    applications = [application, make_application()]
    first = Browser()
    assert first.ask(application).status_code == 302
    assert Browser().ask(application).status_code == 302

    for one in applications:
        refused = Browser().ask(one)
        assert refused.status_code == 429
        assert int(refused["Retry-After"]) > 0
    stale = Browser()
    stale.client.cookies["countersign_session"] = stale.client.cookies["__Host-countersign_session"] = "x" * 32
    assert stale.ask(application).status_code == 429
    assert Session.objects.count() == 2

    assert first.ask(application).status_code == 302, "has a session"
    assert Browser(member).ask(application).status_code == 200
    assert "error" in query_of(Browser().ask(application, prompt="none")), "needs none"
    elsewhere = Browser()
    elsewhere.client.defaults["REMOTE_ADDR"] = "192.0.2.9"
    assert elsewhere.ask(application).status_code == 302


def test_challenges_for_passkeys_are_among_them(organisation, limited):  # noqa: F811
    limited(new_session="2/m")

    def ask(client):
        return client.get("/account/2fa/webauthn/login/", headers={"X-Requested-With": "XMLHttpRequest"}).status_code

    first = Client()
    assert [ask(first), ask(Client()), ask(Client()), ask(first)] == [200, 200, 429, 200]


# --- how much ------------------------------------------------------------------------------------------------


def test_what_is_remembered_of_requests_is_bounded_and_the_newest_of_them_leads_on(application, member, password):
    visitor = Browser()
    for number in range(6):
        page = visitor.ask(application, state=f"{number}" * 4_096, more=f"{number}" * 3_000)
        assert page.status_code == 302

    assert len(json.dumps(visitor.client.session["authorizations"])) <= 20_000
    answer = visitor.client.post(page["Location"], {"login": member.email, "password": password})
    consent = visitor.client.get(answer["Location"], follow=True)
    assert consent.status_code == 200
    assert query_of(visitor.answer(consent))["state"] == "5" * 4_096


def test_request_that_is_long_for_no_reason_is_refused(application):
    visitor = Browser()

    answer = visitor.ask(application, state="kept", more="x" * 10_000)

    assert query_of(answer)["error"] == "invalid_request"
    assert query_of(answer)["state"] == "kept"
    assert not Session.objects.exists()


def test_longest_state_is_no_such_reason(application):
    assert "error" not in query_of(Browser().ask(application, state="\N{SNOWMAN}" * 4_096))
