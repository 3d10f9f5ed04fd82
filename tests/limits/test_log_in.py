"""Guessing passwords and codes is slow, and nobody can lock somebody else out by it."""

import os
import re
import subprocess
import sys
import time
import uuid

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.core.signing import dumps

from apps.accounts import known_browsers
from apps.accounts.guard import spelt_one_way
from apps.audit.models import AuditEvent, AuditPerson
from tests.limits.conftest import Visitor
from tests.protocol.test_consent import words_of

LOCKED = "There were too many wrong passwords."


@pytest.fixture
def attack(visitor):
    """Try so many wrong passwords, each from an address of its own; return the answers' statuses."""

    def tries(email, count, first=1):
        return [visitor(f"198.51.100.{first + number}").log_in(email, "wrong").status_code for number in range(count)]

    return tries


def test_wrong_passwords_for_one_account_are_slowed_down_however_many_addresses_they_come_from(
    member, password, visitor, attack, limited, store, clock
):
    limited(login="5/h", login_address="100/h")

    assert attack(member.email, 7) == [200] * 5 + [429] * 2
    refused = visitor("203.0.113.5").log_in(member.email, password)
    assert refused.status_code == 429
    assert LOCKED in words_of(refused)
    assert member.email in refused.content.decode(), "what was typed stays"
    assert password not in refused.content.decode()
    assert "no-store" in refused["Cache-Control"]
    wait = int(refused["Retry-After"])
    assert 0 < wait <= 3600

    clock.now += wait
    assert attack(member.email, 6) == [200] * 5 + [429]


def test_stranger_cannot_lock_out_a_browser_in_which_the_user_has_logged_in_before(
    member, password, visitor, attack, limited, store
):
    limited(login="3/h", login_address="100/h")
    known = visitor()
    known.log_in(member.email, password)
    known.client.post("/account/logout/")
    assert not known.is_in

    assert attack(member.email, 4)[-1] == 429

    assert known.log_in(member.email, password).status_code == 302
    assert known.is_in


def test_stranger_at_the_same_address_cannot_lock_out_a_known_browser_either(member, password, visitor, limited):
    limited(login="100/h", login_address="3/h")
    known = visitor("192.0.2.1")
    known.log_in(member.email, password)
    known.client.post("/account/logout/")
    stranger = visitor("192.0.2.1")

    assert [stranger.log_in(f"{n}@example.com", "x").status_code for n in range(4)] == [200] * 3 + [429]

    assert known.log_in(member.email, password).status_code == 302


def test_known_browser_has_a_limit_of_its_own(member, password, visitor, limited, attack):
    limited(login="3/h")
    known = visitor()
    known.log_in(member.email, password)
    known.client.post("/account/logout/")

    assert [known.log_in(member.email, "wrong").status_code for _ in range(5)] == [200] * 3 + [429] * 2
    assert known.log_in(member.email, password).status_code == 429
    assert visitor().log_in(member.email, password).status_code == 302, "the strangers' bucket is untouched"


def test_whoever_comes_by_the_mail_for_a_forgotten_password_gets_in(member, visitor, attack, limited, mails):
    limited(login="3/h", login_address="100/h", mail="5/h")
    assert attack(member.email, 4)[-1] == 429
    new = visitor()
    assert new.log_in(member.email, "wrong").status_code == 429
    new.client.post("/account/password/reset/", {"email": member.email})
    link = re.search(r"http://testserver(/account/password/reset/key/\S+)", mails()[-1].body).group(1)
    form = new.client.get(link, follow=True).request["PATH_INFO"]
    chosen = f"p-{uuid.uuid4()}"
    assert new.client.post(form, {"password1": chosen, "password2": chosen}).status_code == 302

    assert new.log_in(member.email, chosen).status_code == 302
    assert new.is_in


def test_right_passwords_are_not_counted(member, password, visitor, limited, store):
    limited(login="3/h", login_address="3/h")

    for _ in range(5):
        newcomer = visitor()
        assert newcomer.log_in(member.email, password).status_code == 302


