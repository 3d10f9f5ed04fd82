"""Registering at /developer/add: every field and rule, once, and the secret shown once (CONTRACT section 9)."""

import html
import re
import threading
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlencode

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client

from apps.accounts.models import User
from apps.developers.models import Application, Draft, Role, Status, TeamMember, TermsAgreement
from apps.developers.services.applications import mark_deleted
from apps.developers.services.terms import current_terms, publish_terms
from apps.organisations.models import Organisation

pytestmark = pytest.mark.spec("CONTRACT", "9 (registration)")

ADDRESS = "/developer/add"


def words(count: int) -> str:
    return " ".join(["word"] * count)


@pytest.fixture
def developer(member: User) -> Client:
    client = Client()
    client.force_login(member)
    return client


@pytest.fixture
def fields(organisation: Organisation) -> dict[str, Any]:
    """A registration that is right in every field."""
    return {
        "name": "Penni Budget",
        "organisation": str(organisation.pk),
        "website_url": "https://penni.example/",
        "privacy_policy_url": "https://penni.example/privacy",
        "terms_url": "",
        "profile": "connection",
        "client_type": "confidential",
        "redirect_uris": "https://penni.example/callback\r\nhttp://127.0.0.1/callback",
        "description": words(127),
        "scopes": ["receipt:write"],
        "reason-receipt:write": "We put your receipts into your budget.",
        "agreement": "on",
        "terms": [str(current_terms(organisation).pk)],
        "form_key": str(uuid.uuid4()),
    }


@pytest.fixture
def add(developer: Client, fields: dict[str, Any]) -> Callable[..., HttpResponse]:
    """Press "Add"; keyword arguments change or (None) leave out a field."""

    def call(**changes: Any) -> HttpResponse:
        sent = {name: value for name, value in {**fields, **changes}.items() if value is not None}
        return developer.post(ADDRESS, sent)

    return call


def text_of(response: HttpResponse) -> str:
    return html.unescape(response.content.decode())


def errors_of(response: HttpResponse) -> dict[str, list[str]]:
    """Return the errors by the id of the element that describes a field with them."""
    page = response.content.decode()
    found = re.findall(r'<ul class="errorlist[^"]*" id="id_([^"]+)_error"[^>]*>(.*?)</ul>', page, re.DOTALL)
    return {
        name: [html.unescape(item).strip() for item in re.findall(r"<li>(.*?)</li>", items)] for name, items in found
    }


# --- what comes of it -----------------------------------------------------------------------------


def test_developer_registers_an_application_and_owns_it(add, member, organisation, mails):
    response = add(optional=["receipt:write"])

    assert response.status_code == 200
    application = Application.objects.get()
    assert application.name == "Penni Budget"
    assert application.status == Status.PENDING
    assert application.organisation == organisation
    assert application.redirect_uri_list == ["https://penni.example/callback", "http://127.0.0.1/callback"]
    requested = application.requested_scopes.get()
    assert (requested.scope, requested.is_optional) == ("receipt:write", True)
    assert requested.reason == "We put your receipts into your budget."
    assert TeamMember.objects.get(application=application).user == member
    assert TeamMember.objects.get(application=application).role == Role.OWNER
    assert TermsAgreement.objects.get(user=member).terms == current_terms(organisation)
    assert f'href="/developer/apps/{application.pk}/"' in response.content.decode()


def test_answer_shows_client_id_and_a_secret_that_works_and_is_kept_by_nobody(add, developer, partner):
    response = add()

    assert "no-store" in response["Cache-Control"]
    application = Application.objects.get()
    shown = re.findall(r'<code class="secret"[^>]*>([^<]+)</code>', response.content.decode())
    assert shown[0] == application.client_id
    secret = shown[1]
    Application.objects.update(status=Status.APPROVED)
    credentials = {"client_id": application.client_id, "client_secret": secret}
    answer = partner.post("/oauth/introspect", {"token": "x", **credentials})
    assert answer.json() == {"active": False}
    assert secret not in str(dict(developer.session))
    assert secret not in str(developer.cookies)
    assert secret not in developer.get(f"/developer/apps/{application.pk}/").content.decode()
    assert secret not in developer.get("/developer/").content.decode()


