"""A developer reads how to integrate and tries the flow in a real browser."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, expect

from apps.accounts.models import User
from apps.developers.models import Role, TeamMember
from tests.conftest import RegisteredApplication

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def application(make_application: Callable[..., RegisteredApplication], member: User) -> RegisteredApplication:
    """A loyalty application that the member develops."""
    application = make_application("customer")
    TeamMember.objects.create(application=application.row, user=member, role=Role.DEVELOPER)
    return application


def portal(application: RegisteredApplication, page: str) -> str:
    return f"/developer/apps/{application.row.pk}/{page}/"


def try_it(page: Page, application: RegisteredApplication, log_in: Callable[[], None]) -> None:
    page.goto(portal(application, "integrate"))
    log_in()
    page.get_by_role("link", name="Try it").click()
    page.get_by_role("button", name="Add this redirect URL").click()
    page.get_by_role("button", name="Prepare the request").click()
    expect(page.get_by_text("code_challenge_method", exact=True)).to_be_visible()
    page.get_by_role("link", name="Send my browser there").click()
    page.get_by_role("button", name="Allow").click()
    expect(page.get_by_text("Yes: there is a code.")).to_be_visible()
    assert "code=" not in page.url
    page.locator("#secret-exchange").fill(application.secret)
    page.get_by_role("button", name="Exchange the code").click()
    expect(page.get_by_text("You are connected.")).to_be_visible()
    page.get_by_role("button", name="Call it").click()
    expect(page.get_by_text("This is what the user shared")).to_be_visible()
    for name, button in {"introspect": "Introspect the token", "refresh": "Refresh", "revoke": "Revoke"}.items():
        # The same fields are on the page before and on the one after.
        page.locator(f"#secret-{name}").fill(application.secret)
        with page.expect_navigation():
            page.get_by_role("button", name=button, exact=True).click()
    expect(page.get_by_text("Done: the tokens are dead.")).to_be_visible()
    page.get_by_role("button", name="Remove it from the redirect URLs").click()
    expect(page.get_by_role("button", name="Add this redirect URL")).to_be_visible()


def test_developer_tries_the_flow(page: Page, application: RegisteredApplication, log_in: Any) -> None:
    try_it(page, application, log_in)


def test_developer_tries_the_flow_without_javascript(
    chromium_browser: Chromium,
    live_server: Any,
    application: RegisteredApplication,
    member: User,
    password: str,
) -> None:
    context: BrowserContext = chromium_browser.new_context(base_url=live_server.url, java_script_enabled=False)
    page = context.new_page()

    def log_in() -> None:
        page.get_by_label("Email").fill(member.email)
        page.get_by_label("Password", exact=True).fill(password)
        page.get_by_role("button", name="Sign in", exact=True).click()

    try_it(page, application, log_in)
    page.goto(portal(application, "integrate"))
    page.get_by_text("PHP, league/oauth2-client").click()
    expect(page.get_by_text("connect.php", exact=True).first).to_be_visible()
    context.close()


def test_program_is_copied_whole(page: Page, application: RegisteredApplication, log_in: Any) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(portal(application, "integrate"))
    log_in()
    page.get_by_text("Node.js, openid-client").click()
    # One at a time is open.
    expect(page.get_by_role("button", name="Copy the program: curl")).to_be_hidden()
    page.get_by_role("button", name="Copy the program: Node.js, openid-client").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith("// Example customer: the whole flow")
    assert "/oauth/token" in copied
    page.get_by_role("button", name="Copy: Tokens").click()
    assert page.evaluate("navigator.clipboard.readText()").endswith("/oauth/token")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_pages_are_accessible_and_fit(
    width: int,
    theme: Any,
    chromium_browser: Chromium,
    live_server: Any,
    application: RegisteredApplication,
    member: User,
    password: str,
) -> None:
    """CONTRACT section 12"""
    # axe marks what it looks at with inline styles, which our policy forbids.
    context = chromium_browser.new_context(
        base_url=live_server.url, viewport={"width": width, "height": 900}, color_scheme=theme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(portal(application, "integrate"))
    page.get_by_label("Email").fill(member.email)
    page.get_by_label("Password", exact=True).fill(password)
    with page.expect_navigation():
        page.get_by_role("button", name="Sign in", exact=True).click()
    assert_accessible(page)
    page.goto(portal(application, "try"))
    assert_accessible(page)
    page.get_by_role("button", name="Add this redirect URL").click()
    with page.expect_navigation():
        page.get_by_role("button", name="Prepare the request").click()
    assert_accessible(page)
    page.get_by_role("link", name="Send my browser there").click()
    page.get_by_role("button", name="Allow").click()
    page.locator("#secret-exchange").fill("not the secret")
    page.get_by_role("button", name="Exchange the code").click()
    expect(page.get_by_text("Refused: 401 invalid_client.")).to_be_visible()
    assert_accessible(page)
    context.close()


def assert_accessible(page: Page) -> None:
    page.wait_for_load_state()  # a click that leads to a page waits for its beginning only
    violations = Axe().run(page, options={"preload": False}).response["violations"]
    assert [(violation["id"], [node["html"] for node in violation["nodes"]]) for violation in violations] == []
    assert page.locator("h1").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
