"""Guessing passwords and codes is slow, and nobody can lock somebody else out by it."""

import os
import re
import subprocess
import sys
import uuid

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal import auth as totp
from django.core.signing import dumps
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts import known_browsers
from apps.accounts.guard import spelt_one_way
from apps.audit.models import AuditEvent, AuditPerson
from apps.organisations.models import Organisation
from apps.sealing import derive_secret
from tests.conftest import totp_code
from tests.limits.conftest import Visitor
from tests.limits.passkeys import Passkey
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


@pytest.fixture
def choose_by_mail(mails):
    """Ask for a mail about a forgotten password, choose one by its link in that browser; returns the password."""

    def choose(someone, email):
        asked = someone.client.post("/account/password/reset/", {"email": email})
        assert asked.status_code == 302
        [message] = [message for message in mails() if "/password/reset/key/" in message.body]
        link = re.search(r"https?://[^/]+(/account/password/reset/key/\S+)", message.body).group(1)
        form = someone.client.get(link, follow=True).request["PATH_INFO"]
        chosen = f"p-{uuid.uuid4()}"
        assert someone.client.post(form, {"password1": chosen, "password2": chosen}).status_code == 302
        return chosen

    return choose


def test_mail_opened_elsewhere_lets_its_reader_in_on_any_browser_and_at_any_organisation(
    member, visitor, attack, limited, choose_by_mail, other_organisation
):
    limited(login="3/h")
    assert attack(member.email, 4)[-1] == 429
    chosen = choose_by_mail(visitor(), member.email)
    elsewhere = visitor()
    elsewhere.client.defaults["SERVER_NAME"] = other_organisation.domain

    assert elsewhere.log_in(member.email, chosen).status_code == 302
    assert elsewhere.is_in
    assert attack(member.email, 4) == [200] * 3 + [429]


def test_new_password_gives_no_tries_of_an_account_whose_address_one_has_only_claimed(
    member, make_user, visitor, attack, limited, choose_by_mail
):
    limited(login="3/h")
    guesser = make_user("eve@example.com")
    EmailAddress.objects.create(user=guesser, email=member.email, verified=False)
    attack(member.email, 3)
    choose_by_mail(visitor(), guesser.email)

    assert visitor().log_in(member.email, "wrong").status_code == 429


def test_mails_asked_for_at_another_organisation_do_not_keep_back_those_of_this_one(
    visitor, member, attack, limited, other_organisation, choose_by_mail, mails
):
    limited(login="3/h", mail="2/h")
    attack(member.email, 4)
    for _ in range(3):
        stranger = visitor()
        stranger.client.defaults["SERVER_NAME"] = other_organisation.domain
        stranger.client.post("/account/password/reset/", {"email": member.email})
    assert len(mails()) == 2
    owner = visitor()

    assert owner.log_in(member.email, choose_by_mail(owner, member.email)).status_code == 302


def test_address_that_is_refused_uses_up_no_tries_of_an_account(member, password, visitor, limited):
    limited(login="3/h", login_address="1/h")
    stranger = visitor("198.51.100.9")

    assert [stranger.log_in(member.email, "wrong").status_code for _ in range(6)] == [200] + [429] * 5
    assert visitor("192.0.2.1").log_in(member.email, "wrong").status_code == 200
    assert visitor("192.0.2.2").log_in(member.email, password).status_code == 302


# --- a client whose address is odd -----------------------------------------------------------------------------


@pytest.mark.parametrize("forwarded", ["garbage", "unknown", "2001:db8::1%eth0", "::ffff:192.0.2.7", "[", "a, b, c"])
@pytest.mark.parametrize("proxies", [1, 2])
def test_account_works_whatever_the_address_header_says(member, password, settings, visitor, mails, forwarded, proxies):
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = proxies
    someone = visitor()
    someone.client.defaults["HTTP_X_FORWARDED_FOR"] = forwarded
    chosen = f"p-{uuid.uuid4()}"

    assert someone.log_in(member.email, password).status_code == 302
    assert someone.client.get("/account/").status_code == 200
    changed = change_password(someone, password, chosen)

    assert changed.status_code == 302
    assert someone.log_in(member.email, chosen).status_code == 302
    [message] = [message for message in mails() if "password" in message.subject.lower()]
    known = {"2001:db8::1%eth0": "2001:db8::1", "::ffff:192.0.2.7": "192.0.2.7"}
    where = known.get(forwarded, "") if proxies == 1 else ""
    assert (where or "an address that could not be told") in message.body


