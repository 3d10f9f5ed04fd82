"""The nouns and verbs of the tests: an organisation, a member, applications, and what partners do."""

import io
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Barrier
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest
from allauth.mfa.totp.internal import auth as totp
from django.contrib.auth.hashers import make_password
from django.core import mail
from django.core.mail import EmailMessage
from django.core.management import call_command
from django.db import connection, connections
from django.http import HttpResponse
from django.test import Client, TransactionTestCase
from procrastinate import JobContext
from procrastinate.contrib.django import app as procrastinate_app
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.accounts.models import User
from apps.activity import recorder
from apps.developers.models import Application, RequestedScope, Status
from apps.organisations.letters import Letter
from apps.organisations.mail import queue_letters
from apps.organisations.models import Organisation
from apps.tokens import keys
from tests.emptying import Emptying

CALLBACK = "https://partner.example/callback"

#: The doors, by profile, as the partners' documents name them.
AUTHORIZE_DOORS = {"connection": "/auth", "customer": "/oauth/authorize", "portal": "/oauth/authorise/"}
TOKEN_DOORS = {
    "connection": "/api/oauth/token",
    "customer": "/oauth/token",
    "portal": "/open_auth/token/",
    "service": "/oauth/token",
}
SCOPES = {
    "connection": ["receipt:write", "receipt:read"],
    "customer": [],
    "portal": ["person.full_name", "student.enrolment_number", "contact_information.email_address"],
    "service": ["notification:send", "introspect"],
}


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Make the signing keys once: an RSA key takes a quarter of a second. See to it that emptying is quick."""
    with django_db_blocker.unblock():
        keys.ensure_signing_keys()
        emptying = Emptying()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda case: emptying.empty())
        yield


@pytest.fixture(autouse=True)
def _fresh_process(settings: Any) -> Iterator[None]:
    """Every test starts like a new process: nothing cached of another test's database.

    What applications do is stored when a test says `recorder.flush()`, and by no thread.
    """
    settings.ACTIVITY_FLUSH_SECONDS = 0
    recorder.start_anew()
    keys.forget_loaded_keys()
    yield
    keys.forget_loaded_keys()


@pytest.fixture
def organisation(db: None) -> Organisation:
    """The default organisation; it serves the test client's host."""
    return Organisation.objects.create(slug="receipts", name="Kuittila", domain="receipts.example", is_default=True)


@pytest.fixture
def other_organisation(organisation: Organisation) -> Organisation:
    """Another brand, at campus.example."""
    return Organisation.objects.create(slug="campus", name="Aldermoor", domain="campus.localhost")


@pytest.fixture(scope="session")
def password() -> str:
    """The password of every user of this run."""
    return f"p-{uuid.uuid4()}"


@pytest.fixture(scope="session")
def password_hash(password: str) -> str:
    """Its Argon2 hash, made once: it is meant to be slow."""
    return make_password(password)


@pytest.fixture
def make_user(db: None, password_hash: str) -> Callable[..., User]:
    def make(email: str = "ada@example.com", **fields: Any) -> User:
        from allauth.account.models import EmailAddress

        defaults = {"first_name": "Ada", "last_name": "Byron"}
        user = User.objects.create(email=email, password=password_hash, **{**defaults, **fields})
        EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
        return user

    return make


@pytest.fixture
def member(make_user: Callable[..., User]) -> User:
    """A user with a verified e-mail address."""
    return make_user()


@dataclass
class RegisteredApplication:
    """An application together with the secret that only its developers know."""

    row: Application
    secret: str

    @property
    def client_id(self) -> str:
        return self.row.client_id

    @property
    def credentials(self) -> dict[str, str]:
        if self.row.is_public:
            return {"client_id": self.client_id}
        return {"client_id": self.client_id, "client_secret": self.secret}


@pytest.fixture
def make_application(organisation: Organisation) -> Callable[..., RegisteredApplication]:
    """Make an approved application of a profile, with every scope of `SCOPES`."""

    def make(profile: str = "connection", **fields: Any) -> RegisteredApplication:
        secret = uuid.uuid4().hex * 4
        optional = fields.pop("optional_scopes", [])
        defaults = {
            "name": f"Example {profile}",
            "organisation": organisation,
            "status": Status.APPROVED,
            "client_type": "confidential",
            "client_secret": secret,
            "redirect_uris": "" if profile == "service" else CALLBACK,
            "scopes": SCOPES[profile],
        }
        row = Application.objects.create(profile=profile, **{**defaults, **fields})
        for scope in row.scopes:
            RequestedScope.objects.create(
                application=row, scope=scope, reason=f"We need {scope}.", is_optional=scope in optional
            )
        return RegisteredApplication(row=row, secret=secret)

    return make


