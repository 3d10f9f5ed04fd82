"""The consent screen: what it says, what each button does, and when it is not shown (CONTRACT section 3)."""

import html
import re
from urllib.parse import parse_qs, urlsplit

import pytest

from apps.connections.models import Connection
from apps.developers.models import RequestedScope
from apps.developers.scopes import ALL
from apps.tokens.models import Grant
from tests.conftest import CALLBACK, SCOPES, Browser, query_of
from tests.protocol.test_partner_state import standard

pytestmark = pytest.mark.spec("CONTRACT", "3")


def words_of(response):
    """Return what a person reads on the page, in one line."""
    text = re.sub(r"<(script|style|head)\b.*?</\1>|<[^>]*>", " ", response.content.decode(), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(text))


@pytest.fixture
def portal(make_application):
    """A campus application whose e-mail scope is optional."""
    return make_application("portal", optional_scopes=["contact_information.email_address"])


@pytest.fixture
def trusted(make_application):
    return make_application("connection", is_trusted=True)


@pytest.fixture
def log_in(member, password):
    """Log the member in on the log-in page that `answer` leads to; return the redirect that follows."""

    def call(browser, answer):
        page = browser.client.get(answer["Location"])
        assert page.status_code == 200
        fields = dict(re.findall(r'name="(next|notice)" value="([^"]*)"', page.content.decode()))
        fields = {name: html.unescape(value) for name, value in fields.items()}
        response = browser.client.post("/account/login/", {"login": member.email, "password": password, **fields})
        assert response.status_code == 302, words_of(response)
        return page, response

    return call


# --- what it says -----------------------------------------------------------------------------------


def test_page_names_the_organisation_the_application_and_who_is_logged_in(browser, any_application, member):
    words = words_of(browser.ask(any_application))

    for fact in ("Kuittila", any_application.row.name, member.email, "Not you?", "Allow", "Deny"):
        assert fact in words


@pytest.mark.parametrize("profile", ["connection", "portal"])
def test_page_shows_each_requested_scope_in_plain_words_with_its_reason(browser, make_application, profile):
    words = words_of(browser.ask(make_application(profile)))

    for name in SCOPES[profile]:
        assert str(ALL[name].label) in words
        assert str(ALL[name].category) in words
        assert f"We need {name}." in words


def test_page_shows_nothing_that_was_not_asked_for(browser, portal):
    words = words_of(browser.ask(portal, scope="person.full_name"))

    assert str(ALL["person.full_name"].label) in words
    assert str(ALL["student.enrolment_number"].label) not in words
    assert "We need student.enrolment_number." not in words


def test_page_says_where_the_user_will_be_sent_and_how_to_take_access_back(browser, any_application):
    page = browser.ask(any_application)

    assert "partner.example" in words_of(page)
    assert 'href="/account/connections/"' in page.content.decode()


def test_page_links_to_the_application_s_site_privacy_policy_and_terms(browser, make_application):
    links = {
        "website_url": "https://partner.example/",
        "privacy_policy_url": "https://partner.example/privacy",
        "terms_url": "https://partner.example/terms",
    }
    content = browser.ask(make_application(**links)).content.decode()

    assert all(f'href="{link}"' in content for link in links.values())


def test_what_developers_write_is_escaped(browser, make_application):
    application = make_application(name="<b>Example</b>")
    RequestedScope.objects.update(reason="<script>alert(1)</script>")

    content = browser.ask(application, state=standard({"message": "<img src=x>"})).content.decode()

    for raw in ("<b>Example", "<script>alert(1)", "<img src=x>"):
        assert raw not in content


def test_page_has_one_heading(browser, any_application):
    assert browser.ask(any_application).content.count(b"<h1") == 1


def test_form_may_lead_to_the_application_and_nowhere_else(browser, any_application):
    """A browser applies `form-action` to the redirect after the form."""
    policy = browser.ask(any_application)["Content-Security-Policy"]

    assert re.search(r"form-action 'self' https://partner\.example(;|$)", policy)
    assert "frame-ancestors 'none'" in policy