def change_password(someone, old, new):
    return someone.client.post("/account/password/change/", {"oldpassword": old, "password1": new, "password2": new})


# --- other doors at which the password is asked for --------------------------------------------------------------


def test_password_cannot_be_guessed_faster_where_it_is_changed(member, password, visitor, limited):
    limited(login="3/h", account="100/h")
    inside = visitor()
    inside.log_in(member.email, password)
    chosen = f"p-{uuid.uuid4()}"

    answers = [change_password(inside, "wrong", chosen) for _ in range(2)]
    answers.append(inside.client.post("/account/reauthenticate/", {"password": "wrong"}))
    assert [answer.status_code for answer in answers] == [200] * 3
    refused = change_password(inside, password, chosen)

    assert refused.status_code == 429
    assert LOCKED in words_of(refused)
    assert int(refused["Retry-After"]) > 0
    member.refresh_from_db()
    assert member.check_password(password)


def test_right_password_where_it_is_changed_is_not_counted(member, password, visitor, limited):
    limited(login="1/h")
    inside = visitor()
    inside.log_in(member.email, password)

    for _ in range(3):
        assert change_password(inside, password, "1").status_code == 200, "too short"
    assert change_password(inside, password, f"p-{uuid.uuid4()}").status_code == 302


def test_administrators_change_their_password_at_the_same_door(admin_client):
    answer = admin_client.post("/admin/password_change/", {"old_password": "a", "new_password1": "b"})

    assert (answer.status_code, answer["Location"]) == (302, "/account/password/change/")


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

    return lambda: totp_code(secret)


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


def test_new_passwords_by_mail_give_no_new_tries_of_the_second_factor(
    protected, member, visitor, limited, choose_by_mail
):
    limited(second_factor="3/h", mail="100/h")
    statuses = []
    for _ in range(4):
        reader = visitor()
        reader.log_in(member.email, choose_by_mail(reader, member.email))
        statuses += [try_code(reader, "000000").status_code for _ in range(2)]

    assert statuses == [200] * 3 + [429] * 5


def test_stranger_cannot_use_up_the_codes_of_who_came_by_the_mail(
    protected, member, password, visitor, limited, choose_by_mail
):
    limited(second_factor="3/h")
    stranger = visitor()
    stranger.log_in(member.email, password)
    assert [try_code(stranger, "000000").status_code for _ in range(4)][-1] == 429
    owner = visitor()
    owner.log_in(member.email, choose_by_mail(owner, member.email))

    assert try_code(owner, protected()).status_code == 302
    assert owner.is_in


def test_browsers_known_from_before_the_second_factor_have_no_tries_of_their_own(
    member, password, visitor, limited, request
):
    limited(second_factor="3/h")
    browsers = [visitor() for _ in range(4)]
    for one in browsers:
        one.log_in(member.email, password)
        one.client.post("/account/logout/")
    request.getfixturevalue("protected")
    for one in browsers:
        one.log_in(member.email, password)

    statuses = [try_code(one, "000000").status_code for one in browsers for _ in range(2)]
    assert statuses == [200] * 3 + [429] * 5


def test_browser_that_set_up_the_second_factor_is_known_for_it(transactional_db, member, password, visitor, limited):
    limited(second_factor="3/h")
    own = visitor()
    own.log_in(member.email, password)
    own.client.post("/account/reauthenticate/", {"password": password})
    secret = own.client.get("/account/2fa/totp/activate/").context["form"].secret
    code = totp_code(secret)
    assert own.client.post("/account/2fa/totp/activate/", {"code": code}).status_code == 302
    own.client.post("/account/logout/")
    stranger = visitor()
    stranger.log_in(member.email, password)
    assert [try_code(stranger, "000000").status_code for _ in range(4)][-1] == 429

    own.log_in(member.email, password)
    assert try_code(own, "000000").status_code == 200, "tries of its own"