def test_public_client_is_shown_no_secret(add):
    response = add(client_type="public", redirect_uris="com.example.penni:/callback")

    assert response.status_code == 200
    assert "Client secret" not in text_of(response)
    assert Application.objects.get().client_id in text_of(response)


def test_customer_application_needs_no_scopes(add):
    assert add(profile="customer", scopes=None).status_code == 200

    assert Application.objects.get().scopes == []


def test_form_is_behind_a_log_in(client, organisation):
    response = client.get(ADDRESS)

    assert response.status_code == 302
    assert response["Location"] == f"/account/login/?next={ADDRESS}"


def test_who_was_logged_out_meanwhile_gets_back_what_they_wrote(client, fields):
    response = client.post(ADDRESS, {**fields, "description": "<i>My</i> long text"})

    assert response.status_code == 403
    assert "&lt;i&gt;My&lt;/i&gt; long text" in response.content.decode()
    assert fields["reason-receipt:write"] in text_of(response)
    assert not Application.objects.exists()


# --- the rules, beside their fields ---------------------------------------------------------------


@pytest.mark.parametrize("count", [127, 511])
def test_description_of_127_to_511_words_is_accepted(add, count):
    assert add(description=words(count)).status_code == 200


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (126, "Use at least 127 words (you wrote 126)."),
        (512, "Use at most 511 words (you wrote 512)."),
        (0, "Use at least 127 words (you wrote 0)."),
    ],
)
def test_shorter_or_longer_description_is_refused(add, count, message):
    response = add(description=words(count))

    assert response.status_code == 400
    assert errors_of(response) == {"description": [message]}
    assert not Application.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"name": "n" * 256}, "name"),
        ({"name": "Bell\x07"}, "name"),
        ({"profile": None}, "profile"),
        ({"profile": "service", "scopes": None}, "profile"),
        ({"profile": "nonsense"}, "profile"),
        ({"organisation": str(uuid.uuid4())}, "organisation"),
        ({"organisation": "nonsense"}, "organisation"),
        ({"organisation": None}, "organisation"),
        ({"redirect_uris": ""}, "redirect_uris"),
        ({"redirect_uris": "http://penni.example/callback"}, "redirect_uris"),
        ({"redirect_uris": "https://penni.example/#part"}, "redirect_uris"),
        ({"redirect_uris": "https://*.penni.example/"}, "redirect_uris"),
        ({"redirect_uris": "/callback"}, "redirect_uris"),
        ({"redirect_uris": "javascript:alert(1)"}, "redirect_uris"),
        ({"redirect_uris": "com.example.penni:/callback"}, "redirect_uris"),
        ({"redirect_uris": "https://a.example/ https://b.example/"}, "redirect_uris"),
        ({"redirect_uris": "\n".join(f"https://penni.example/{n}" for n in range(21))}, "redirect_uris"),
        ({"website_url": ""}, "website_url"),
        ({"website_url": "http://penni.example/"}, "website_url"),
        ({"website_url": "javascript:alert(1)"}, "website_url"),
        ({"privacy_policy_url": ""}, "privacy_policy_url"),
        ({"privacy_policy_url": "https://user@penni.example/"}, "privacy_policy_url"),
        ({"terms_url": "penni"}, "terms_url"),
        ({"website_url": "https://penni.example/" + "a" * 300}, "website_url"),
        ({"client_type": None}, "client_type"),
        ({"client_type": "secretive"}, "client_type"),
        ({"description": "\x00" + words(127)}, "description"),
        ({"scopes": None}, "scopes"),
        ({"scopes": ["receipt:burn"]}, "scopes"),
        ({"scopes": ["introspect"], "reason-introspect": "To see all there is."}, "scopes"),
        ({"scopes": ["receipt:write", "introspect"], "profile": "service"}, "scopes"),
        ({"reason-receipt:write": ""}, "reason-receipt:write"),
        ({"reason-receipt:write": "too short"}, "reason-receipt:write"),
        ({"reason-receipt:write": "r" * 281}, "reason-receipt:write"),
        ({"agreement": None}, "agreement"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field_and_nothing_is_registered(add, changes, field):
    response = add(**changes)

    assert response.status_code == 400
    assert field in errors_of(response)
    assert not Application.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "n" * 255},
        {"redirect_uris": "\n".join(f"https://penni.example/{n}" for n in range(20))},
        {"redirect_uris": "\r\n\r\n  https://penni.example/callback  \r\n"},
        {"terms_url": "https://penni.example/terms"},
        {"website_url": "http://localhost:3000/"},
        {"reason-receipt:write": "ten chars."},
        {"reason-receipt:write": "r" * 280},
        {"reason-receipt:write": "r\r\n" * 93 + "r"},
        {"scopes": ["receipt:write", "receipt:read"], "reason-receipt:read": "We read your receipts."},
        {"form_key": "nonsense"},
    ],
)
def test_what_is_just_right_is_accepted(add, changes):
    response = add(**changes)

    assert response.status_code == 200, errors_of(response)
    assert Application.objects.count() == 1