def test_own_log_ins_in_between_do_not_give_a_guesser_more_tries(member, make_user, password, visitor, limited):
    limited(login="100/h", login_address="4/h")
    own = make_user("eve@example.com")
    statuses = []
    for _ in range(6):
        guesser = visitor("192.0.2.66")
        statuses.append(guesser.log_in(member.email, "wrong").status_code)
        guesser.log_in(own.email, password)

    assert statuses == [200] * 4 + [429] * 2


def test_parallel_tries_are_no_more_than_the_limit(at_once, member, visitor, limited, store):
    limited(login="5/h")
    calls = [
        lambda number=number: Visitor(f"198.51.100.{number}").log_in(member.email, "wrong").status_code
        for number in range(9)
    ]

    assert sorted(at_once(calls)) == [200] * 5 + [429] * 4


def test_unknown_account_is_refused_like_a_known_one(member, visitor, limited, attack):
    limited(login="3/h")
    attack(member.email, 3)
    attack("nobody@example.com", 3)

    known, unknown = (visitor().log_in(email, "wrong") for email in (member.email, "nobody@example.com"))

    assert known.status_code == unknown.status_code == 429
    shown = words_of(known).replace(member.email, "…")
    waits = [re.sub(r"\d+ (seconds?|minutes?)", "…", text) for text in (shown, words_of(unknown))]
    assert waits[0] == waits[1].replace("nobody@example.com", "…")


@pytest.mark.parametrize("spelling", ["ADA@example.com", " ada@EXAMPLE.com ", "aſa@example.com", "ａda@example.com"])
def test_other_spellings_of_an_address_share_its_bucket(spelling):
    wanted = "asa@example.com" if "ſ" in spelling else "ada@example.com"

    assert spelt_one_way(spelling) == spelt_one_way(wanted)


def test_other_spelling_that_logs_in_has_no_tries_of_its_own(make_user, password, visitor, limited):
    """The log-in compares e-mail addresses in Unicode, so that a long s is an s."""
    asa = make_user("asa@example.com")
    limited(login="3/h")
    for _ in range(3):
        visitor().log_in(asa.email, "wrong")

    assert visitor().log_in("aſa@example.com", password).status_code == 429


def test_refused_tries_are_one_event_about_the_account(member, visitor, attack, limited):
    limited(login="3/h")
    attack(member.email, 6)

    [event] = AuditEvent.objects.filter(tag="visitor:limit:reached")
    assert event.details == {"limit": "login"}
    about = AuditPerson.objects.get(event=event, part="about")
    assert about.user_id == member.pk


def test_limits_that_are_off_refuse_nobody_and_set_no_cookie(member, password, visitor, settings, attack):
    settings.RATE_LIMITS = False
    assert attack(member.email, 30) == [200] * 30
    someone = visitor()
    someone.log_in(member.email, password)

    assert settings.KNOWN_BROWSER_COOKIE_NAME not in someone.client.cookies


# --- the cookie --------------------------------------------------------------------------------------------


@pytest.fixture
def cookie(visitor, member, password, limited, settings):
    """The cookie of a browser in which the member has logged in."""
    limited(login="3/h")
    known = visitor()
    known.log_in(member.email, password)
    return known.client.cookies[settings.KNOWN_BROWSER_COOKIE_NAME]


def test_cookie_is_for_this_host_and_no_script(cookie, settings, member):
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert cookie["path"] == "/"
    assert cookie["domain"] == ""
    assert cookie["max-age"] == known_browsers.LIFETIME
    assert bool(cookie["secure"]) == settings.SESSION_COOKIE_SECURE
    assert str(member.pk) not in cookie.value


def test_cookie_name_binds_it_to_the_host_where_there_is_tls():
    environment = {**os.environ, "INSECURE_HTTP": "0", "ENVIRONMENT": "development"}
    question = "from config import settings; print(settings.KNOWN_BROWSER_COOKIE_NAME)"
    answer = subprocess.run([sys.executable, "-c", question], env=environment, capture_output=True, text=True)

    assert answer.stdout.strip() == "__Host-countersign_browser"


def with_cookie(visitor, settings, value):
    new = visitor()
    new.client.cookies[settings.KNOWN_BROWSER_COOKIE_NAME] = value
    return new