def test_browser_known_for_the_second_factor_stays_so_when_it_changes_the_password(
    protected, member, password, visitor, limited
):
    limited(second_factor="3/h", login="100/h")
    own = visitor()
    own.log_in(member.email, password)
    assert try_code(own, protected()).status_code == 302
    chosen = f"p-{uuid.uuid4()}"
    own.client.post("/account/reauthenticate/", {"password": password})
    assert change_password(own, password, chosen).status_code == 302
    stranger = visitor()
    stranger.log_in(member.email, chosen)
    assert [try_code(stranger, "000000").status_code for _ in range(4)][-1] == 429

    own.log_in(member.email, chosen)
    assert try_code(own, "000000").status_code == 200


def test_cookie_of_an_older_version_is_a_strangers(cookie, visitor, settings, member, password, attack):
    attack(member.email, 5)
    old = dumps([["0" * 24, "1" * 16, "2" * 24]], key=derive_secret("known-browser").hex(), salt="known-browser")

    assert with_cookie(visitor, settings, old).log_in(member.email, password).status_code == 429


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


def sign_up(someone, email, **headers):
    fields = {"email": email, "password1": f"p-{uuid.uuid4()}", "first_name": "New", "last_name": "Comer"}
    return someone.client.post("/account/signup/", fields, headers=headers)


def test_mails_that_one_address_causes_are_limited_whoever_gets_them(visitor, limited, mails):
    limited(mail_address="3/h", signup="100/m", password_reset="100/m", mail="100/h")
    someone = visitor()
    answers = [
        sign_up(visitor(), "n1@example.com"),
        someone.client.post("/account/password/reset/", {"email": "n2@example.com"}),
        # A script's request is answered 200, and the mail goes all the same.
        sign_up(visitor(), "n3@example.com", **{"X-Requested-With": "XMLHttpRequest"}),
        sign_up(visitor(), "n4@example.com"),
        someone.client.post("/account/password/reset/", {"email": "n5@example.com"}),
    ]

    assert [answer.status_code for answer in answers] == [302, 302, 200, 429, 429]
    assert 0 < int(answers[3]["Retry-After"]) <= 3600
    assert [message.to for message in mails()] == [["n1@example.com"], ["n2@example.com"], ["n3@example.com"]]
    assert sign_up(visitor("192.0.2.2"), "n4@example.com").status_code == 302


def test_new_addresses_of_accounts_are_among_the_mails_of_an_address(visitor, member, password, limited, mails):
    limited(mail_address="1/h", account="100/h", mail="100/h")
    inside = visitor()
    inside.log_in(member.email, password)
    inside.client.post("/account/reauthenticate/", {"password": password})

    answers = [inside.client.post("/account/email/", {"action_add": "", "email": f"n{n}@example.com"}) for n in "12"]

    assert [answer.status_code for answer in answers] == [302, 429]
    assert ["n2@example.com"] not in [message.to for message in mails()]


def test_form_that_sends_no_mail_is_not_counted_among_the_mails(visitor, limited):
    limited(mail_address="1/h")
    for _ in range(3):
        assert sign_up(visitor(), "no address").status_code == 200

    assert sign_up(visitor(), "new@example.com").status_code == 302


# --- the ways out, while somebody shuts the others -----------------------------------------------------------------


def reset_links(mails):
    found = [re.search(r"https?://[^/]+(/account/password/reset/key/\S+)", message.body) for message in mails()]
    return [match.group(1) for match in found if match]


def ask_for_mail(someone, email):
    assert someone.client.post("/account/password/reset/", {"email": email}).status_code == 302


def open_link(someone, link):
    """Open the link of a mail; return the address of its form, or None if the link is dead."""
    page = someone.client.get(link, follow=True)
    return page.request["PATH_INFO"] if 'name="password1"' in page.content.decode() else None


def choose(someone, form):
    chosen = f"p-{uuid.uuid4()}"
    return chosen, someone.client.post(form, {"password1": chosen, "password2": chosen})


