"""What is typed and not sent is kept: by the script, by a button, and against two tabs (CONTRACT section 9)."""

import html
import re

import pytest
from django.test import Client

from apps.developers.models import Draft
from apps.developers.services.terms import current_terms, publish_terms
from tests.console.conftest import client_of

ADD = "/developer/add"
SAVE = "/developer/add/draft"
TYPED = {
    "name": "Half an idea",
    "website_url": "https://half.example/",
    "profile": "portal",
    "client_type": "public",
    "redirect_uris": "https://half.example/a\r\nhttps://half.example/b",
    "description": "It is not finished yet.\r\nBut it will be.",
    "scopes": ["person.full_name", "person.roles"],
    "optional": ["person.roles"],
    "reason-person.full_name": "To greet",
}


@pytest.fixture
def developer(member, organisation) -> Client:
    return client_of(member)


def assert_restored(page: str) -> None:
    page = html.unescape(page)
    assert 'value="Half an idea"' in page
    assert 'value="https://half.example/"' in page
    assert re.search(r'value="portal"[^>]*checked', page)
    assert re.search(r'value="public"[^>]*checked', page)
    assert "https://half.example/a\r\nhttps://half.example/b" in page
    assert "It is not finished yet.\r\nBut it will be." in page
    assert re.search(r'id="id_scope-person.full_name"[^>]*checked', page)
    assert not re.search(r'id="id_scope-person.short_name"[^>]*checked', page)
    assert re.search(r'name="optional"\s+value="person.roles"\s+checked', page)
    assert "To greet" in page


def test_script_saves_and_another_browser_restores_everything(developer, member):
    response = developer.post(SAVE, TYPED)

    assert (response.status_code, response.json()) == (200, {})
    page = client_of(member).get(ADD).content.decode()
    assert_restored(page)
    assert "We kept what you wrote on" in page
    assert "Start afresh" in page


def test_button_saves_without_a_script_and_says_so(developer):
    response = developer.post(SAVE, {**TYPED, "action": "save"}, follow=True)

    assert response.redirect_chain == [(ADD, 302)]
    assert "Your draft is saved." in response.content.decode()
    assert_restored(response.content.decode())


def test_script_leaves_no_message_behind(developer):
    developer.post(SAVE, TYPED)

    assert "Your draft is saved." not in developer.get(ADD).content.decode()


def test_last_of_two_tabs_wins(developer):
    developer.post(SAVE, TYPED)
    developer.post(SAVE, {**TYPED, "name": "From the other tab"})

    assert Draft.objects.count() == 1
    assert 'value="From the other tab"' in developer.get(ADD).content.decode()


def test_start_afresh_forgets_it(developer):
    developer.post(SAVE, TYPED)

    response = developer.post(SAVE, {"action": "forget"}, follow=True)

    assert not Draft.objects.exists()
    assert "Half an idea" not in response.content.decode()
    assert "We kept" not in response.content.decode()


def test_draft_is_nobody_elses(developer, make_user):
    developer.post(SAVE, TYPED)

    page = client_of(make_user("grace@example.com")).get(ADD).content.decode()

    assert "Half an idea" not in page
    assert "We kept" not in page


def test_only_the_fields_of_the_form_are_kept(developer):
    developer.post(SAVE, {**TYPED, "csrfmiddlewaretoken": "t", "is_trusted": "on", "reason-introspect": "Why not."})

    kept = Draft.objects.get().fields
    assert set(kept) <= set(TYPED)


def test_too_much_is_refused_and_what_was_kept_stays(developer):
    developer.post(SAVE, TYPED)

    by_script = developer.post(SAVE, {**TYPED, "description": "word " * 40_000})
    by_hand = developer.post(SAVE, {**TYPED, "description": "word " * 40_000, "action": "save"})

    assert by_script.status_code == by_hand.status_code == 409
    assert "too much" in by_script.json()["message"]
    assert "too much" in by_hand.content.decode()
    assert "word " * 40_000 in by_hand.content.decode()
    assert_restored(developer.get(ADD).content.decode())


def test_who_is_logged_out_is_told_so_and_may_go_on_with_a_new_token(client, member, organisation):
    assert client.post(SAVE, TYPED).status_code == 401
    assert client.get(SAVE, headers={"Accept": "application/json"}).status_code == 401
    assert not Draft.objects.exists()

    client = Client(enforce_csrf_checks=True)
    client.force_login(member)
    token = client.get(SAVE, headers={"Accept": "application/json"}).json()["csrf_token"]

    assert client.post(SAVE, {**TYPED, "csrfmiddlewaretoken": token}).status_code == 200
    assert Draft.objects.get().user == member


def test_who_pressed_save_when_logged_out_gets_back_what_they_wrote(client, organisation):
    response = client.post(SAVE, {**TYPED, "action": "save"})

    assert response.status_code == 403
    assert "It is not finished yet." in response.content.decode()


def test_a_tick_for_older_terms_is_not_restored(developer, organisation):
    terms = str(current_terms(organisation).pk)
    developer.post(SAVE, {**TYPED, "agreement": "on", "terms": [terms]})
    assert re.search(r'name="agreement"[^>]*checked', developer.get(ADD).content.decode())

    publish_terms(organisation=organisation, text="New.")

    assert not re.search(r'name="agreement"[^>]*checked', developer.get(ADD).content.decode())


# --- of the next version ----------------------------------------------------------------------------


def test_draft_of_a_version_is_kept_by_application_and_person(live, owner, join):
    colleague = join(live, "developer").user
    address = f"/developer/apps/{live.pk}/version/"
    client = client_of(owner)

    typed = {"description": "Other words.", "scopes": ["receipt:read"]}
    assert client.post(f"{address}draft", typed).status_code == 200

    page = client.get(address).content.decode()
    assert "Other words." in page
    assert "We kept what you wrote on" in page
    assert "Other words." not in client_of(colleague).get(address).content.decode()
    assert "Other words." not in client.get(ADD).content.decode()
    client.post(f"{address}draft", {"action": "forget"})
    assert "Other words." not in client.get(address).content.decode()


def test_draft_of_a_version_is_for_those_who_may_edit(live, join, make_user):
    address = f"/developer/apps/{live.pk}/version/draft"

    assert client_of(join(live, "viewer").user).post(address, {"description": "x"}).status_code == 403
    assert client_of(make_user("stranger@example.com")).post(address, {"description": "x"}).status_code == 404
    assert not Draft.objects.exists()


def test_script_gets_its_token_even_if_there_are_terms_to_agree_to(live, owner, organisation):
    publish_terms(organisation=organisation, text="New.")
    client = client_of(owner)

    assert client.get(f"/developer/apps/{live.pk}/version/").status_code == 302
    answer = client.get(f"/developer/apps/{live.pk}/version/draft", headers={"Accept": "application/json"})
    assert answer.json()["csrf_token"]