# --- the buttons ------------------------------------------------------------------------------------


def test_allow_goes_to_the_redirect_uri_with_a_code(browser, any_application):
    response = browser.answer(browser.ask(any_application, state="s"))

    assert response["Location"].startswith(f"{CALLBACK}?")
    assert set(query_of(response)) == {"code", "state", "iss"}


@pytest.mark.parametrize("profile", ["connection", "customer"])
def test_deny_goes_to_the_redirect_uri_with_access_denied(browser, make_application, profile):
    response = browser.answer(browser.ask(make_application(profile), state="s"), "deny")

    assert response["Location"].startswith(f"{CALLBACK}?")
    assert query_of(response)["error"] == "access_denied"
    assert query_of(response)["error_description"]
    assert query_of(response)["state"] == "s"
    assert not Connection.objects.exists()


def test_deny_of_a_campus_application_goes_home_with_a_notice_and_a_link_back(browser, portal):
    response = browser.answer(browser.ask(portal, state="s&x"), "deny")
    assert (response.status_code, response["Location"]) == (302, "/")

    home = browser.client.get("/")

    assert f"You did not authorise {portal.row.name}" in words_of(home)
    back = html.unescape(re.search(rf'href="({re.escape(CALLBACK)}[^"]*)"', home.content.decode())[1])
    assert query_of({"Location": back})["error"] == "access_denied"
    assert query_of({"Location": back})["state"] == "s&x"
    assert "You did not authorise" not in words_of(browser.client.get("/")), "said once"
    assert not Connection.objects.exists()


@pytest.mark.parametrize("decision", ["", "yes", "ALLOW", "allow\x00", "deny allow"])
def test_any_other_answer_decides_nothing(browser, application, decision):
    response = browser.answer(browser.ask(application), decision)

    assert response.status_code == 400
    assert not Connection.objects.exists()
    assert not Grant.objects.exists()


def test_form_fields_are_never_protocol_parameters(browser, application, make_application):
    """A tampered form changes neither where the answer goes nor who gets it."""
    other = make_application(name="Other", redirect_uris="https://evil.example/")
    tampered = {"redirect_uri": "https://evil.example/", "client_id": other.client_id, "scope": "x", "state": "x"}

    for decision in ("allow", "deny"):
        response = browser.answer(browser.ask(application, state="s", prompt="consent"), decision, **tampered)
        assert response["Location"].startswith(f"{CALLBACK}?")
        assert query_of(response)["state"] == "s"
    assert Connection.objects.get().application == application.row


def test_request_that_became_invalid_meanwhile_is_refused_when_answered(browser, application):
    page = browser.ask(application, redirect_uri=CALLBACK)
    application.row.redirect_uris = "https://partner.example/new"
    application.row.save()

    response = browser.answer(page)

    assert response.status_code == 400
    assert not Connection.objects.exists()


# --- optional scopes ----------------------------------------------------------------------------------


def test_optional_scope_left_ticked_is_granted(browser, portal, exchange):
    page = browser.ask(portal)
    assert page.content.count(b'type="checkbox"') == 1

    response = browser.answer(page, optional_scopes=["contact_information.email_address"])

    assert set(exchange(portal, query_of(response)["code"]).json()["scope"].split()) == set(portal.row.scopes)


def test_optional_scope_unticked_is_not_granted(browser, portal, exchange, call_with):
    tokens = exchange(portal, query_of(browser.answer(browser.ask(portal)))["code"]).json()

    assert "contact_information.email_address" not in tokens["scope"]
    assert "contactInformation" not in call_with("/open_auth/get_user_data/", tokens["access_token"]).json()
    assert set(Connection.objects.get().scopes) == set(portal.row.scopes) - {"contact_information.email_address"}


def test_scope_that_is_not_optional_cannot_be_unticked(browser, make_application, exchange):
    application = make_application("portal")

    tokens = exchange(application, query_of(browser.answer(browser.ask(application)))["code"]).json()

    assert set(tokens["scope"].split()) == set(application.row.scopes)