def test_log_in_does_not_end_the_links_that_a_stranger_has_asked_for(
    member, password, visitor, attack, limited, mails, store
):
    limited(login="3/h", mail="5/h", login_address="100/h")
    known = visitor()
    known.log_in(member.email, password)
    known.client.post("/account/logout/")
    for _ in range(6):
        ask_for_mail(visitor("198.51.100.99"), member.email)
    links = reset_links(mails)
    assert len(links) == 5
    attack(member.email, 4)

    assert known.log_in(member.email, password).status_code == 302

    new = visitor("203.0.113.5")
    assert new.log_in(member.email, password).status_code == 429
    chosen, answer = choose(new, open_link(new, links[0]))
    assert answer.status_code == 302
    assert new.log_in(member.email, chosen).status_code == 302
    assert [open_link(visitor(), link) for link in links] == [None] * 5, "a new password ends all of them"


def test_log_in_lets_new_mails_for_a_forgotten_password_go(member, password, visitor, limited, mails, store):
    limited(mail="2/h")
    for _ in range(3):
        ask_for_mail(visitor("198.51.100.99"), member.email)
    assert len(mails()) == 2

    visitor().log_in(member.email, "wrong")
    ask_for_mail(visitor(), member.email)
    assert len(mails()) == 0
    visitor().log_in(member.email, password)
    ask_for_mail(visitor(), member.email)
    assert len(mails()) == 1


def test_log_in_lets_nobody_elses_mails_go(member, make_user, password, visitor, limited, mails):
    limited(mail="1/h")
    other = make_user("eve@example.com")
    EmailAddress.objects.create(user=other, email=member.email, verified=False)
    ask_for_mail(visitor(), member.email)
    visitor().log_in(other.email, password)
    ask_for_mail(visitor(), member.email)

    assert len(mails()) == 1


def test_log_in_asks_the_database_no_more_however_many_organisations_there_are(
    member, password, visitor, limited, store
):
    limited(mail="2/h", login="3/h")

    def queries():
        someone = visitor()
        with CaptureQueriesContext(connection) as seen:
            assert someone.log_in(member.email, password).status_code == 302
        asked = [query["sql"] for query in seen]
        # The sessions that there are make queries, too.
        someone.client.post("/account/logout/")
        return asked

    queries()
    before = queries()
    Organisation.objects.bulk_create(
        Organisation(name=f"Brand {number}", slug=f"brand-{number}", domain=f"{number}.example") for number in range(50)
    )
    after = queries()

    assert len(after) == len(before) > 5
    assert not any('FROM "organisations_organisation"' in sql and "WHERE" not in sql for sql in after)


@pytest.mark.parametrize("way", ["mail", "change"])
def test_new_password_lets_new_mails_go_at_every_organisation(
    way, member, password, visitor, limited, mails, other_organisation
):
    limited(mail="2/h")
    known = visitor()
    known.log_in(member.email, password)
    known.client.post("/account/reauthenticate/", {"password": password})
    elsewhere = visitor()
    elsewhere.client.defaults["SERVER_NAME"] = other_organisation.domain
    for _ in range(3):
        ask_for_mail(elsewhere, member.email)
        ask_for_mail(visitor(), member.email)
    old = reset_links(mails)
    assert len(old) == 4

    if way == "mail":
        reader = visitor()
        choose(reader, open_link(reader, old[-1]))
    else:
        assert change_password(known, password, f"p-{uuid.uuid4()}").status_code == 302

    for asks in (elsewhere, visitor()):
        ask_for_mail(asks, member.email)
        [link] = reset_links(mails)
        assert open_link(asks, link)
        assert not any(open_link(asks, dead) for dead in old)


def test_link_is_good_once(member, visitor, mails):
    ask_for_mail(visitor(), member.email)
    [link] = reset_links(mails)
    first, second = visitor(), visitor()
    form, form_of_second = open_link(first, link), open_link(second, link)

    assert choose(first, form)[1].status_code == 302
    assert "password1" not in choose(second, form_of_second)[1].content.decode(), "though it was open already"
    assert open_link(visitor(), link) is None


