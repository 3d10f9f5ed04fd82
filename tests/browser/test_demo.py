"""A visitor tries the three demo partners in a real browser."""

from collections.abc import Callable, Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect
from pytest_django.live_server_helper import LiveServer

from apps.demo.partners import PROGRAMMES
from apps.demo.seeding import seed
from apps.demo.seeding_data import PASSWORD

#: The buttons after the tokens are there, in the order of the page.
BUTTONS = {
    "receipts": ["Introspect the token", "Delete the connection", "Introspect once more"],
    "loyalty": ["Get the customer", "Refresh", "Revoke the tokens", "Call once more"],
    "campus": ["Get the data points", "Refresh", "Revoke the tokens", "Call once more"],
}


@pytest.fixture
def demo(live_server: LiveServer, settings: Any, tmp_path: Any) -> str:
    """The address of the demo, at the host that its redirect URIs name."""
    settings.MEDIA_ROOT = tmp_path
    # Nine people and a slow hash: a second for every test.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS[1:]]
    # The live server takes static files from where they are written, under their own names.
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    seed()
    return f"http://127.0.0.1:{urlsplit(live_server.url).port}/demo/"


@pytest.fixture
def open_page(demo: str, chromium_browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open a page in a browser with no cookies. What is blocked or goes wrong on it fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def open_it(**options: Any) -> Page:
        contexts.append(chromium_browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert complaints == []


def connect(page: Page, demo: str, programme: str) -> None:
    """Go from the list of partners to the consent page, logging in on the way."""
    page.goto(demo)
    page.locator(f"a[href$='/demo/{programme}/']").click()
    page.get_by_role("button", name="Connect my account").click()
    page.get_by_label("Email", exact=True).fill(PROGRAMMES[programme].member_email)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


@pytest.mark.parametrize(
    ("programme", "has_javascript"),
    [("receipts", True), ("loyalty", True), ("campus", True), ("loyalty", False)],
    ids=["receipts", "loyalty", "campus", "loyalty, without JavaScript"],
)
def test_visitor_goes_through_the_programme(
    programme: str, has_javascript: bool, open_page: Callable[..., Page], demo: str
) -> None:
    page = open_page(java_script_enabled=has_javascript)
    connect(page, demo, programme)
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_text("We are connected.")).to_be_visible()
    assert "code=" not in page.url
    for button in BUTTONS[programme]:
        with page.expect_navigation():
            page.get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_text("The token is dead, as it should be.")).to_be_visible()
    page.get_by_role("button", name="Start over").click()
    expect(page.get_by_role("button", name="Connect my account")).to_be_visible()


@pytest.mark.parametrize("programme", list(PROGRAMMES))
def test_visitor_denies(programme: str, open_page: Callable[..., Page], demo: str) -> None:
    page = open_page()
    connect(page, demo, programme)
    page.get_by_role("button", name="Deny").click()
    if programme == "campus":
        # CONTRACT section 3: a denial goes to the home page, which offers the way back.
        page.locator("a[href*='/demo/campus/callback']").click()
    expect(page.get_by_text("the server says access_denied")).to_be_visible()


def test_user_narrows_the_connection_and_comes_back(open_page: Callable[..., Page], demo: str) -> None:
    """CONTRACT section 7"""
    page = open_page()
    connect(page, demo, "receipts")
    page.get_by_role("button", name="Allow").click()
    page.get_by_role("button", name="Manage the connection").click()
    page.get_by_label("Sending receipts").uncheck()
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("modified: the user changed what we may do.")).to_be_visible()
    page.get_by_role("button", name="Introspect the token").click()
    expect(page.locator("#step-call dd", has_text="receipt:read")).to_have_text("receipt:read")


def test_log_can_be_copied(open_page: Callable[..., Page], demo: str) -> None:
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    connect(page, demo, "loyalty")
    page.get_by_role("button", name="Allow").click()
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("curl http://127.0.0.1:")
    assert "characters)" in copied


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_pages_are_accessible_and_fit(
    width: int, theme: Literal["light", "dark"], open_page: Callable[..., Page], demo: str
) -> None:
    """CONTRACT section 12: the list of partners, a page that has not begun, and one with much on it."""
    # axe marks what it looks at with inline styles, which our policy forbids.
    page = open_page(viewport={"width": width, "height": 900}, color_scheme=theme, bypass_csp=True)
    page.goto(demo)
    assert_accessible(page)
    page.goto(f"{demo}loyalty/")
    assert_accessible(page)
    connect(page, demo, "receipts")
    page.get_by_role("button", name="Allow").click()
    page.get_by_role("button", name="Exchange the same code again").click()
    expect(page.get_by_text("Refused (invalid_grant)")).to_be_visible()
    assert_accessible(page)


def assert_accessible(page: Page) -> None:
    page.wait_for_load_state()  # a click that leads to a page waits for its beginning only
    violations = Axe().run(page, options={"preload": False}).response["violations"]
    assert [(violation["id"], [node["html"] for node in violation["nodes"]]) for violation in violations] == []
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