def test_cookie_that_is_changed_or_signed_by_somebody_else_is_nothing(
    cookie, visitor, settings, member, password, attack
):
    attack(member.email, 5)
    changed = cookie.value[:-2] + ("AA" if cookie.value[-2:] != "AA" else "BB")
    foreign = dumps([["0" * 24, "1" * 16, "2" * 24]], key="other", salt="known-browser")

    for value in (changed, foreign, "x", "x" * 3000, ""):
        assert with_cookie(visitor, settings, value).log_in(member.email, password).status_code == 429
    assert with_cookie(visitor, settings, cookie.value).log_in(member.email, password).status_code == 302


def test_cookie_opens_no_other_account(cookie, visitor, settings, make_user, password, attack):
    other = make_user("bea@example.com")
    attack(other.email, 5)

    assert with_cookie(visitor, settings, cookie.value).log_in(other.email, password).status_code == 429


def test_cookie_ends_with_the_password(cookie, visitor, settings, member, attack):
    """Whoever was in the account before its password was changed is a stranger to it."""
    chosen = f"p-{uuid.uuid4()}"
    member.set_password(chosen)
    member.save()
    attack(member.email, 5)

    assert with_cookie(visitor, settings, cookie.value).log_in(member.email, chosen).status_code == 429


def test_browser_that_changes_the_password_stays_known(visitor, member, password, limited, attack):
    limited(login="3/h")
    known = visitor()
    known.log_in(member.email, password)
    chosen = f"p-{uuid.uuid4()}"
    known.client.post("/account/reauthenticate/", {"password": password})
    changed = known.client.post(
        "/account/password/change/", {"oldpassword": password, "password1": chosen, "password2": chosen}
    )
    assert changed.status_code == 302
    known.client.post("/account/logout/")
    attack(member.email, 5)

    assert known.log_in(member.email, chosen).status_code == 302


def test_browser_is_known_to_a_few_accounts_at_once(visitor, make_user, password, limited, attack):
    limited(login="3/h")
    shared = visitor()
    people = [make_user(f"n{number}@example.com") for number in range(known_browsers.MOST_ACCOUNTS + 1)]
    for person in people:
        shared.log_in(person.email, password)
        shared.client.post("/account/logout/")
    for person in people:
        attack(person.email, 4)

    statuses = [shared.log_in(person.email, "wrong").status_code for person in people]
    assert statuses == [429] + [200] * known_browsers.MOST_ACCOUNTS


def test_logged_in_user_who_mistypes_has_tries_that_no_stranger_can_use_up(visitor, member, password, limited, attack):
    limited(login="3/h")
    inside = visitor()
    inside.log_in(member.email, password)
    attack(member.email, 5)

    statuses = [inside.client.post("/account/reauthenticate/", {"password": "wrong"}).status_code for _ in range(4)]
    assert statuses == [200] * 3 + [429]


# --- the second factor -----------------------------------------------------------------------------------------