@pytest.mark.parametrize("change", ["email", "added", "suspended"])
def test_link_ends_with_the_addresses_of_the_account(change, member, visitor, mails):
    ask_for_mail(visitor(), member.email)
    [link] = reset_links(mails)
    assert open_link(visitor(), link)
    if change == "email":
        member.email = "new@example.com"
    elif change == "added":
        EmailAddress.objects.create(user=member, email="second@example.com", verified=False)
    else:
        member.is_active = False
    member.save()

    assert open_link(visitor(), link) is None


def test_link_is_good_for_a_day(member, visitor, mails, settings):
    ask_for_mail(visitor(), member.email)
    [link] = reset_links(mails)
    assert settings.PASSWORD_RESET_TIMEOUT == 86_400

    settings.PASSWORD_RESET_TIMEOUT = -1
    assert open_link(visitor(), link) is None


def test_links_work_beside_somebody_at_the_same_address_who_sends_wrong_ones(member, visitor, limited, mails, store):
    limited(mail_link="3/h", password_reset="3/h", signup="100/h")
    owner, newcomer, insider = visitor(), visitor(), visitor()
    ask_for_mail(owner, member.email)
    [link] = reset_links(mails)
    sign_up(newcomer, "new@example.com")
    [message] = mails()
    confirming = re.search(r"https?://[^/]+(/account/confirm-email/\S+)", message.body).group(1)
    for _ in range(4):
        insider.client.post("/account/password/reset/", {"email": "garbage"})
    wrong = [insider.client.post("/account/confirm-email/guess/").status_code for _ in range(5)]
    assert wrong == [404] * 3 + [429] * 2
    assert insider.client.post("/account/password/reset/key/1-set-password/").status_code == 429

    form = open_link(owner, link)
    assert owner.client.post(form, {"password1": "a", "password2": "b"}).status_code == 200, "to be corrected"
    assert choose(owner, form)[1].status_code == 302
    assert newcomer.client.post(confirming).status_code == 302
    assert EmailAddress.objects.get(email="new@example.com").verified


@pytest.mark.parametrize("is_known", [True, False])
def test_passkeys_work_beside_somebody_at_the_same_address_who_guesses(
    is_known, member, password, visitor, limited, store
):
    limited(login_address="3/h", passkey_address="3/h", login="100/h")
    passkey, owner, insider = Passkey(member), visitor(), visitor()
    if is_known:
        owner.log_in(member.email, password)
        owner.client.post("/account/logout/")
    guesses = [insider.log_in(f"n{number}@example.com", "wrong").status_code for number in range(4)]
    assert guesses == [200] * 3 + [429]
    wrong = [insider.client.post("/account/2fa/webauthn/login/", {"credential": "{}"}) for _ in range(4)]
    assert [answer.status_code for answer in wrong] == [302] * 3 + [429]

    assert passkey.log_in(owner.client).status_code == 302
    assert owner.is_in


def test_answer_that_has_looked_at_no_passkey_counts_for_none(visitor, limited):
    limited(passkey_address="1/h")
    guesser = Client(enforce_csrf_checks=True)

    refused = [guesser.post("/account/2fa/webauthn/login/", {"credential": "{}"}).status_code for _ in range(3)]
    assert refused == [403] * 3
    wrong = [visitor().client.post("/account/2fa/webauthn/login/", {"credential": "{}"}) for _ in range(2)]
    assert [answer.status_code for answer in wrong] == [302, 429]


def test_server_that_fails_counts_for_no_passkey(visitor, limited, monkeypatch):
    def fail(*args, **kwargs):
        raise RuntimeError("not about the passkey")

    limited(passkey_address="1/h")
    monkeypatch.setattr("allauth.mfa.webauthn.forms.auth.parse_authentication_response", fail)
    client = Client(raise_request_exception=False)

    answers = [client.post("/account/2fa/webauthn/login/", {"credential": '{"id": "x"}'}).status_code for _ in range(3)]

    assert answers == [500] * 3


def test_passkey_of_somebody_else_opens_nothing_and_counts(member, make_user, visitor, limited):
    limited(passkey_address="1/h")
    passkey, guesser = Passkey(member), visitor()
    passkey._user = make_user("eve@example.com")

    assert [passkey.log_in(guesser.client).status_code for _ in range(2)] == [302, 429]
    assert not guesser.is_in