def test_all_scopes_unticked_is_no_answer(browser, make_application):
    """An empty scope would be a token for nothing, or be read as "no scope parameter: all of them"."""
    application = make_application("portal", optional_scopes=SCOPES["portal"])

    page = browser.answer(browser.ask(application))

    assert page.status_code == 400
    assert "Tick at least one, or press Deny." in words_of(page)
    assert not Connection.objects.exists()
    assert not Grant.objects.exists()


def test_scopes_all_narrowed_away_since_never_widen(connect, make_application, refresh, introspect, call_with, member):
    """What is left of a token is nothing, and nothing is what it stays."""
    application = make_application("portal")
    tokens = connect(application)
    Connection.objects.filter(user=member).update(scopes=[])

    refreshed = refresh(application, tokens["refresh_token"]).json()

    assert refreshed["scope"] == ""
    assert introspect(application, refreshed["access_token"])["scope"] == ""
    assert set(call_with("/open_auth/get_user_data/", refreshed["access_token"]).json()) == {"userId", "username"}
    wider = refresh(application, refreshed["refresh_token"], scope="person.full_name")
    assert wider.json()["error"] == "invalid_scope"


@pytest.mark.parametrize("ticked", ["student.branch", "introspect", "person.full_name", "x\x00"])
def test_scope_that_was_not_offered_cannot_be_ticked(browser, portal, ticked):
    response = browser.answer(browser.ask(portal, scope="contact_information.email_address"), optional_scopes=[ticked])

    assert response.status_code == 400
    assert not Grant.objects.exists()


def test_scope_unticked_is_asked_again(browser, portal):
    browser.answer(browser.ask(portal))

    assert browser.ask(portal).status_code == 200
    assert browser.ask(portal, scope="person.full_name").status_code == 302


# --- when it is not shown -----------------------------------------------------------------------------


def test_user_with_an_active_connection_is_not_asked_again(browser, any_application):
    browser.authorize(any_application)

    response = browser.ask(any_application, state="s")

    assert query_of(response)["code"]
    assert query_of(response)["state"] == "s"


def test_more_scopes_than_the_connection_has_are_asked(browser, make_application):
    application = make_application("portal")
    browser.authorize(application, scope="person.full_name")

    assert browser.ask(application, scope="person.full_name").status_code == 302
    assert browser.ask(application, scope="student.enrolment_number").status_code == 200


def test_remembered_consent_is_the_user_s_own_and_of_one_application(browser, application, make_application, make_user):
    browser.authorize(application)

    assert Browser(make_user("bob@example.com")).ask(application).status_code == 200
    assert browser.ask(make_application(name="Other")).status_code == 200


def test_user_is_asked_again_after_the_connection_ended(browser, application, connect, call_with):
    call_with("/api/oauth/revoke", connect(application)["access_token"], method="delete")

    assert browser.ask(application).status_code == 200


@pytest.mark.parametrize("asking", [{"prompt": "consent"}, {"approval_prompt": "force"}])
def test_prompt_consent_asks_again(browser, any_application, asking):
    browser.authorize(any_application)

    assert browser.ask(any_application, **asking).status_code == 200


@pytest.mark.parametrize("asking", [{"approval_prompt": "auto"}, {"prompt": "select_account"}, {"prompt": ""}])
def test_no_other_prompt_skips_the_page(browser, application, asking):
    """django-oauth-toolkit's own `approval_prompt=auto` would."""
    assert browser.ask(application, **asking).status_code == 200


def test_second_consent_updates_the_connection_under_the_same_id(browser, make_application):
    application = make_application("portal")
    browser.authorize(application, scope="person.full_name")
    first = Connection.objects.get()

    browser.authorize(application, scope="student.enrolment_number")

    second = Connection.objects.get()
    assert second.id == first.id
    assert set(second.scopes) == {"person.full_name", "student.enrolment_number"}


