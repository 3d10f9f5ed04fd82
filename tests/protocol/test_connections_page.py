"""The user's own page of what is connected: see, change, remove one, remove all."""

import uuid

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.audit.models import AuditEvent
from apps.connections.models import Connection, EndReason
from apps.organisations.addresses import site_address
from apps.organisations.models import Organisation
from apps.webhooks.models import Notification
from apps.webhooks.services import set_endpoint
from tests.conftest import Browser
from tests.protocol.test_consent import words_of

LIST = "/account/connections/"


@pytest.fixture
def tokens(connect, application):
    return connect(application)


@pytest.fixture
def connection(tokens):
    return Connection.objects.get()


@pytest.fixture
def address(connection):
    return f"{LIST}{connection.pk}/"


def connect_many(make_application, member, count):
    applications = [make_application("connection", name=f"Application {number:02}").row for number in range(count)]
    return [
        Connection.objects.create(user=member, application=application, scopes=["receipt:read"])
        for application in applications
    ]


def test_list_shows_what_since_when_and_how_to_change_it(browser, connection, address):
    page = browser.client.get(LIST)

    words = words_of(page)
    assert "Example connection" in words
    assert "Connected since" in words
    assert "last used" in words
    assert address in page.content.decode()


def test_list_takes_as_many_queries_for_25_connections_as_for_one(
    browser, member, make_application, django_assert_num_queries
):
    """Session, user and organisation; the count, the connections, their scopes, and those that have ended."""
    connect_many(make_application, member, 1)
    browser.client.get(LIST)
    with django_assert_num_queries(9):
        browser.client.get(LIST)
    connect_many(make_application, member, 24)

    with django_assert_num_queries(9):
        page = browser.client.get(LIST)

    assert words_of(page).count("Connected since") == 25


def test_more_than_25_connections_are_on_pages(browser, member, make_application):
    connect_many(make_application, member, 26)

    first, second = browser.client.get(LIST), browser.client.get(LIST, {"page": 2})

    assert (words_of(first).count("Connected since"), words_of(second).count("Connected since")) == (25, 1)
    assert "Page 1 of 2" in words_of(first)
    assert "Application 00" in words_of(second)


def test_scope_that_the_application_gave_up_is_not_shown_as_something_it_may_do(browser, connection, application):
    application.row.scopes = ["receipt:read"]
    application.row.save()

    page = browser.client.get(LIST)

    assert {scope.name for _category, scopes in page.context["connections"][0][1] for scope in scopes} == {
        "receipt:read"
    }


def test_narrowed_scopes_take_effect_at_once(browser, address, connection, tokens, make_application, introspect):
    answer = browser.client.post(address, {"scopes": ["receipt:read"]}, follow=True)

    connection.refresh_from_db()
    assert "may do what you chose" in words_of(answer)
    assert connection.scopes == ["receipt:read"]
    service = make_application("service")
    assert introspect(service, tokens["access_token"])["scope"] == "receipt:read"
    assert AuditEvent.objects.get(tag="user:connection:changed").connection_id == connection.pk


def test_scope_can_be_switched_on_again_as_on_the_membership_page(browser, address, connection):
    browser.client.post(address, {"scopes": ["receipt:read"]})

    browser.client.post(address, {"scopes": ["receipt:read", "receipt:write"]})

    connection.refresh_from_db()
    assert set(connection.scopes) == {"receipt:read", "receipt:write"}


def test_scope_that_the_application_does_not_have_cannot_be_switched_on(browser, address, connection):
    answer = browser.client.post(address, {"scopes": ["receipt:read", "person.full_name"]})

    connection.refresh_from_db()
    assert answer.status_code == 400
    assert connection.scopes == ["receipt:write", "receipt:read"]


def test_nothing_switched_on_is_refused_and_the_switches_stay(browser, address, connection):
    answer = browser.client.post(address, {})

    connection.refresh_from_db()
    assert answer.status_code == 400
    assert "Leave at least one on, or remove the connection." in words_of(answer)
    assert len(connection.scopes) == 2


def test_saving_without_a_change_changes_nothing(browser, address):
    answer = browser.client.post(address, {"scopes": ["receipt:read", "receipt:write"]}, follow=True)

    assert "Nothing was changed" in words_of(answer)
    assert not AuditEvent.objects.filter(tag="user:connection:changed").exists()


