"""The integrate page: the addresses and programs of one application, for everybody on its team."""

import html

import pytest
from django.http import HttpResponse
from django.test import Client

from apps.developers.models import Role, TeamMember
from tests.conftest import RegisteredApplication

ADDRESSES = {
    "connection": ["/auth", "/api/oauth/token", "/oauth/introspect", "/api/oauth/revoke", "/membership"],
    "customer": ["/oauth/authorize", "/oauth/token", "/oauth/user", "/oauth/introspect", "/oauth/revoke"],
    "portal": [
        "/oauth/authorise/",
        "/open_auth/token/",
        "/open_auth/get_user_data/",
        "/oauth/introspect",
        "/open_auth/revoke_token/",
    ],
}


@pytest.fixture
def open_page(member):
    def open_it(application: RegisteredApplication, role: Role = Role.VIEWER, **headers: str) -> HttpResponse:
        TeamMember.objects.create(application=application.row, user=member, role=role)
        client = Client(headers=headers)
        client.force_login(member)
        return client.get(f"/developer/apps/{application.row.pk}/integrate/")

    return open_it


@pytest.mark.parametrize("profile", list(ADDRESSES))
def test_page_has_the_exact_addresses_of_the_profile(profile, make_application, open_page) -> None:
    """CONTRACT section 1"""
    page = open_page(make_application(profile)).content.decode()
    for path in [*ADDRESSES[profile], "/.well-known/oauth-authorization-server"]:
        assert f">http://testserver{path}</code>" in page
    assert ("/.well-known/jwks.json" in page) == (profile == "customer")
    assert ">https://receipts.example</code>" in page


def test_page_of_another_organisations_application_leads_there(make_application, other_organisation, open_page) -> None:
    application = make_application("portal", organisation=other_organisation)
    page = open_page(application, host="localhost:8000").content.decode()
    assert ">http://campus.localhost:8000/oauth/authorise/</code>" in page
    assert "http://localhost:8000/oauth" not in page


def test_page_has_every_program_as_text(application, open_page) -> None:
    response = open_page(application)
    page = html.unescape(response.content.decode())
    for snippet in response.context["snippets"]:
        assert f"<code>{snippet.text}</code>" in page
    assert len(response.context["snippets"]) == 5


def test_name_and_redirect_url_are_text_in_the_page(make_application, open_page) -> None:
    application = make_application(
        "customer", name="</code><script>alert(1)</script>", redirect_uris="https://partner.example/?a=<b>&quot;"
    )
    page = open_page(application).content.decode()
    assert "<script>alert(1)" not in page
    assert "?a=<b>" not in page


@pytest.mark.parametrize(("status", "is_told"), [("approved", False), ("pending", True), ("suspended", True)])
def test_page_says_when_nobody_can_connect(status, is_told, make_application, open_page) -> None:
    page = open_page(make_application("customer", status=status)).content.decode()
    assert ("Nobody can connect before the application is approved." in page) == is_told


def test_secret_is_nowhere_on_the_page(application, open_page) -> None:
    page = open_page(application, Role.OWNER).content.decode()
    assert application.secret not in page
    assert application.row.client_secret not in page


@pytest.mark.parametrize(("role", "is_offered"), [(Role.OWNER, True), (Role.DEVELOPER, True), (Role.VIEWER, False)])
def test_trying_is_offered_to_those_who_may(role, is_offered, application, open_page) -> None:
    page = open_page(application, role).content.decode()
    assert (f'href="/developer/apps/{application.row.pk}/try/"' in page) == is_offered


def test_page_makes_few_queries(application, member, django_assert_max_num_queries) -> None:
    TeamMember.objects.create(application=application.row, user=member, role=Role.OWNER)
    client = Client()
    client.force_login(member)
    # Session, user, organisation of the host, membership with application and organisation, terms, the page's frame.
    with django_assert_max_num_queries(7):
        assert client.get(f"/developer/apps/{application.row.pk}/integrate/").status_code == 200