@pytest.fixture
def application(make_application: Callable[..., RegisteredApplication]) -> RegisteredApplication:
    """An approved application of the receipts programme."""
    return make_application("connection")


@pytest.fixture(params=["connection", "customer", "portal"])
def any_application(
    request: pytest.FixtureRequest, make_application: Callable[..., RegisteredApplication]
) -> RegisteredApplication:
    """An approved application of each programme in turn."""
    return make_application(request.param)


def query_of(response: HttpResponse) -> dict[str, str]:
    """Return the query of a redirect, each parameter once."""
    pairs = parse_qsl(urlsplit(response["Location"]).query, keep_blank_values=True)
    assert len(pairs) == len(dict(pairs)), "a parameter is repeated"
    return dict(pairs)


@dataclass
class Browser:
    """A user's browser: logged in, and pressing Allow."""

    user: User | None = None
    host: str = "testserver"
    client: Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(SERVER_NAME=self.host)
        if self.user is not None:
            self.client.force_login(self.user)

    def ask(self, application: RegisteredApplication, *, door: str | None = None, **parameters: Any) -> HttpResponse:
        """Follow the partner's link."""
        query = {"client_id": application.client_id, "response_type": "code", **parameters}
        query = {name: value for name, value in query.items() if value is not None}
        return self.client.get(door or AUTHORIZE_DOORS[application.row.profile], query)

    def answer(self, page: HttpResponse, decision: str = "allow", **fields: Any) -> HttpResponse:
        """Press a button on the consent page."""
        assert page.status_code == 200, page.status_code
        address = page.wsgi_request.get_full_path()
        return self.client.post(address, {"decision": decision, **fields})

    def authorize(self, application: RegisteredApplication, **parameters: Any) -> str:
        """Go through the whole authorization and return the code."""
        page = self.ask(application, **parameters)
        response = page if page.status_code == 302 else self.answer(page)
        assert response.status_code == 302, response.content
        query = query_of(response)
        assert "code" in query, query
        return query["code"]


@pytest.fixture
def browser(member: User) -> Browser:
    return Browser(member)


@pytest.fixture
def partner(db: None) -> Client:
    """A partner's server: no cookies, no session."""
    return Client()


@pytest.fixture
def exchange(partner: Client) -> Callable[..., HttpResponse]:
    """Exchange a code at the application's token door; keyword arguments change or (None) leave out a field."""

    def call(application: RegisteredApplication, code: str, **fields: Any) -> HttpResponse:
        door = fields.pop("door", TOKEN_DOORS[application.row.profile])
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": None,
            **application.credentials,
            **fields,
        }
        return partner.post(door, {name: value for name, value in body.items() if value is not None})

    return call


@pytest.fixture
def refresh(partner: Client) -> Callable[..., HttpResponse]:
    """Refresh at the application's token door."""

    def call(application: RegisteredApplication, refresh_token: str, **fields: Any) -> HttpResponse:
        body = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token,
            **application.credentials,
            **fields,
        }
        door = TOKEN_DOORS[application.row.profile]
        return partner.post(door, {name: value for name, value in body.items() if value is not None})

    return call


@pytest.fixture
def connect(browser: Browser, exchange: Callable[..., HttpResponse]) -> Callable[..., dict[str, Any]]:
    """Authorise an application and return its token response."""

    def call(application: RegisteredApplication, **parameters: Any) -> dict[str, Any]:
        response = exchange(application, browser.authorize(application, **parameters))
        assert response.status_code == 200, response.content
        return response.json()

    return call


@pytest.fixture
def call_with(partner: Client) -> Callable[..., HttpResponse]:
    """Call a resource endpoint with an access token."""

    def call(path: str, token: str | None, *, method: str = "get", **extra: Any) -> HttpResponse:
        headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
        return getattr(partner, method)(path, headers=headers, **extra)

    return call