def test_second_consent_with_less_narrows_live_tokens(browser, portal, exchange, introspect):
    page = browser.ask(portal)
    code = query_of(browser.answer(page, optional_scopes=["contact_information.email_address"]))["code"]
    token = exchange(portal, code).json()["access_token"]

    browser.answer(browser.ask(portal, prompt="consent"))

    assert "contact_information.email_address" not in introspect(portal, token)["scope"]


# --- prompt=none, prompt=login --------------------------------------------------------------------------


@pytest.mark.parametrize("is_trusted", [False, True])
def test_prompt_none_never_shows_a_page(browser, make_application, is_trusted):
    application = make_application(is_trusted=is_trusted)

    assert (
        query_of(Browser().ask(application, prompt="none", state="s")).items()
        >= {"error": "login_required", "state": "s"}.items()
    )
    assert (
        query_of(browser.ask(application, prompt="none", state="s")).items()
        >= {"error": "consent_required", "state": "s"}.items()
    )
    browser.authorize(application)
    assert query_of(browser.ask(application, prompt="none"))["code"]


@pytest.mark.parametrize("prompt", ["none login", "none consent", "consent none"])
def test_prompt_none_with_another_value_is_an_invalid_request(browser, application, prompt):
    assert query_of(browser.ask(application, prompt=prompt))["error"] == "invalid_request"


def test_prompt_login_makes_the_user_log_in_once_more(browser, application, password):
    browser.authorize(application)

    answer = browser.ask(application, prompt="login", state="s p")
    assert answer["Location"].startswith("/account/reauthenticate/?next=")
    wrong = browser.client.post(answer["Location"], {"password": "wrong password"})
    assert wrong.status_code == 200
    right = browser.client.post(answer["Location"], {"password": password})

    assert query_of(browser.client.get(right["Location"]))["state"] == "s p"


def test_prompt_login_of_a_visitor_is_one_log_in(application, log_in):
    visitor = Browser()
    page, response = log_in(visitor, visitor.ask(application, prompt="login"))

    assert application.row.name in words_of(page)
    assert visitor.client.get(response["Location"]).status_code == 200


def test_prompt_login_consent_does_both(browser, application, password):
    browser.authorize(application)
    answer = browser.ask(application, prompt="login consent")
    response = browser.client.post(answer["Location"], {"password": password})

    assert browser.client.get(response["Location"]).status_code == 200


# --- the log-in page ------------------------------------------------------------------------------------


def test_log_in_page_names_the_organisation_and_the_application(any_application):
    visitor = Browser()
    page = visitor.client.get(visitor.ask(any_application)["Location"])

    assert f"Log in to connect to {any_application.row.name}" in words_of(page)
    assert "Kuittila" in words_of(page)
    assert "Forgot your password?" in words_of(page)
    assert "Create an account" in words_of(page)


def test_forgotten_password_link_sends_a_mail(application, member, mails):
    visitor = Browser()
    page = visitor.client.get(visitor.ask(application)["Location"]).content.decode()
    address = html.unescape(re.search(r'href="([^"]*password/reset[^"]*)"', page)[1])

    assert visitor.client.get(address).status_code == 200
    assert visitor.client.post(address, {"email": member.email}).status_code == 302
    assert [mail.to for mail in mails()] == [[member.email]]


def test_create_an_account_link_leads_back_to_the_request(application):
    visitor = Browser()
    page = visitor.client.get(visitor.ask(application)["Location"]).content.decode()
    address = html.unescape(re.search(r'href="([^"]*signup[^"]*)"', page)[1])

    assert application.client_id in address
    assert "<form" in visitor.client.get(address).content.decode()


def test_log_in_page_names_only_an_application_that_this_browser_came_with(application):
    """The name is no parameter: nobody can write a link that puts words on the log-in page."""
    forged = Browser().client.get("/account/login/", {"next": f"/auth?client_id={application.client_id}"})

    assert application.row.name not in words_of(forged)