@pytest.mark.parametrize("part", ["", "remove/"])
def test_connection_of_somebody_else_an_ended_one_and_an_unknown_one_are_not_there(browser, address, make_user, part):
    stranger = Browser(make_user("eve@example.com"))

    assert stranger.client.get(f"{address}{part}").status_code == 404
    assert stranger.client.post(f"{address}{part}", {"scopes": ["receipt:read"]}).status_code == 404
    assert browser.client.get(f"{LIST}{uuid.uuid4()}/{part}").status_code == 404
    browser.client.post(f"{address}remove/")
    assert browser.client.get(f"{address}{part}").status_code == 404


def test_connection_is_not_there_at_another_organisation(member, address, other_organisation):
    elsewhere = Browser(member, host="campus.localhost")

    assert elsewhere.client.get(address).status_code == 404
    assert "No application is connected" in words_of(elsewhere.client.get(LIST))


def test_removed_connection_is_listed_as_ended(browser, address):
    page = browser.client.post(f"{address}remove/", follow=True)

    assert [ended.end_reason for ended in page.context["ended"]] == [EndReason.USER]
    assert "by the user" in words_of(page)


def test_removing_all_asks_first_and_ends_every_connection_here(
    browser, member, make_application, other_organisation, call_with, connect
):
    portal = make_application("portal")
    token = connect(portal)["access_token"]
    set_endpoint(application=portal.row, actor=None, url="https://partner.example/hooks")
    connect_many(make_application, member, 2)
    elsewhere = make_application("connection", organisation=other_organisation).row
    kept = Connection.objects.create(user=member, application=elsewhere, scopes=["receipt:read"])

    asked = browser.client.get(f"{LIST}remove/")
    assert "Example portal" in words_of(asked)
    assert Connection.objects.active().count() == 4
    answer = browser.client.post(f"{LIST}remove/", follow=True)

    assert "3 applications can no longer use your account." in words_of(answer)
    assert list(Connection.objects.active()) == [kept]
    assert call_with("/open_auth/get_user_data/", token).status_code == 401
    assert Notification.objects.get().application == portal.row
    assert AuditEvent.objects.filter(tag="user:connection:ended").count() == 3


def test_removing_all_twice_says_nothing_the_second_time(browser, connection):
    browser.client.post(f"{LIST}remove/")

    again = browser.client.post(f"{LIST}remove/", follow=True)

    assert "can no longer use your account." not in [str(message) for message in again.context["messages"]]
    assert AuditEvent.objects.filter(tag="user:connection:ended").count() == 1
    assert browser.client.get(f"{LIST}remove/").status_code == 302


@pytest.mark.parametrize("part", ["", "remove/", f"{uuid.UUID(int=1)}/"])
def test_pages_are_for_logged_in_users(organisation, part):
    answer = Client().get(f"{LIST}{part}")

    assert answer.status_code == 302
    assert answer["Location"].startswith("/account/login/")


# --- other sites ------------------------------------------------------------------------------------


def test_page_leads_to_the_users_other_sites(browser, member, make_application, make_user, organisation):
    """The page shows what is connected here; closing the account ends what is connected anywhere."""

    def connect_at(slug, **facts):
        site = Organisation.objects.create(slug=slug, name=slug.title(), domain=f"{slug}.example")
        row = make_application("portal", organisation=site).row
        Connection.objects.create(**{"user": member, "application": row, **facts})
        return site

    campus = connect_at("campus")
    connect_at("ended", ended_at=timezone.now(), end_reason=EndReason.USER)
    connect_at("others", user=make_user("eve@example.com"))
    Connection.objects.create(user=member, application=make_application("portal").row)

    page = browser.client.get(LIST)

    assert page.context["other_sites"] == [("Campus", site_address(campus, LIST))]
    assert f'href="{site_address(campus, LIST)}"' in page.content.decode()
    assert "closing your account ends them all" in words_of(page)


def test_page_of_somebody_who_is_connected_here_only_names_no_other_site(browser, member, make_application):
    Connection.objects.create(user=member, application=make_application("portal").row)

    page = browser.client.get(LIST)

    assert page.context["other_sites"] == []
    assert "At other sites" not in words_of(page)


def test_other_sites_are_one_query_however_many_there_are(browser, member, make_application, organisation):
    def ask():
        with CaptureQueriesContext(database) as captured:
            page = browser.client.get(LIST)
        return len(captured), len(page.context["other_sites"])

    def connect_at(slug):
        site = Organisation.objects.create(slug=slug, name=slug, domain=f"{slug}.example")
        for name in ("One", "Two"):
            row = make_application("portal", organisation=site, name=name).row
            Connection.objects.create(user=member, application=row)

    connect_at("a")
    few, one = ask()
    for slug in ("b", "c", "d"):
        connect_at(slug)
    many, four = ask()

    assert (one, four) == (1, 4)
    assert many == few