def test_everything_that_is_wrong_is_said_at_once_with_links_to_the_fields(add):
    response = add(name="", description="short", agreement=None, redirect_uris="", website_url="")

    page = response.content.decode()
    assert set(errors_of(response)) == {"name", "description", "agreement", "redirect_uris", "website_url"}
    for target in ("id_name", "id_description", "id_agreement", "id_redirect_uris", "id_website_url"):
        assert f'<a href="#{target}">' in page
        assert re.search(rf'<(input|textarea)[^>]*id="{target}"', page)
        assert re.search(rf'aria-describedby="[^"]*{target}_error', page)
    assert "5 things have to be mended" in page


def test_what_was_typed_is_kept_with_ticks_and_reasons(add):
    response = add(
        name="",
        profile="portal",
        scopes=["person.full_name"],
        optional=["person.full_name"],
        **{"reason-person.full_name": "short", "reason-person.roles": "Not ticked, but written."},
    )

    page = text_of(response)
    assert response.status_code == 400
    assert re.search(r'value="person.full_name"\s+id="id_scope-person.full_name"[^>]*checked', page)
    assert re.search(r'name="optional"\s+value="person.full_name"\s+checked', page)
    assert "Not ticked, but written." in page
    assert 'value="https://penni.example/privacy"' in page
    assert re.search(r'name="agreement"[^>]*checked', page)
    assert re.search(r'value="portal"[^>]*checked', page)
    assert words(127) in page


def test_scope_of_another_profile_is_refused_beside_it(add):
    response = add(scopes=["receipt:write", "person.full_name"], **{"reason-person.full_name": "We greet you by it."})

    assert response.status_code == 400
    assert errors_of(response)["scopes"] == [
        "The profile “Connection (receipts)” does not have these: Your full name. "
        "Untick them, or choose another profile."
    ]
    assert "Not a scope of the profile that you have chosen." in text_of(response)


def test_scope_of_the_chosen_profile_needs_no_reason_of_the_others(add):
    """A reason that was typed for a scope that is not ticked is nobody's business."""
    assert add(**{"reason-person.full_name": "short"}).status_code == 200


def test_one_similar_application_is_spoken_of_as_one_also_by_the_script(developer, make_application):
    make_application("connection", scopes=["receipt:write"])

    page = developer.get(ADDRESS).content.decode()
    assert "1 of 1 similar application asks for this" in page
    assert 'data-asked-by="{number} of {all} similar applications ask for this"' in page
    assert 'data-asked-by-one="{number} of 1 similar application asks for this"' in page