@pytest.fixture
def protected(member):
    """The member, with an authenticator app; returns what gives its present code."""
    secret = totp.generate_totp_secret()
    totp.TOTP.activate(member, secret)
    RecoveryCodes.activate(member)

    def code():
        return totp.format_hotp_value(totp.hotp_value(secret, int(time.time()) // 30))

    return code


def try_code(someone, code):
    return someone.client.post("/account/2fa/authenticate/", {"code": code})


def test_wrong_codes_are_counted_for_the_account_whatever_session_they_are_sent_in(
    protected, member, password, visitor, limited, store
):
    limited(second_factor="4/h")
    statuses = []
    for number in range(6):
        guesser = visitor(f"198.51.100.{number}")
        assert guesser.log_in(member.email, password).status_code == 302
        statuses.append(try_code(guesser, "000000"))

    assert [answer.status_code for answer in statuses] == [200] * 4 + [429] * 2
    assert "There were too many wrong codes." in words_of(statuses[-1])
    assert int(statuses[-1]["Retry-After"]) > 0
    late = visitor()
    late.log_in(member.email, password)
    assert try_code(late, protected()).status_code == 429, "nor is the right one looked at"


def test_stranger_with_the_password_cannot_lock_out_the_known_browser_by_wrong_codes(
    protected, member, password, visitor, limited
):
    limited(second_factor="3/h")
    known = visitor()
    known.log_in(member.email, password)
    code = RecoveryCodes(Authenticator.objects.get(type="recovery_codes")).get_unused_codes()[0]
    assert try_code(known, code).status_code == 302
    assert known.is_in
    known.client.post("/account/logout/")
    stranger = visitor()
    stranger.log_in(member.email, password)
    assert [try_code(stranger, "000000").status_code for _ in range(4)] == [200] * 3 + [429]

    known.log_in(member.email, password)
    assert try_code(known, protected()).status_code == 302
    assert known.is_in


def test_browser_is_known_only_after_the_second_factor(protected, member, password, visitor, limited, settings):
    limited(second_factor="3/h", login="3/h")
    guesser = visitor()
    guesser.log_in(member.email, password)

    assert settings.KNOWN_BROWSER_COOKIE_NAME not in guesser.client.cookies
    try_code(guesser, "000000")
    assert settings.KNOWN_BROWSER_COOKIE_NAME not in guesser.client.cookies


# --- sign-up and mails -----------------------------------------------------------------------------------------


def test_sign_ups_from_one_address_are_limited_and_keep_what_was_typed(visitor, limited):
    limited(signup="2/h")
    someone = visitor()

    def sign_up(number):
        fields = {"email": f"new{number}@example.com", "password1": f"p-{uuid.uuid4()}"}
        return someone.client.post("/account/signup/", {**fields, "first_name": "New", "last_name": "Comer"})

    assert [sign_up(number).status_code for number in range(2)] == [302, 302]
    refused = sign_up(3)

    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 3600
    assert 'value="new3@example.com"' in refused.content.decode()
    assert "That was too often." in words_of(refused)
    assert not EmailAddress.objects.filter(email="new3@example.com").exists()


@pytest.mark.parametrize("has_account", [True, False])
def test_nobody_gets_more_mails_for_a_forgotten_password_than_the_limit(visitor, member, limited, has_account, mails):
    limited(mail="2/h", password_reset="100/h")
    email = member.email if has_account else "nobody@example.com"

    answers = [
        visitor(f"198.51.100.{number}").client.post("/account/password/reset/", {"email": email}) for number in range(5)
    ]

    assert {(answer.status_code, answer["Location"]) for answer in answers} == {(302, "/account/password/reset/done/")}
    assert [message.to for message in mails()] == [[email]] * 2


def test_mails_of_one_kind_do_not_keep_back_those_of_another(visitor, member, limited, mails):
    limited(mail="1/h")
    fields = {"email": member.email, "password1": f"p-{uuid.uuid4()}", "first_name": "A", "last_name": "B"}
    for _ in range(3):
        visitor().client.post("/account/signup/", fields)
    assert len(mails()) == 1

    visitor().client.post("/account/password/reset/", {"email": member.email})
    [message] = mails()
    assert "/account/password/reset/key/" in message.body


def test_mail_about_a_change_of_the_account_always_goes(visitor, member, password, limited, mails):
    limited(mail="1/h")
    known = visitor()
    known.log_in(member.email, password)
    known.client.post("/account/reauthenticate/", {"password": password})
    now = password
    for _ in range(3):
        chosen = f"p-{uuid.uuid4()}"
        known.client.post("/account/password/change/", {"oldpassword": now, "password1": chosen, "password2": chosen})
        known.log_in(member.email, chosen)
        known.client.post("/account/reauthenticate/", {"password": chosen})
        now = chosen

    assert len([message for message in mails() if "password" in message.subject.lower()]) == 3


def test_requests_of_mails_from_one_address_are_limited(visitor, limited):
    limited(password_reset="2/h", mail="100/h")
    someone = visitor()

    answers = [
        someone.client.post("/account/password/reset/", {"email": f"n{number}@example.com"}) for number in range(3)
    ]

    assert [answer.status_code for answer in answers] == [302, 302, 429]
    assert 'value="n2@example.com"' in answers[-1].content.decode()
    assert int(answers[-1]["Retry-After"]) > 0
