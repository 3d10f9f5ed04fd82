"""Client secrets on the dashboard: shown once, kept nowhere, and never lost by sending a form twice."""

import re
from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from apps.developers.models import HistoryEntry, HistoryKind, Role
from tests.console.test_dashboard_pages import address, text_of


@pytest.fixture
def team_client(owner):
    client = Client()
    client.force_login(owner)
    return client


@pytest.fixture
def make_secret(team_client):
    """Open the page, fill in its form, send it: the answer."""

    def call(application, overlap=86_400, **fields):
        page = team_client.get(address(application, "credentials/"))
        data = {"overlap": overlap, "seen": page.context["mark"], **fields}
        return team_client.post(address(application, "credentials/new"), data)

    return call


@pytest.fixture
def can_authenticate(partner):
    """Say whether the token door takes the secret: invalid_grant comes after invalid_client."""

    def call(application, secret):
        response = partner.post(
            "/api/oauth/token",
            {
                "grant_type": "authorization_code",
                "code": "none",
                "client_id": application.client_id,
                "client_secret": secret,
            },
        )
        assert response.json()["error"] in {"invalid_grant", "invalid_client"}
        return response.json()["error"] == "invalid_grant"

    return call


def shown_secret(response):
    return re.search(r'Copy the client secret">([^<]+)<', response.content.decode())[1]


def test_a_new_secret_is_in_the_answer_and_nowhere_else(make_secret, live, team_client, mails):
    response = make_secret(live)
    secret = shown_secret(response)

    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    assert response.content.decode().count(secret) == 1
    assert secret not in str(response.headers) + str(response.cookies)
    for session in Session.objects.all():
        assert secret not in str(session.get_decoded())
    live.refresh_from_db()
    assert secret not in str({field.name: getattr(live, field.name) for field in live._meta.fields})
    assert secret not in str(list(HistoryEntry.objects.values()))
    assert all(secret not in message.body for message in mails())
    assert secret not in text_of(team_client.get(address(live, "credentials/")))


def test_the_old_secret_works_on_for_as_long_as_was_chosen(make_secret, live, register, can_authenticate):
    old = shown_secret(make_secret(live, overlap=0))
    new = shown_secret(make_secret(live, overlap=3600))

    assert can_authenticate(live, old)
    assert can_authenticate(live, new)
    live.refresh_from_db()
    assert abs(live.previous_client_secret_ends_at - timezone.now() - timedelta(hours=1)) < timedelta(minutes=1)


def test_the_old_secret_can_end_at_once(make_secret, live, can_authenticate):
    old = shown_secret(make_secret(live, overlap=0))
    new = shown_secret(make_secret(live, overlap=0))

    assert not can_authenticate(live, old)
    assert can_authenticate(live, new)


def test_the_default_is_a_day(team_client, live):
    page = text_of(team_client.get(address(live, "credentials/")))

    assert '<option value="86400" selected>24 hours</option>' in page


def test_loading_the_answer_again_makes_no_third_secret(make_secret, live, team_client, can_authenticate):
    sent = team_client.get(address(live, "credentials/")).context["mark"]
    secret = shown_secret(make_secret(live))

    again = make_secret(live, seen=sent)

    assert again.status_code == 409
    assert "Nothing was changed now" in text_of(again)
    assert can_authenticate(live, secret)
    assert live.history.filter(kind=HistoryKind.SECRET_CREATED).count() == 1


@pytest.mark.parametrize("overlap", ["604801", "-1", "", "soon"])
def test_an_overlap_that_is_not_offered_is_refused(make_secret, live, overlap):
    response = make_secret(live, overlap=overlap)

    assert response.status_code == 400
    assert not live.history.filter(kind=HistoryKind.SECRET_CREATED).exists()


def test_a_form_without_its_mark_is_refused(team_client, live):
    response = team_client.post(address(live, "credentials/new"), {"overlap": 0})

    assert response.status_code == 400


def test_the_previous_secret_is_listed_until_it_ends(make_secret, live, team_client, can_authenticate):
    old = shown_secret(make_secret(live, overlap=0))
    make_secret(live, overlap=259_200)
    page = team_client.get(address(live, "credentials/"))
    assert "Works until" in text_of(page)

    response = team_client.post(address(live, "credentials/end"), {"seen": page.context["mark"]}, follow=True)

    assert "works no more" in text_of(response)
    assert "Works until" not in text_of(response)
    assert not can_authenticate(live, old)


def test_a_stale_page_does_not_end_another_secret_than_it_showed(make_secret, live, team_client, can_authenticate):
    make_secret(live)
    stale = team_client.get(address(live, "credentials/")).context["mark"]
    middle = shown_secret(make_secret(live))
    make_secret(live)

    response = team_client.post(address(live, "credentials/end"), {"seen": stale})

    assert response.status_code == 409
    assert can_authenticate(live, middle)


def test_both_secrets_say_when_they_were_made_and_used(team_client, live, make_secret):
    make_secret(live)
    assert "not used yet" in text_of(team_client.get(address(live, "credentials/")))
    live.refresh_from_db()
    live.client_secret_used_at = timezone.now() - timedelta(hours=3)
    live.previous_client_secret_used_at = timezone.now() - timedelta(hours=5)
    live.save()

    page = text_of(team_client.get(address(live, "credentials/"))).replace("\xa0", " ")

    assert "last used 3 hours ago" in page
    assert "last used 5 hours ago" in page


def test_a_public_client_has_no_secret_and_is_told_why(register, team_client):
    application, secret = register(client_type="public")
    page = team_client.get(address(application, "credentials/"))

    assert secret is None
    assert "public client" in text_of(page)
    assert "Make a new secret" not in text_of(page)
    response = team_client.post(address(application, "credentials/new"), {"overlap": 0, "seen": page.context["mark"]})
    assert response.status_code == 409


def test_a_viewer_makes_and_ends_no_secret(live, join):
    client = Client()
    client.force_login(join(live, role=Role.VIEWER).user)

    assert client.post(address(live, "credentials/new"), {"overlap": 0}).status_code == 403
    assert client.post(address(live, "credentials/end")).status_code == 403