def test_form_says_that_fewer_is_better_and_what_similar_applications_ask_for(developer, make_application):
    make_application("connection", scopes=["receipt:write"])
    make_application("connection", scopes=["receipt:write", "receipt:read"])
    make_application("connection", scopes=["receipt:read"], status=Status.REJECTED)

    page = text_of(developer.get(ADDRESS))

    assert "applications that ask for less are approved sooner" in page
    counts = dict(re.findall(r'id="asked-([^"]+)"\s+data-asked-by>([^<]*)<', page))
    assert counts["receipt:write"] == "2 of 2 similar applications ask for this"
    assert counts["receipt:read"] == "1 of 2 similar applications ask for this"
    assert counts["person.full_name"] == "No similar application yet"


def test_form_takes_a_constant_number_of_queries(developer, make_application, django_assert_max_num_queries):
    for number in range(5):
        make_application("portal", name=f"Application {number}")
    developer.get(ADDRESS)

    with django_assert_max_num_queries(14):
        developer.get(ADDRESS)


# --- the terms -------------------------------------------------------------------------------------


def test_terms_that_changed_while_the_form_was_open_are_shown_first(add, organisation, member):
    response_before = add(name="")
    publish_terms(organisation=organisation, text="## Be nicer\n\nReally.", changes="Nicer.")

    response = add()

    assert response_before.status_code == 400
    assert response.status_code == 400
    assert errors_of(response)["agreement"][0].startswith("The terms have changed since you opened this page.")
    assert "version 2" in text_of(response)
    assert not TermsAgreement.objects.exists()
    assert add(terms=[str(current_terms(organisation).pk)]).status_code == 200
    assert TermsAgreement.objects.get(user=member).terms.number == 2


def test_terms_are_those_of_the_chosen_organisation(add, organisation, other_organisation, member):
    both = [str(current_terms(each).pk) for each in (organisation, other_organisation)]

    assert add(organisation=str(other_organisation.pk), terms=both).status_code == 200
    assert TermsAgreement.objects.get(user=member).terms.organisation == other_organisation
    assert Application.objects.get().organisation == other_organisation


# --- once, and not without end -----------------------------------------------------------------------


def test_form_that_is_sent_again_registers_nothing_and_shows_no_secret(add):
    add()

    response = add()

    assert response.status_code == 409
    assert "Penni Budget is registered already" in text_of(response)
    assert Application.objects.count() == 1
    assert 'class="secret"' not in text_of(response)


def test_form_that_was_changed_after_it_was_sent_may_be_sent_with_a_key_of_its_own(add, fields):
    add()

    response = add(name="Another One")

    assert response.status_code == 409
    assert "You have registered “Penni Budget” with this form." in text_of(response)
    assert 'value="Another One"' in text_of(response)
    key = re.search(r'name="form_key" value="([^"]+)"', text_of(response))[1]
    assert key != fields["form_key"]
    assert add(name="Another One", form_key=key).status_code == 200
    assert Application.objects.count() == 2


def test_what_was_deleted_may_be_registered_anew_with_the_same_form(add, developer, fields, member):
    add()
    mark_deleted(application=Application.objects.get(), actor=member)
    developer.post("/developer/add/draft", fields)
    assert Draft.objects.count() == 1

    response = add()

    assert response.status_code == 409
    assert "with this form, and it has been deleted. Press Add again to add it." in text_of(response)
    assert 'value="Penni Budget"' in text_of(response)
    assert words(127) in text_of(response)
    key = re.search(r'name="form_key" value="([^"]+)"', text_of(response))[1]
    assert key != fields["form_key"]
    assert add(form_key=key).status_code == 200
    assert Application.objects.existing().count() == 1


def test_same_key_of_two_people_registers_two(add, fields, make_user):
    add()
    other = Client()
    other.force_login(make_user("grace@example.com"))

    assert other.post(ADDRESS, fields).status_code == 200
    assert Application.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_double_click_registers_once(member, fields):
    barrier = threading.Barrier(4)
    statuses = []

    def press() -> None:
        client = Client()
        client.force_login(member)
        barrier.wait()
        try:
            statuses.append(client.post(ADDRESS, fields).status_code)
        finally:
            connection.close()

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [200, 409, 409, 409]
    assert Application.objects.count() == 1


