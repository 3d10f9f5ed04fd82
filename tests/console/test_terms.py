"""The developer terms of use: anybody reads them, owners are asked to agree to a new version (CONTRACT section 9)."""

import pytest
from django.test import Client

from apps.developers.models import TermsAgreement
from apps.developers.services.terms import current_terms, publish_terms
from tests.console.conftest import client_of

FIRST = "/developer/terms/receipts/1/"
SECOND = "/developer/terms/receipts/2/"


@pytest.fixture
def team(owner, live) -> Client:
    """The browser of an owner who has agreed to version 1."""
    return client_of(owner)


@pytest.fixture
def second(organisation, live):
    text = "## Be <i>kind</i>\n\nFirst paragraph.\nIts second line.\n\n<script>alert(1)</script>"
    return publish_terms(organisation=organisation, text=text, changes="Kinder & shorter.")


def words(response) -> str:
    assert response.status_code == 200
    return response.content.decode()


def test_anybody_reads_the_terms_in_force(client, organisation):
    page = words(client.get("/developer/terms/"))

    assert "Developer terms of use of Kuittila" in page
    assert "<h2>What you may build</h2>" in page
    assert "Version 1, of" in page
    assert "I agree" not in page


def test_text_is_shown_as_text_with_headings_and_paragraphs(client, second):
    page = words(client.get(SECOND))

    assert "<h2>Be &lt;i&gt;kind&lt;/i&gt;</h2>" in page
    assert "<p>First paragraph.<br>Its second line.</p>" in page
    assert "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>" in page
    assert "Kinder &amp; shorter." in page


def test_older_version_says_that_it_is_no_longer_in_force(client, second):
    page = words(client.get(FIRST))

    assert "no longer in force" in page
    assert f'href="{SECOND}"' in page
    assert f'href="{FIRST}"' in words(client.get(SECOND))


@pytest.mark.parametrize("path", ["receipts/9/", "nobody/1/", f"receipts/{'9' * 30}/"])
def test_version_that_is_none_is_not_found(client, organisation, path):
    current_terms(organisation)

    assert client.get(f"/developer/terms/{path}").status_code == 404


def test_owner_is_asked_at_the_next_visit_and_led_back(team, owner, live, second):
    wanted = f"/developer/apps/{live.pk}/version/"

    asked = team.get(wanted, follow=True)

    address, _status = asked.redirect_chain[-1]
    assert address.startswith(SECOND)
    assert "I agree" in words(asked)
    answer = team.post(address, {"decision": "agree", "next": wanted})
    assert answer["Location"] == wanted
    assert TermsAgreement.objects.filter(user=owner, terms=second).exists()
    assert team.get(wanted).status_code == 200
    assert "you agreed on" in words(team.get(SECOND))
    assert "I agree" not in words(team.get(SECOND))


def test_owner_who_puts_it_off_is_asked_again_after_the_next_log_in(team, owner, live, second):
    assert team.get("/developer/").status_code == 302

    answer = team.post(SECOND, {"decision": "later", "next": "/developer/"})

    assert answer["Location"] == "/developer/"
    assert team.get("/developer/").status_code == 200
    assert not TermsAgreement.objects.filter(user=owner, terms=second).exists()
    assert client_of(owner).get("/developer/").status_code == 302


def test_developer_who_owns_nothing_is_not_asked(join, live, second):
    colleague = client_of(join(live, "developer").user)

    assert colleague.get("/developer/").status_code == 200
    assert "I agree" not in words(colleague.get(SECOND))
    colleague.post(SECOND, {"decision": "agree"})
    assert not TermsAgreement.objects.filter(terms=second).exists()


def test_agreeing_to_an_older_version_leads_to_the_one_in_force(team, owner, organisation, second):
    publish_terms(organisation=organisation, text="Third.")

    answer = team.post(SECOND, {"decision": "agree"})

    assert answer["Location"] == "/developer/terms/receipts/3/"
    assert not TermsAgreement.objects.filter(user=owner, terms=second).exists()


def test_who_is_not_logged_in_is_sent_to_log_in(client, second):
    answer = client.post(SECOND, {"decision": "agree"})

    assert answer["Location"] == f"/account/login/?next={SECOND}"


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "javascript:alert(1)",
        "https:evil.example",
        "http://[",
        " //evil.example",
        "/\t/evil.example",
    ],
)
def test_nobody_is_led_off_the_site(team, second, address):
    assert "evil" not in words(team.get(SECOND, {"next": address}))
    answer = team.post(SECOND, {"decision": "later", "next": address})

    assert answer["Location"] == "/developer/"


def test_form_without_a_token_is_refused(owner, second):
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner)

    assert client.post(SECOND, {"decision": "agree"}).status_code == 403
    assert not TermsAgreement.objects.filter(user=owner, terms=second).exists()
