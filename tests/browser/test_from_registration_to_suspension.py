"""The whole way of an application, in a browser: registered, sent back, approved, used, changed, suspended."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from playwright.sync_api import Page, expect
from requests_oauthlib import OAuth2Session

from apps.organisations.models import Reviewer
from tests.browser.conftest import Callback

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _plain_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")


def words(count: int) -> str:
    return " ".join(f"word{number}" for number in range(count))


def register(page: Page, callback: Callback) -> tuple[str, str]:
    """Fill in the registration, first with a word too few; return client id and secret."""
    page.get_by_label("App name").fill("Circle")
    page.get_by_label("Website").fill("https://circle.example/")
    page.get_by_label("Privacy policy").fill("https://circle.example/privacy")
    page.get_by_label("Portal (campus)").check()
    page.get_by_label("Redirect URLs").fill(callback.registered)
    page.get_by_label("Description", exact=True).fill(words(126))
    page.get_by_label("Your full name", exact=True).check()
    page.get_by_label("Why do you need this? Your full name").fill("Members see who they are going to meet.")
    page.get_by_label("I agree to the developer terms of use").check()
    page.get_by_role("button", name="Add", exact=True).click()

    expect(page.get_by_text("Use at least 127 words (you wrote 126).").first).to_be_visible()
    expect(page.get_by_label("App name")).to_have_value("Circle")
    expect(page.get_by_label("Why do you need this? Your full name")).to_have_value(
        "Members see who they are going to meet."
    )
    page.get_by_label("Description", exact=True).fill(words(127))
    page.get_by_role("button", name="Add", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Circle is registered")
    client_id, secret = page.locator("code.secret").all_inner_texts()
    with page.expect_navigation():
        page.get_by_role("link", name="Go to the dashboard").click()
    return client_id, secret


class Partner:
    """The partner's server: requests-oauthlib as it comes."""

    def __init__(self, live_server: Any, callback: Callback, client_id: str) -> None:
        self.base, self.callback = live_server.url, callback
        self.session = OAuth2Session(client_id, redirect_uri=callback.url, pkce="S256")
        self.client_id = client_id

    def link(self) -> str:
        return self.session.authorization_url(f"{self.base}/oauth/authorise/")[0]

    def exchange(self, secret: str) -> dict[str, Any]:
        landed = f"http://{urlsplit(self.callback.url).netloc}{self.callback.landed[-1]}"
        return self.session.fetch_token(
            f"{self.base}/open_auth/token/", authorization_response=landed, client_secret=secret
        )

    def refresh(self, secret: str) -> dict[str, Any]:
        return self.session.refresh_token(
            f"{self.base}/open_auth/token/", client_id=self.client_id, client_secret=secret
        )

    def ask_for_data(self) -> requests.Response:
        token = self.session.token["access_token"]
        return requests.get(
            f"{self.base}/open_auth/get_user_data/", headers={"Authorization": f"Bearer {token}"}, timeout=60
        )


def test_application_goes_from_its_registration_to_its_suspension(
    live_server, organisation, make_user, open_browser, callback
):
    member = make_user("mia@example.com", first_name="Mia", last_name="Member")
    deciding = make_user("rita@example.com", first_name="Rita", last_name="Reviewer")
    Reviewer.objects.create(user=deciding, organisation=organisation)

    # 126 words are refused, 127 accepted; nobody can connect yet.
    developer = open_browser(make_user("dora@example.com", first_name="Dora"), "/developer/add")
    client_id, secret = register(developer, callback)
    dashboard = developer.url
    partner = Partner(live_server, callback, client_id)
    user = open_browser(member, "/account/login/")
    user.goto(partner.link())
    expect(user.get_by_role("heading", level=1)).not_to_contain_text("wants to connect")

    # The reviewer asks for changes, the developer sends another version, the reviewer approves it.
    reviewer = open_browser(deciding, "/review/")
    reviewer.get_by_role("link", name="Circle").click()
    reviewer.get_by_role("button", name="Request changes").click()
    expect(reviewer.get_by_text("Say why, so that the team knows what to do.")).to_be_visible()
    reviewer.get_by_label("Note to the team").fill("Who runs it?")
    with reviewer.expect_navigation():
        reviewer.get_by_role("button", name="Request changes").click()
    desk = reviewer.url
    developer.goto(dashboard)
    expect(developer.get_by_text("Who runs it?").first).to_be_visible()
    developer.get_by_role("link", name="Description and scopes", exact=True).click()
    developer.get_by_label("Description", exact=True).fill(f"Four volunteers run it. {words(127)}")
    with developer.expect_navigation():
        developer.get_by_role("button", name="Send for review").click()
    reviewer.goto(desk)
    expect(reviewer.locator("ins").filter(has_text="volunteers").first).to_be_visible()
    with reviewer.expect_navigation():
        reviewer.get_by_role("button", name="Approve").click()

    # A user authorises it, with a client library as it comes.
    user.goto(partner.link())
    user.get_by_role("button", name="Allow").click()
    user.wait_for_url(re.compile(r"/callback\?"))
    token = partner.exchange(secret)
    assert token["scope"] == ["person.full_name"]
    answer = partner.ask_for_data()
    assert answer.status_code == 200
    assert answer.json()["person"] == {"fullName": "Mia Member"}

    # A new secret is made; the client goes on with the old one, and with the new one.
    developer.goto(dashboard)
    developer.get_by_role("link", name="Credentials", exact=True).click()
    developer.get_by_role("button", name="Make a new secret").click()
    new_secret = developer.locator("code.secret").inner_text()
    assert new_secret != secret
    partner.refresh(secret)
    partner.refresh(new_secret)
    assert partner.ask_for_data().status_code == 200

    # One more scope: the live version goes on, the reviewer sees what is different.
    developer.goto(dashboard)
    developer.get_by_role("link", name="Description and scopes", exact=True).click()
    developer.get_by_label("Your blood group", exact=True).check()
    developer.get_by_label("Why do you need this? Your blood group").fill("First aid at meetings.")
    with developer.expect_navigation():
        developer.get_by_role("button", name="Send for review").click()
    partner.refresh(new_secret)
    assert partner.ask_for_data().json()["person"] == {"fullName": "Mia Member"}
    reviewer.goto(desk)
    added = reviewer.get_by_role("listitem").filter(has_text="Your blood group").first
    expect(added.get_by_text("Added")).to_be_visible()
    expect(added.get_by_text("First aid at meetings.")).to_be_visible()

    # Suspended: every token stops at once.
    reviewer.get_by_role("link", name="Suspend…").click()
    reviewer.get_by_label(re.compile("Reason|Why|Note")).fill("The privacy policy cannot be reached.")
    with reviewer.expect_navigation():
        reviewer.get_by_role("button", name="Yes, suspend").click()
    assert partner.ask_for_data().status_code == 401
    with pytest.raises(Exception, match="unauthorized_client"):
        partner.refresh(new_secret)
    developer.goto(dashboard)
    expect(developer.get_by_text("The privacy policy cannot be reached.").first).to_be_visible()