def test_eleventh_application_that_waits_is_refused_kindly(add, developer):
    for number in range(10):
        assert add(name=f"Number {number}", form_key=str(uuid.uuid4())).status_code == 200

    response = add(name="Number 11", form_key=str(uuid.uuid4()))

    assert response.status_code == 409
    assert "You have 10 applications that are not approved yet." in text_of(response)
    assert 'value="Number 11"' in text_of(response)
    assert "You have 10 applications that are not approved yet." in text_of(developer.get(ADDRESS))
    Application.objects.filter(name="Number 3").update(status=Status.APPROVED)
    assert add(name="Number 11", form_key=str(uuid.uuid4())).status_code == 200


def test_registering_forgets_the_draft_and_a_late_save_does_not_bring_it_back(add, developer, fields):
    developer.post("/developer/add/draft", fields)
    assert Draft.objects.count() == 1

    add()
    developer.post("/developer/add/draft", fields)

    assert not Draft.objects.exists()


# --- bad input ---------------------------------------------------------------------------------------

MARKUP = '</textarea><script>alert(1)</script><img src=x onerror="alert(2)">'


@pytest.mark.parametrize(
    "field",
    [
        *("name", "website_url", "privacy_policy_url", "terms_url", "redirect_uris", "description"),
        *("reason-receipt:write", "profile", "client_type", "organisation", "form_key", "scopes", "optional", "terms"),
    ],
)
def test_markup_is_shown_as_text_wherever_it_is_typed(add, developer, field):
    response = add(**{field: MARKUP, "agreement": None})
    developer.post("/developer/add/draft", {field: MARKUP, "profile": "connection"})

    assert response.status_code == 400
    for page in (response, developer.get(ADDRESS)):
        assert "<script>alert" not in page.content.decode()
        assert "<img src=x" not in page.content.decode()


def test_markup_in_what_may_hold_it_is_harmless_on_every_page(add, developer):
    add(name=f"Penni {MARKUP}", description=MARKUP + words(127), **{"reason-receipt:write": MARKUP})
    application = Application.objects.get()

    for address in ("/developer/", f"/developer/apps/{application.pk}/version/"):
        page = developer.get(address)
        assert page.status_code == 200
        assert "<script>alert" not in page.content.decode()
        assert "<img src=x" not in page.content.decode()


@pytest.mark.parametrize("character", ["\x00", "%ED%A0%80"])
@pytest.mark.parametrize("field", ["name", "description", "reason-receipt:write", "redirect_uris", "form_key", "terms"])
def test_characters_that_the_database_cannot_hold_do_no_harm(developer, fields, field, character):
    """NUL, and a lone surrogate as its three bytes."""
    broken = (
        urlencode({**fields, field: ""}, doseq=True)
        + f"&{field}={quote(words(127).encode() + unquote_to_bytes(character))}"
    )

    response = developer.post(ADDRESS, broken, content_type="application/x-www-form-urlencoded")
    draft = developer.post("/developer/add/draft", broken, content_type="application/x-www-form-urlencoded")

    assert response.status_code in {200, 400}
    assert draft.status_code in {200, 409}
    assert developer.get(ADDRESS).status_code == 200


def test_description_of_200_kilobytes_is_refused_and_kept(add):
    text = words(40_000)

    response = add(description=text)

    assert response.status_code == 400
    assert errors_of(response)["description"] == ["Use at most 20000 characters (you wrote 199999)."]
    assert text in response.content.decode()


def test_form_without_a_token_is_refused(fields, member):
    client = Client(enforce_csrf_checks=True)
    client.force_login(member)

    assert client.post(ADDRESS, fields).status_code == 403
    assert client.post("/developer/add/draft", fields).status_code == 403