@pytest.fixture
def introspect(partner: Client) -> Callable[..., dict[str, Any]]:
    """Ask about a token as `application`."""

    def call(application: RegisteredApplication, token: str) -> dict[str, Any]:
        response = partner.post("/oauth/introspect", {"token": token, **application.credentials})
        assert response.status_code == 200, response.content
        return response.json()

    return call


@pytest.fixture
def manage(db: None) -> Callable[..., Any]:
    """Run a management command with `--json` and return its answer."""

    def call(command: str, *arguments: str) -> Any:
        output = io.StringIO()
        call_command(command, *arguments, "--json", stdout=output)
        return json.loads(output.getvalue())

    return call


@pytest.fixture
def administrator(make_user: Callable[..., User]) -> Client:
    """The browser of an administrator who may do everything."""
    client = Client()
    client.force_login(make_user("root@example.com", is_staff=True, is_superuser=True))
    return client


@pytest.fixture
def mails(db: None) -> Callable[[], list[EmailMessage]]:
    """Do the background worker's part: `mails()` sends what is queued and returns what was sent since the last call.

    A message has `.to` (a list with one address), `.subject`, `.body` (the text) and `.alternatives[0].content` (the
    HTML). The jobs run inside the test's
    transaction, in the order in which they were queued; one that fails fails the test. Nothing is sent for what was
    rolled back: its job is not there.
    """
    # Django does not know the queue's tables as its own, and leaves in them what a test has committed.
    ProcrastinateJob.objects.all().delete()
    known: list[EmailMessage] = []

    def send() -> list[EmailMessage]:
        for row in ProcrastinateJob.objects.filter(queue_name="mail", status="todo").order_by("id"):
            run_job(row)
            ProcrastinateJob.objects.filter(pk=row.pk).delete()
        new = [message for message in mail.outbox if message not in known]
        known.extend(new)
        return new

    return send


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """Make all calls at the same moment, each in a thread with a database connection of its own."""
    barrier = Barrier(len(calls))

    def run(call: Callable[[], Any]) -> HttpResponse:
        barrier.wait()
        try:
            return call()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def totp_code(secret: str) -> str:
    """What an authenticator app shows now: a code that is good for some seconds more."""
    left = totp.app_settings.TOTP_PERIOD - time.time() % totp.app_settings.TOTP_PERIOD
    if left < 5:
        time.sleep(left)
    return totp.format_hotp_value(totp.hotp_value(secret, next(totp.yield_hotp_counters_from_time())))


def queue_mails(*recipients: str) -> None:
    """Queue a mail to each of them that says next to nothing."""
    letters = [
        Letter(to=to, sender="us@example.com", reply_to="", subject="Hello", text="t", html="") for to in recipients
    ]
    queue_letters("greeting", *letters)


def run_job(row: ProcrastinateJob) -> None:
    """Run a queued job here and now, as the worker would; what it raises is raised."""
    job = row.procrastinate_job
    context = JobContext(app=procrastinate_app, job=job, start_timestamp=time.time(), abort_reason=lambda: None)
    task = procrastinate_app.tasks[job.task_name]
    task(*([context] if task.pass_context else []), **job.task_kwargs)


def run_worker(**options: Any) -> None:
    """Run the background worker until nothing is left to do now.

    In a thread of its own: where a browser has been used, Playwright's event loop is in the tests' thread for good.
    """

    def run() -> None:
        with procrastinate_app.replace_connector(procrastinate_app.connector.get_worker_connector()):
            procrastinate_app.run_worker(wait=False, install_signal_handlers=False, listen_notify=False, **options)

    in_another_thread(run)


def in_another_thread(call: Callable[[], Any]) -> Any:
    """Call what runs an event loop of its own, whoever's loop is in this thread.

    It sees what the test has not committed: it uses the test's own connection, which waits meanwhile.
    """
    here = connections["default"]
    here.inc_thread_sharing()

    def run() -> Any:
        connections["default"] = here
        return call()

    try:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(run).result()
    finally:
        here.dec_thread_sharing()


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium. A browser test that cannot run fails: script/test installs what it needs."""
    path = os.environ.get("CHROMIUM")
    assert path, "install Chromium (Debian: apt-get install chromium), or set CHROMIUM"
    return path


__all__ = ["CALLBACK", "Browser", "RegisteredApplication", "parse_qs", "query_of"]