# --- trusted applications -------------------------------------------------------------------------------


def test_trusted_application_goes_straight_back_after_log_in(trusted, log_in):
    visitor = Browser()
    page, response = log_in(visitor, visitor.ask(trusted, state="s"))

    for name in trusted.row.scopes:
        assert str(ALL[name].label) in words_of(page), "the log-in page says what is shared"
    back = visitor.client.get(response["Location"])
    assert back["Location"].startswith(f"{CALLBACK}?code=")
    assert query_of(back)["state"] == "s"
    assert Connection.objects.get().scopes == trusted.row.scopes


def test_scope_that_the_log_in_page_did_not_show_is_asked(trusted, log_in):
    trusted.row.scopes = ["receipt:read"]
    trusted.row.save()
    visitor = Browser()
    _page, response = log_in(visitor, visitor.ask(trusted))
    trusted.row.scopes = ["receipt:read", "receipt:write"]
    trusted.row.save()

    assert visitor.client.get(response["Location"]).status_code == 200
    assert not Connection.objects.exists()


def test_log_in_form_that_did_not_say_what_is_shared_is_no_answer(trusted, member, password):
    """Opened before the request was under way, or without what the page says: then the user confirms."""
    visitor = Browser()
    address = visitor.ask(trusted)["Location"]
    blank = Browser().client.get(address)
    assert b'name="notice"' not in blank.content

    fields = {"login": member.email, "password": password, "next": parse_qs(urlsplit(address).query)["next"][0]}
    response = visitor.client.post("/account/login/", fields)

    assert visitor.client.get(response["Location"]).status_code == 200
    assert not Connection.objects.exists()


def test_notice_of_another_request_is_no_answer(trusted, make_application, member, password):
    visitor = Browser()
    other = make_application(name="Other", is_trusted=True, scopes=[])
    page = visitor.client.get(visitor.ask(other)["Location"])
    notice = re.search(r'name="notice" value="([0-9a-f]+)"', page.content.decode())[1]
    address = parse_qs(urlsplit(visitor.ask(trusted)["Location"]).query)["next"][0]

    fields = {"login": member.email, "password": password, "next": address, "notice": notice}
    response = visitor.client.post("/account/login/", fields)

    assert visitor.client.get(response["Location"]).status_code == 200
    assert not Connection.objects.exists()


def test_link_checker_is_given_no_code(browser, application):
    browser.authorize(application)
    Grant.objects.all().delete()

    assert browser.client.head(f"/auth?client_id={application.client_id}").status_code == 405
    assert not Grant.objects.exists()


def test_trusted_application_asks_a_user_who_is_already_logged_in_once(browser, trusted):
    page = browser.ask(trusted)
    assert page.status_code == 200
    browser.answer(page)

    assert browser.ask(trusted).status_code == 302


def test_log_in_for_one_trusted_application_does_not_connect_another(trusted, make_application, log_in):
    other = make_application(name="Other", is_trusted=True)
    visitor = Browser()
    _page, response = log_in(visitor, visitor.ask(trusted))
    visitor.client.get(response["Location"])

    assert visitor.ask(other).status_code == 200
    assert visitor.ask(trusted, state="another request").status_code == 302


def test_log_in_elsewhere_does_not_connect_a_trusted_application(trusted, member, password):
    """Only a log-in on the page that said what is shared is an answer."""
    visitor = Browser()
    visitor.client.post("/account/login/", {"login": member.email, "password": password})

    assert visitor.ask(trusted).status_code == 200


def test_log_in_for_an_application_that_is_not_trusted_answers_nothing(application, log_in):
    visitor = Browser()
    _page, response = log_in(visitor, visitor.ask(application))

    assert visitor.client.get(response["Location"]).status_code == 200
    assert not Connection.objects.exists()


def test_trusted_application_with_prompt_consent_shows_the_page(browser, trusted):
    browser.authorize(trusted)

    assert browser.ask(trusted, prompt="consent").status_code == 200
