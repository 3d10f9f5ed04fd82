"""A real browser (Debian's Chromium, driven by Playwright), and a partner's callback for it to land on."""

import os
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from apps.accounts.models import User

# Playwright's event loop stays in this thread; Django would take every query of a test for a mistake.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

#: Milliseconds in which what a test expects has to be there: other tests keep the machine busy.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session")
def chromium_browser(chromium: str) -> Iterator[Chromium]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(autouse=True)
def _plain_static_names(settings: Any) -> None:
    """Link to style sheets and scripts by their plain names: the test server knows no hashed ones."""
    backend = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": backend}


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console complains about: scripts, styles and loads that our policy forbids."""
    return []


@pytest.fixture
def page(chromium_browser: Chromium, live_server: Any, complaints: list[str]) -> Iterator[Page]:
    """A page of a browser with no cookies, at the running server. Console errors and blocked loads fail the test."""
    context = chromium_browser.new_context(base_url=live_server.url)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


def is_complaint(message: ConsoleMessage) -> bool:
    """Say whether a console message is an error; a page that is meant to be a 4xx says so there too."""
    is_refused_page = (
        "the server responded with a status of 4" in message.text and "/static/" not in message.location["url"]
    )
    return message.type == "error" and not is_refused_page


@pytest.fixture
def log_in(page: Page, member: User, password: str) -> Any:
    """Fill in the log-in form that the page shows and send it; the next page and its scripts are there then."""

    def fill() -> None:
        page.get_by_label("Email").fill(member.email)
        page.get_by_label("Password", exact=True).fill(password)
        with page.expect_navigation():
            page.get_by_role("button", name="Sign in", exact=True).click()

    return fill


@pytest.fixture
def open_browser(chromium_browser: Chromium, live_server: Any, password: str) -> Iterator[Callable[[User, str], Page]]:
    """Open a browser of somebody's own, who goes to a page, and logs in where it asks for that."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def call(user: User, path: str) -> Page:
        context = chromium_browser.new_context(base_url=live_server.url)
        contexts.append(context)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text) if is_complaint(message) else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path)
        page.get_by_label("Email").fill(user.email)
        page.get_by_label("Password", exact=True).fill(password)
        with page.expect_navigation():
            page.get_by_role("button", name="Sign in", exact=True).click()
        return page

    yield call
    for context in contexts:
        context.close()
    assert complaints == []


class Callback:
    """The partner's callback: a server on this machine that remembers where the browser landed."""

    def __init__(self) -> None:
        landed = self.landed = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path.startswith("/callback"):
                    landed.append(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.end_headers()
                self.wfile.write(b"<!doctype html><title>Partner</title><h1>Back at the partner</h1>")

            def log_message(self, *args: Any) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/callback"
        #: As it is registered: the port of a loopback IP is free (RFC 8252 7.3).
        self.registered = "http://127.0.0.1/callback"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def callback() -> Iterator[Callback]:
    callback = Callback()
    yield callback
    callback.server.shutdown()
    callback.server.server_close()
