"""Developers who register an application, in Chromium, with and without a script (CONTRACT sections 9 and 12)."""

import re
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Page, expect

from apps.console.forms.version import WordCount
from apps.developers.models import Application, Draft, Status
from apps.developers.rules import count_words
from tests.browser.test_accessibility import assert_accessible, phone, theme

__all__ = ["assert_accessible", "phone", "theme"]

pytestmark = pytest.mark.django_db(transaction=True)

ADD = "/developer/add"


def words(count: int) -> str:
    return " ".join(["word"] * count)


@pytest.fixture(autouse=True)
def _nothing_under_way(page: Page) -> Iterator[None]:
    """Leave no draft on its way to the server when a test ends: its database is emptied then."""
    context, under_way = page.context, set()
    context.on("request", lambda request: under_way.add(request) if request.url.endswith("/draft") else None)
    context.on("response", lambda response: under_way.discard(response.request))
    context.on("requestfailed", lambda request: under_way.discard(request))
    yield
    for each in context.pages:
        # As if the form had been sent: it saves no more.
        each.evaluate("document.querySelector('form[data-draft]')?.dispatchEvent(new Event('submit'))")
    deadline = time.monotonic() + 60
    # What a closed page sent last is not heard of again.
    while any(not each.frame.page.is_closed() for each in under_way):
        assert time.monotonic() < deadline, "a draft is still on its way"
        context.pages[0].wait_for_timeout(50)


@pytest.fixture
def open_form(page: Page, log_in: Callable[[], None], organisation: Any) -> Callable[[], None]:
    """Log in and open the registration form."""

    def call() -> None:
        page.goto(ADD)
        log_in()
        expect(page.get_by_role("heading", level=1)).to_have_text("Register an application")

    return call


def fill(page: Page, *, description: str) -> None:
    """Fill in everything but the scopes."""
    page.get_by_label("App name").fill("Penni Budget")
    page.get_by_label("Website").fill("https://penni.example/")
    page.get_by_label("Privacy policy").fill("https://penni.example/privacy")
    page.get_by_label("Connection (receipts)").check()
    page.get_by_label("Redirect URLs").fill("https://penni.example/callback")
    page.get_by_label("Description").fill(description)
    page.get_by_label("I agree to the developer terms of use").check()


def wait_for_draft() -> None:
    """A beacon and the page after it are on their way at the same time."""
    deadline = time.monotonic() + 60
    while not Draft.objects.exists():
        assert time.monotonic() < deadline, "nothing was saved"
        time.sleep(0.05)


def tick(page: Page, scope: str, reason: str) -> None:
    page.get_by_role("checkbox", name=scope, exact=True).check()
    page.get_by_label(f"Why do you need this? {scope}").fill(reason)


def test_126_words_are_refused_and_127_accepted(page, open_form):
    open_form()
    fill(page, description=words(126))
    tick(page, "Sending receipts", "We put your receipts into your budget.")

    page.get_by_role("button", name="Add", exact=True).click()

    summary = page.get_by_role("alert")
    expect(summary).to_contain_text("Use at least 127 words (you wrote 126).")
    expect(summary).to_be_focused()
    summary.get_by_role("link").click()
    expect(page.get_by_label("Description")).to_be_focused()
    assert page.get_by_label("App name").input_value() == "Penni Budget"
    expect(page.get_by_role("checkbox", name="Sending receipts", exact=True)).to_be_checked()

    page.get_by_label("Description").fill(words(127))
    page.get_by_role("button", name="Add", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Penni Budget is registered")
    application = Application.objects.get()
    expect(page.get_by_label("Client ID", exact=True)).to_have_text(application.client_id)
    assert len(page.get_by_label("Client secret", exact=True).inner_text()) == 128
    expect(page.get_by_role("button", name="Copy the client secret")).to_be_visible()
    page.get_by_role("link", name="Go to the dashboard").click()
    page.wait_for_url(f"**/developer/apps/{application.pk}/")
    expect(page.get_by_text("Pending").first).to_be_visible()


def test_words_are_counted_as_they_are_typed_beside_a_bar_with_its_marks(page, open_form):
    open_form()
    shown = page.locator("#description-words")
    bar = page.locator("meter")
    for count in (0, 1, 126, 127, 511, 512):
        page.get_by_label("Description").fill(words(count))
        expect(shown).to_have_text(WordCount(count).text)
        assert bar.evaluate("bar => bar.value") == count
    assert (bar.get_attribute("low"), bar.get_attribute("high")) == ("127", "511")
    left, width = bar.evaluate("bar => [bar.getBoundingClientRect().x, bar.getBoundingClientRect().width]")
    for words_there, place in ((127, 0), (511, 1)):
        mark = page.locator(".word-count-marks > span").nth(place)
        expect(mark).to_have_text(str(words_there))
        middle = mark.evaluate("mark => { const box = mark.getBoundingClientRect(); return box.x + box.width / 2; }")
        assert abs(middle - (left + width * words_there / 638)) < 2


NASTY = [
    "one two",
    "one\u00a0two\u2003three",
    "em—dash en–dash - — …",
    "don't self-made a/b e.g.",
    "👍 👩‍👩‍👧 two 🇫🇮 words",
    "漢字 かな 한국어",
    "e\u0301tude n\u0303",
    "\u0301 \u20dd",
    "\u00ad soft\u00adhyphen",
    "Ⅳ ⅷ ² ½ ① ٣ ௧ 〇 ㊿",
    "_ __ * #hash",
    "zero\u200bwidth\u200djoiner\ufeffmark \ufeff \u200b",
    "line\u2028separator\u2029paragraph",
    "unit\u001cfile\u001dgroup\u001erecord\u001funit",
    "next\u0085line tab\tvertical\u000bform\u000cfeed",
    "ogham\u1680space mongolian\u180espace narrow\u202fmath\u205fideographic\u3000space",
    "ª º ʰ ʼ ˈ ⁿ ₁",
    "مرحبا بالعالم שלום",
    "𝟘 𝒜 𐍈 \U0001f100",
    "<b>bold</b> &amp; \\n",
    "   ",
]


def test_words_are_counted_by_the_servers_rule(page, open_form):
    """Nasty texts, and every character that this Python knows: alone, and between two letters."""
    open_form()
    known = [chr(code) for code in range(1, 0x110000) if unicodedata.category(chr(code)) not in {"Cn", "Cs", "Co"}]
    # Line ends are the text area's own business: it makes one of all of them.
    known = [character for character in known if character not in "\r\n"]
    blocks = [known[start : start + 400] for start in range(0, len(known), 400)]
    texts = [
        *NASTY,
        *(" ".join(block) for block in blocks),
        *(" ".join(f"a{each}b" for each in block) for block in blocks),
    ]
    field = page.get_by_label("Description").element_handle()

    counted = page.evaluate(
        """([field, texts]) => texts.map((text) => {
            field.value = text;
            field.dispatchEvent(new Event("input", { bubbles: true }));
            return document.querySelector("meter").getAttribute("value") && document.querySelector("#description-words")
              .textContent.match(/\\d+/)[0];
        })""",
        [field, texts],
    )

    differing = [text[:80] for text, count in zip(texts, counted, strict=True) if int(count) != count_words(text)]
    assert differing == []


def test_ticking_a_scope_opens_its_reason(page, open_form):
    open_form()
    expect(page.get_by_text("Choose a profile above first.")).to_be_visible()
    expect(page.get_by_role("checkbox", name="Sending receipts", exact=True)).to_be_hidden()

    page.get_by_label("Connection (receipts)").check()
    reason = page.get_by_label("Why do you need this? Sending receipts")
    expect(reason).to_be_hidden()
    page.get_by_role("checkbox", name="Sending receipts", exact=True).check()
    reason.fill("r" * 275)
    expect(page.get_by_text("5 characters left")).to_be_visible()
    reason.fill("r" * 282)
    expect(page.get_by_text("2 characters too many")).to_be_visible()

    page.get_by_label("Portal (campus)").check()
    expect(reason).to_be_hidden()
    expect(page.get_by_role("checkbox", name="Your full name", exact=True)).to_be_visible()
    page.get_by_label("Customer (loyalty)").check()
    expect(page.locator("[data-profile=customer]").get_by_text("Your Kuittila memberships")).to_be_visible()
    page.get_by_label("Connection (receipts)").check()
    expect(reason).to_have_value("r" * 282)


def test_scopes_of_a_profile_that_is_not_chosen_any_more_are_not_sent(page, open_form):
    open_form()
    fill(page, description=words(127))
    page.get_by_label("Portal (campus)").check()
    tick(page, "Your full name", "We greet you by it.")
    page.get_by_label("Connection (receipts)").check()
    tick(page, "Sending receipts", "We put your receipts into your budget.")

    page.get_by_role("button", name="Add", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Penni Budget is registered")
    assert Application.objects.get().scopes == ["receipt:write"]


def test_preview_shows_the_consent_screen_while_one_types(page, open_form, complaints):
    open_form()
    preview = page.locator(".preview-screen")
    expect(preview).to_contain_text("Your application wants to connect to your Kuittila account")

    page.get_by_label("App name").fill("<b>Penni</b> $& {organisation}")
    expect(preview).to_contain_text("<b>Penni</b> $& {organisation} wants to connect to your Kuittila account")
    expect(preview.locator(".meeting .monogram").first).to_have_text("<")
    page.get_by_label("Portal (campus)").check()
    tick(page, "Your full name", "<img src=x onerror=alert(1)> We greet you.")
    expect(preview.locator("fieldset:visible")).to_have_count(1)
    expect(preview).to_contain_text("About you")
    expect(preview).to_contain_text("<img src=x onerror=alert(1)> We greet you.")
    assert preview.locator("img[src=x]").count() == 0
    expect(preview.get_by_text("Optional").locator("visible=true")).to_have_count(0)
    page.get_by_label("Optional: users may untick it Your full name").check()
    expect(preview.get_by_text("Optional").locator("visible=true")).to_have_count(1)
    page.get_by_label("Customer (loyalty)").check()
    expect(preview.locator("fieldset:visible")).to_have_count(0)
    expect(preview).to_contain_text("Your Kuittila memberships, with their points")
    expect(preview.get_by_role("button", name="Allow")).to_be_disabled()
    expect(preview.get_by_role("button", name="Deny")).to_be_disabled()


def test_choosing_another_organisation_changes_what_depends_on_it(
    page, log_in, organisation, other_organisation, make_application
):
    make_application("connection", scopes=["receipt:read"])
    page.goto(ADD)
    log_in()
    page.get_by_label("Connection (receipts)").check()
    preview = page.locator(".preview-screen")
    asked = page.locator("[id='asked-receipt:read']")
    expect(asked).to_have_text("1 of 1 similar application asks for this")
    expect(page.get_by_role("link", name="Terms of Kuittila, version 1")).to_be_visible()

    page.get_by_label("Organisation").select_option(label="Aldermoor")
    expect(asked).to_have_text("No similar application yet")
    page.get_by_label("Organisation").select_option(label="Kuittila")
    expect(asked).to_have_text("1 of 1 similar application asks for this")
    page.get_by_label("Organisation").select_option(label="Aldermoor")

    expect(asked).to_have_text("No similar application yet")
    expect(page.get_by_role("link", name="Terms of Kuittila, version 1")).to_be_hidden()
    expect(page.get_by_role("link", name="Terms of Aldermoor, version 1")).to_be_visible()
    expect(preview).to_contain_text("wants to connect to your Aldermoor account")
    expect(preview.locator(".meeting:visible .monogram").last).to_have_text("A")
    page.get_by_label("Customer (loyalty)").check()
    expect(preview.get_by_text("Your Aldermoor memberships, with their points")).to_be_visible()
    expect(page.get_by_text("Your Kuittila memberships").locator("visible=true")).to_have_count(0)


def test_closed_tab_loses_nothing(page, open_form):
    open_form()
    fill(page, description="The beginning of a text.")
    tick(page, "Sending receipts", "We put your receipts")
    expect(page.locator("[data-draft-status]")).to_have_text(re.compile(r"^Draft saved \d\d:\d\d$"))
    page.get_by_label("Description").fill("The beginning of a text, and a bit more.")
    context = page.context
    page.close(run_before_unload=False)

    again = context.new_page()
    again.goto(ADD)

    expect(again.get_by_text("We kept what you wrote on")).to_be_visible()
    expect(again.get_by_label("App name")).to_have_value("Penni Budget")
    expect(again.get_by_label("Connection (receipts)")).to_be_checked()
    expect(again.get_by_role("checkbox", name="Sending receipts", exact=True)).to_be_checked()
    expect(again.get_by_label("Why do you need this? Sending receipts")).to_have_value("We put your receipts")
    assert again.get_by_label("Description").input_value().startswith("The beginning of a text")
    again.get_by_role("button", name="Start afresh").click()
    expect(again.get_by_label("App name")).to_have_value("")
    assert not Draft.objects.exists()


def test_page_that_is_left_saves_what_was_typed_last(page, open_form):
    """Before the moment is over after which it is saved."""
    open_form()
    page.get_by_label("App name").fill("Left in a hurry")
    page.goto("/developer/terms/")
    wait_for_draft()

    page.goto(ADD)

    expect(page.get_by_label("App name")).to_have_value("Left in a hurry")


@pytest.mark.parametrize("is_left", [True, False], ids=["left at once", "stayed on"])
def test_what_is_typed_before_the_script_has_come_is_saved_too(page, open_form, is_left):
    open_form()
    held, is_held = [], True
    page.route("**/save-draft*.js", lambda route: held.append(route) if is_held else route.continue_())
    page.goto(ADD, wait_until="commit")
    page.get_by_label("App name").fill("Typed in a hurry")
    page.get_by_label("Connection (receipts)").check()
    assert held, "the script is on its way"
    is_held = False
    held.pop().continue_()
    page.wait_for_load_state()
    if is_left:
        page.goto("/developer/terms/")
    wait_for_draft()

    page.goto(ADD)

    expect(page.get_by_label("App name")).to_have_value("Typed in a hurry")
    expect(page.get_by_label("Connection (receipts)")).to_be_checked()


def test_form_that_nobody_has_touched_is_not_saved(page, open_form):
    sent = []
    page.on("request", lambda request: sent.append(request.method) if "/draft" in request.url else None)
    open_form()
    page.wait_for_timeout(1500)  # over the moment after which a change is saved
    page.goto("/developer/terms/")

    assert sent == []
    assert not Draft.objects.exists()


def test_who_is_logged_out_logs_in_in_another_tab_and_goes_on(page, open_form, log_in, member):
    open_form()
    status = page.locator("[data-draft-status]")
    other = page.context.new_page()
    other.goto("/account/logout/")
    other.get_by_role("main").get_by_role("button", name="Log out").click()
    other.wait_for_url("**/")

    page.get_by_label("App name").fill("Still here")
    expect(status).to_contain_text("Log in again in another tab; your text stays here.")
    other.goto("/account/login/")
    other.get_by_label("Email").fill(member.email)
    other.get_by_label("Password", exact=True).fill(_password_of(log_in))
    other.get_by_role("button", name="Sign in", exact=True).click()
    other.wait_for_url("**/")
    page.get_by_label("App name").fill("Still here, again")

    expect(status).to_have_text(re.compile(r"^Draft saved"))
    assert Draft.objects.get().fields["name"] == ["Still here, again"]


def _password_of(log_in: Any) -> str:
    """The password that the fixture types."""
    cells = dict(zip(log_in.__code__.co_freevars, log_in.__closure__, strict=True))
    return str(cells["password"].cell_contents)


def test_double_click_registers_once_and_shows_the_secret(page, open_form):
    open_form()
    fill(page, description=words(127))
    tick(page, "Sending receipts", "We put your receipts into your budget.")

    page.get_by_role("button", name="Add", exact=True).dblclick()

    expect(page.get_by_role("heading", level=1)).to_have_text("Penni Budget is registered")
    expect(page.get_by_label("Client secret", exact=True)).to_be_visible()
    assert Application.objects.count() == 1


def test_form_works_with_the_keyboard_alone(page, open_form):
    open_form()
    page.get_by_label("App name").focus()
    keyboard = page.keyboard

    def press(key: str, times: int = 1) -> None:
        for _time in range(times):
            keyboard.press(key)

    keyboard.type("Penni Budget")
    press("Tab", 2)  # past the organisation
    keyboard.type("https://penni.example/")
    press("Tab")
    keyboard.type("https://penni.example/privacy")
    press("Tab", 2)  # past the terms of service
    press("Space")  # the first profile
    press("Tab", 2)  # past the client type
    keyboard.type("https://penni.example/callback")
    press("Tab")
    keyboard.insert_text(words(127))
    press("Tab")
    press("Space")  # the first scope
    press("Tab")
    keyboard.type("We put your receipts into your budget.")
    for _step in range(8):  # past optional, the other scope and the preview
        press("Tab")
        if page.evaluate("document.activeElement.name") == "agreement":
            break
    press("Space")
    press("Enter")

    expect(page.get_by_role("heading", level=1)).to_have_text("Penni Budget is registered")


@pytest.fixture
def plain_page(chromium_browser: Chromium, live_server: Any) -> Iterator[Page]:
    """A page of a browser that runs no scripts."""
    context = chromium_browser.new_context(base_url=live_server.url, java_script_enabled=False)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def test_form_works_without_a_script(plain_page, member, password, organisation):
    page = plain_page
    page.goto(ADD)
    page.get_by_label("Email").fill(member.email)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("group", name="Connection (receipts)")).to_be_visible()
    expect(page.get_by_role("group", name="Portal (campus)")).to_be_visible()

    fill(page, description=words(126))
    tick(page, "Your full name", "We greet you by it.")
    page.get_by_role("button", name="Save draft").click()
    expect(page.get_by_text("Your draft is saved.")).to_be_visible()
    expect(page.locator(".preview-screen")).to_contain_text("Penni Budget wants to connect")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("does not have these: Your full name")
    expect(page.get_by_text("Words: 126.")).to_be_visible()

    page.get_by_role("checkbox", name="Your full name", exact=True).uncheck()
    tick(page, "Sending receipts", "We put your receipts into your budget.")
    page.get_by_label("Description").fill(words(127))
    page.get_by_role("button", name="Add", exact=True).click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Penni Budget is registered")
    expect(page.get_by_label("Client secret", exact=True)).to_be_visible()


def test_differences_from_the_live_version_are_listed_while_one_types(
    page, log_in, organisation, make_application, member
):
    application = make_application("connection", scopes=["receipt:write"], description=words(127)).row
    application.team.create(user=member, role="owner")
    page.goto(f"/developer/apps/{application.pk}/version/")
    log_in()
    listed = page.locator("[data-differences] > li")
    expect(listed).to_have_text(["Nothing is different from what is live, so nothing would have to be reviewed."])

    page.get_by_role("checkbox", name="Sending receipts", exact=True).uncheck()
    tick(page, "Reading receipts", "We show your receipts.")
    page.get_by_label("Description").fill(words(128))

    expected = [
        "“Sending receipts” ends at once, for everybody who has connected.",
        "“Reading receipts” is new: it waits for the review.",
        "The description is another: it waits for the review.",
    ]
    expect(listed).to_have_text(expected)
    expect(page.locator("[data-draft-status]")).to_have_text(re.compile(r"^Draft saved"))
    page.reload()
    expect(listed).to_have_text(expected)
    page.get_by_role("button", name="Send for review").click()
    expect(page.get_by_text("Ended at once: “Sending receipts”.")).to_be_visible()
    expect(page.get_by_text("Version 1 waits for the review.", exact=False).first).to_be_visible()


def test_pages_are_accessible_on_a_phone(phone, assert_accessible, log_in, organisation, make_application, member):
    phone.goto("/developer/")
    log_in()
    expect(phone.get_by_role("heading", level=1)).to_have_text("Your applications")
    assert_accessible(phone)
    phone.goto("/developer/terms/")
    assert_accessible(phone)
    phone.goto(ADD)
    assert_accessible(phone)
    phone.get_by_label("Portal (campus)").check()
    tick(phone, "Your full name", "short")
    phone.locator(".consent-preview summary").click()
    phone.get_by_role("button", name="Add", exact=True).click()
    expect(phone.get_by_role("alert")).to_be_visible()
    assert_accessible(phone)
    fill(phone, description=words(127))
    tick(phone, "Sending receipts", "We put your receipts into your budget.")
    phone.get_by_role("button", name="Add", exact=True).click()
    expect(phone.get_by_role("heading", level=1)).to_have_text("Penni Budget is registered")
    assert_accessible(phone)
    application = Application.objects.get()
    phone.goto("/developer/")
    assert_accessible(phone)
    phone.goto(f"/developer/apps/{application.pk}/version/")
    assert_accessible(phone)
    Application.objects.update(status=Status.APPROVED)
    phone.goto(f"/developer/apps/{application.pk}/version/")
    phone.get_by_role("checkbox", name="Reading receipts", exact=True).check()
    assert_accessible(phone)
