"""The "try it" run: a developer goes through the application's own flow, against this very server over real HTTP."""

import html
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from django.contrib.sessions.models import Session
from django.http import HttpResponse
from django.test import Client
from pytest_django.live_server_helper import LiveServer

from apps.accounts.models import User
from apps.connections.models import Connection
from apps.console.wire import Call, Flow, Wire
from apps.developers.models import Application, Role, Status, TeamMember
from apps.organisations.models import Organisation
from tests.conftest import RegisteredApplication

pytestmark = pytest.mark.django_db(transaction=True)

PROFILES = ["connection", "customer", "portal"]
#: The steps after the code is there, and what came of each.
REST = {
    "connection": {
        "exchange": "You are connected.",
        "introspect": "The token is active.",
        "revoke": "Done: the tokens are dead.",
    },
    "customer": {
        "exchange": "You are connected.",
        "call": "This is what the user shared: look into the answer.",
        "introspect": "The token is active.",
        "refresh": "A new pair; the old one is dead.",
        "revoke": "Done: the tokens are dead.",
    },
}
REST["portal"] = REST["customer"]
AUTHORIZE_DOORS = {"connection": "/auth", "customer": "/oauth/authorize", "portal": "/oauth/authorise/"}


@dataclass
class Developer:
    """A browser that is logged in. The requests of the run itself go to the live server."""

    application: RegisteredApplication
    user: User
    netloc: str
    client: Client = field(init=False)
    #: Everything that was shown.
    pages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.client = Client(headers={"host": self.netloc})
        self.client.force_login(self.user)

    @property
    def page(self) -> str:
        return f"/developer/apps/{self.application.row.pk}/try/"

    @property
    def callback(self) -> str:
        return f"http://{self.netloc}/developer/try/callback"

    @property
    def port(self) -> dict[str, str]:
        """Where the live server listens; the test client says 80."""
        return {"SERVER_PORT": self.netloc.rpartition(":")[2]}

    def get(self, address: str, query: dict[str, str] | None = None) -> HttpResponse:
        return self._follow(self.client.get(address, query, **self.port))

    def post(self, address: str, fields: dict[str, Any] | None = None) -> HttpResponse:
        return self._follow(self.client.post(address, fields, **self.port))

    def open(self) -> HttpResponse:
        return self.get(self.page)

    def register(self) -> HttpResponse:
        return self.post(f"{self.page}redirect-url", {"action": "add"})

    def start(self) -> str:
        """Prepare the request; return the address that the page sends the browser to."""
        page = self.post(f"{self.page}start", {"asks_again": "on"})
        found = re.search(r'class="button" href="(http[^"]*code_challenge[^"]*)"', page.content.decode())
        assert found is not None, page.content.decode()
        return html.unescape(found[1])

    def answer(self, address: str, decision: str = "allow") -> HttpResponse:
        """Open the consent page and answer it; return the page where the browser ends."""
        assert urlsplit(address).netloc == self.netloc
        path = urlsplit(address)._replace(scheme="", netloc="").geturl()
        assert self.get(path).status_code == 200
        return self.post(path, {"decision": decision})

    def connect(self) -> HttpResponse:
        self.register()
        self.answer(self.start())
        return self.take("exchange")

    def take(self, step: str, secret: str | None = None) -> HttpResponse:
        fields = {} if self.application.row.is_public else {"client_secret": secret or self.application.secret}
        return self.post(f"{self.page}steps/{step}", fields)

    @property
    def flow(self) -> Flow:
        """What the session remembers of the run."""
        kept = self.client.session.get("try_it")
        return Flow.unseal(kept["flow"], "try-it") if kept else Flow()

    def _follow(self, response: HttpResponse) -> HttpResponse:
        while response.status_code in {302, 303}:
            parts = urlsplit(response["Location"])
            assert parts.netloc in {"", self.netloc}, response["Location"]
            address = parts._replace(scheme="", netloc="", fragment="").geturl()
            response = self.client.get(address, **self.port)
        self.pages.append(response.content.decode())
        return response


def headlines(page: HttpResponse) -> list[str]:
    found = re.findall(r'class="flow-outcome [^"]*">\s*(.*?)\s*</p>', page.content.decode(), re.DOTALL)
    return [html.unescape(headline) for headline in found]


def has_failed_check(page: HttpResponse) -> bool:
    return "flow-check-failed" in page.content.decode()


@pytest.fixture
def make_developer(live_server: LiveServer, member: User) -> Callable[..., Developer]:
    def make(application: RegisteredApplication, role: Role = Role.DEVELOPER, netloc: str = "") -> Developer:
        TeamMember.objects.create(application=application.row, user=member, role=role)
        return Developer(application, member, netloc or urlsplit(live_server.url).netloc)

    return make


@pytest.fixture
def developer(make_developer: Callable[..., Developer], make_application) -> Developer:
    """A developer of a loyalty application, which has every step."""
    return make_developer(make_application("customer"))


# --- the whole way ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client_type", ["confidential", "public"])
@pytest.mark.parametrize("profile", PROFILES)
def test_developer_goes_through_the_flow_to_the_end(profile, client_type, make_developer, make_application) -> None:
    developer = make_developer(make_application(profile, client_type=client_type))
    developer.register()
    address = developer.start()
    assert urlsplit(address).path == AUTHORIZE_DOORS[profile]

    page = developer.answer(address)

    assert headlines(page) == ["The request is ready.", "Yes: there is a code."]
    assert not has_failed_check(page)
    for step, headline in REST[profile].items():
        if step == "introspect" and client_type == "public":
            assert f"steps/{step}" not in page.content.decode()
            continue
        page = developer.take(step)
        assert headline in headlines(page)
    assert developer.flow.is_ended
    if profile != "connection":
        assert "The token is dead, as it should be." in headlines(developer.take("call"))
    assert not Connection.objects.active().exists() or profile != "connection"


@pytest.mark.parametrize("profile", PROFILES)
def test_request_is_shown_before_it_is_made(profile, make_developer, make_application) -> None:
    """RFC 6749 4.1.1, RFC 7636 4.3"""
    developer = make_developer(make_application(profile))
    developer.register()
    address = developer.start()
    query = dict(parse_qsl(urlsplit(address).query))
    page = html.unescape(developer.pages[-1])
    assert query["redirect_uri"] == developer.callback
    assert query["code_challenge_method"] == "S256"
    assert query["prompt"] == "consent"
    assert len(query["state"]) >= 32
    assert query.get("scope", "") == " ".join(developer.application.row.scopes)
    for name, value in query.items():
        assert re.search(rf"<dt>{name}</dt>\s*<dd>\s*{re.escape(value)}\s", page), name


@pytest.mark.parametrize("profile", PROFILES)
def test_denial_is_shown_and_leaves_no_token(profile, make_developer, make_application) -> None:
    developer = make_developer(make_application(profile))
    developer.register()
    page = developer.answer(developer.start(), "deny")
    if profile == "portal":
        # CONTRACT section 3: a denial goes to the home page, which offers the way back.
        back = re.search(r'href="(http[^"]*/developer/try/callback[^"]*)"', page.content.decode())
        assert back is not None
        page = developer.get(urlsplit(html.unescape(back[1]))._replace(scheme="", netloc="").geturl())
    assert "access_denied" in headlines(page)[-1]
    assert developer.flow.access_token == ""
    assert "steps/exchange" not in page.content.decode()


@pytest.mark.parametrize("profile", PROFILES)
def test_wrong_secret_is_refused_and_can_be_typed_again(profile, make_developer, make_application) -> None:
    developer = make_developer(make_application(profile))
    developer.register()
    developer.answer(developer.start())

    page = developer.take("exchange", "not-the-secret-but-quite-as-long-as-one-could-be")

    assert "Refused: 401 invalid_client." in headlines(page)
    assert "You are connected." in headlines(developer.take("exchange"))


def test_code_works_once(developer) -> None:
    developer.connect()
    page = developer.take("exchange")
    assert "This step cannot be taken now." in page.content.decode()


def test_spent_code_is_told_and_not_tried_again(developer) -> None:
    developer.register()
    developer.answer(developer.start())
    flow = developer.flow
    body = {"grant_type": "authorization_code", "code": flow.code, **developer.application.credentials}
    spent = Client().post("/oauth/token", {**body, "redirect_uri": flow.redirect_uri, "code_verifier": flow.verifier})
    assert spent.status_code == 200
    page = developer.take("exchange")
    assert "Refused: 400 invalid_grant." in headlines(page)
    assert "Start again." in page.content.decode()
    assert "steps/exchange" not in page.content.decode()


@pytest.mark.parametrize(
    "change", [{"state": "another"}, {"state": "ä"}, {"iss": "https://another.example"}, {"state": None}, {"iss": None}]
)
def test_answer_to_another_request_is_not_believed(change, developer) -> None:
    """RFC 6749 10.12, RFC 9207 2.4: nothing reaches the token door."""
    developer.register()
    developer.start()
    flow = developer.flow
    answer = {"code": "csc_stolen", "state": flow.state, "iss": flow.issuer, **change}
    page = developer.get(
        "/developer/try/callback", {name: value for name, value in answer.items() if value is not None}
    )
    assert headlines(page)[-1] == "This answer does not belong to the request, so a client must ignore it."
    assert has_failed_check(page)
    assert developer.flow.code == ""


def test_answer_counts_once(developer) -> None:
    developer.register()
    developer.answer(developer.start())
    page = developer.get("/developer/try/callback", {"code": "csc_other", "state": ""})
    assert page.status_code == 400
    assert "No answer was expected" in page.content.decode()


def test_start_over_forgets_the_run(developer) -> None:
    developer.connect()
    page = developer.post(f"{developer.page}over")
    assert headlines(page) == []
    assert "try_it" not in developer.client.session


def test_run_with_another_application_takes_the_place_of_the_first(developer, make_developer, make_application) -> None:
    developer.connect()
    other = make_developer(make_application("portal"))
    other.client = developer.client
    other.register()
    other.start()
    assert headlines(developer.open()) == []
    assert headlines(other.open()) == ["The request is ready."]


@pytest.mark.parametrize("step", ["exchange", "call", "refresh", "revoke", "request", "receive", "take", "__init__"])
def test_step_that_is_not_due_is_not_taken(step, developer) -> None:
    developer.register()
    page = developer.take(step)
    assert "This step cannot be taken now." in page.content.decode()
    assert developer.flow == Flow()


@pytest.mark.parametrize("secret", ["", "   ", "x" * 1001])
def test_missing_secret_is_asked_for_and_nothing_is_sent(secret, developer) -> None:
    developer.register()
    developer.answer(developer.start())
    before = developer.flow
    page = developer.post(f"{developer.page}steps/exchange", {"client_secret": secret})
    assert "Type the client secret" in page.content.decode()
    assert developer.flow == before


# --- what must not be seen ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", PROFILES)
def test_secrets_and_tokens_stand_in_no_page_and_in_no_table(profile, make_developer, make_application) -> None:
    developer = make_developer(make_application(profile))
    developer.register()
    developer.answer(developer.start())
    secrets = {developer.application.secret, developer.flow.code, developer.flow.verifier}
    for step in REST[profile]:
        developer.take(step)
        secrets |= {developer.flow.access_token, developer.flow.refresh_token} - {""}
    assert all(len(secret) > 40 for secret in secrets)
    stored = [json.dumps(session.get_decoded()) for session in Session.objects.all()]
    messages = json.dumps(developer.flow.as_document()["messages"])
    for text in [*stored, *developer.pages, messages]:
        assert not [secret for secret in secrets if secret in text]
    # Not even encrypted is the client secret kept.
    assert developer.application.secret not in json.dumps(developer.flow.as_document())


def test_code_does_not_stay_in_the_address(developer) -> None:
    developer.register()
    page = developer.answer(developer.start())
    assert page.wsgi_request.get_full_path() == developer.page


def test_run_sends_nothing_anywhere_but_to_this_server(developer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a field of a form nor a header of the browser names an address."""
    sent: list[tuple[str, int, str]] = []
    send = Wire.send

    def note(wire: Wire, call: Call) -> Any:
        sent.append((wire.address, wire.port, call.path))
        return send(wire, call)

    monkeypatch.setattr(Wire, "send", note)
    developer.register()
    developer.answer(developer.start())
    port = int(developer.netloc.rpartition(":")[2])
    elsewhere = {"url": "http://169.254.169.254/", "path": "//evil.example/", "redirect_uri": "http://evil.example/"}
    for step in REST["customer"]:
        headers = {"x-forwarded-host": "evil.example", "x-forwarded-port": "9", "forwarded": "host=evil.example"}
        developer.client.post(
            f"{developer.page}steps/{step}",
            {"client_secret": developer.application.secret, **elsewhere},
            headers=headers,
            **developer.port,
        )
    assert {(address, at) for address, at, _path in sent} == {("127.0.0.1", port)}
    assert {path for _address, _at, path in sent} == {
        "/oauth/token",
        "/oauth/user",
        "/oauth/introspect",
        "/oauth/revoke",
    }
    assert developer.flow.is_ended


# --- the redirect URL ------------------------------------------------------------------------------------------------


def test_redirect_url_is_added_at_the_end_and_removed_again(developer) -> None:
    """The first one stays the first: users go there when a request names none (CONTRACT section 2)."""
    row = developer.application.row
    before = row.redirect_uri_list
    page = developer.open()
    assert "Prepare the request" not in page.content.decode()

    page = developer.register()

    row.refresh_from_db()
    assert row.redirect_uri_list == [*before, developer.callback]
    assert "Prepare the request" in page.content.decode()
    developer.post(f"{developer.page}redirect-url", {"action": "remove"})
    row.refresh_from_db()
    assert row.redirect_uri_list == before
    noted = [entry.details for entry in row.history.order_by("created_at")]
    assert noted == [
        {"added": [developer.callback], "removed": []},
        {"added": [], "removed": [developer.callback]},
    ]


def test_only_the_runs_own_address_can_be_added(developer) -> None:
    before = developer.application.row.redirect_uri_list
    developer.post(f"{developer.page}redirect-url", {"action": "add", "redirect_uri": "https://evil.example/"})
    developer.application.row.refresh_from_db()
    assert developer.application.row.redirect_uri_list == [*before, developer.callback]


def test_full_list_of_redirect_urls_is_told(developer) -> None:
    row = developer.application.row
    row.redirect_uris = " ".join(f"https://partner.example/{number}" for number in range(20))
    row.save()
    page = developer.register()
    assert "at most 20 redirect URLs" in page.content.decode()


def test_without_the_redirect_url_no_run_begins(developer) -> None:
    developer.post(f"{developer.page}start")
    assert developer.flow == Flow()


# --- who may, and when ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [status for status in Status if status not in {Status.APPROVED, Status.DELETED}])
def test_application_that_is_not_approved_has_no_button(status, developer) -> None:
    Application.objects.filter(pk=developer.application.row.pk).update(status=status)
    page = developer.open().content.decode()
    assert "once the application is approved" in page
    assert "Prepare the request" not in page
    assert "Add this redirect URL" not in page
    developer.post(f"{developer.page}start")
    assert developer.flow == Flow()


@pytest.mark.parametrize(
    ("role", "integrate", "run"),
    [(Role.OWNER, 200, 200), (Role.DEVELOPER, 200, 200), (Role.VIEWER, 200, 403), (None, 404, 404)],
)
def test_who_may_read_and_who_may_run(role, integrate, run, application, member, live_server) -> None:
    if role:
        TeamMember.objects.create(application=application.row, user=member, role=role)
    developer = Developer(application, member, urlsplit(live_server.url).netloc)
    assert developer.get(f"/developer/apps/{application.row.pk}/integrate/").status_code == integrate
    assert developer.open().status_code == run
    for path in ("start", "over", "redirect-url", "steps/exchange"):
        assert developer.post(developer.page + path).status_code == run
    application.row.refresh_from_db()
    may_change = role in {Role.OWNER, Role.DEVELOPER}
    assert len(application.row.redirect_uri_list) == 1
    developer.register()
    application.row.refresh_from_db()
    assert len(application.row.redirect_uri_list) == (2 if may_change else 1)


@pytest.mark.parametrize("path", ["integrate/", "try/"])
def test_visitor_is_sent_to_log_in(path, application) -> None:
    response = Client().get(f"/developer/apps/{application.row.pk}/{path}")
    assert response.status_code == 302
    assert response["Location"].startswith("/account/login/")


def test_visitor_at_the_callback_is_not_sent_to_log_in_with_the_code(organisation) -> None:
    response = Client().get("/developer/try/callback", {"code": "csc_secret", "state": "x"})
    assert response.status_code == 400
    assert "csc_secret" not in response.content.decode()


def test_developer_who_left_the_team_takes_no_answer(developer) -> None:
    developer.register()
    developer.start()
    state = developer.flow.state
    TeamMember.objects.filter(user=developer.user).update(role=Role.VIEWER)
    assert developer.get("/developer/try/callback", {"code": "csc_x", "state": state}).status_code == 404
    TeamMember.objects.filter(user=developer.user).delete()
    assert developer.get("/developer/try/callback", {"code": "csc_x", "state": state}).status_code == 404
    assert developer.flow.code == ""


@pytest.mark.parametrize("path", ["start", "over", "redirect-url", "steps/exchange"])
def test_button_is_a_post_and_leads_whoever_comes_otherwise_to_the_page(path, developer) -> None:
    """After a log-in in between, the browser comes back by GET."""
    before = developer.flow
    response = developer.client.get(developer.page + path, **developer.port)
    assert (response.status_code, response["Location"]) == (302, developer.page)
    assert developer.flow == before


def test_service_cannot_be_tried(make_developer, make_application) -> None:
    developer = make_developer(make_application("service"))
    assert developer.open().status_code == 404
    page = developer.get(f"/developer/apps/{developer.application.row.pk}/integrate/").content.decode()
    assert "Programs to copy" not in page
    assert "/oauth/introspect" in page


def test_application_of_another_organisation_is_tried_there(
    other_organisation: Organisation, make_developer, make_application, live_server
) -> None:
    """The door at this host does not know it (CONTRACT section 11)."""
    port = live_server.url.rpartition(":")[2]
    application = make_application("portal", organisation=other_organisation)
    developer = make_developer(application)
    page = developer.open().content.decode()
    assert f'href="http://campus.localhost:{port}{developer.page}"' in page
    assert "Add this redirect URL" not in page

    there = Developer(application, developer.user, f"campus.localhost:{port}")
    assert "You are connected." in headlines(there.connect())


def test_behind_a_proxy_that_ends_tls_the_run_works_all_the_same(
    make_developer, make_application, live_server, settings
) -> None:
    """The run's requests go past the proxy; the server must take them for https, as the browser's were."""
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.INSECURE_HTTP = False
    developer = make_developer(make_application("portal"), netloc="receipts.example")
    settings.ALLOWED_HOSTS = ["receipts.example"]
    developer.client = Client(headers={"host": "receipts.example", "x-forwarded-proto": "https"})
    developer.client.force_login(developer.user)
    port = live_server.url.rpartition(":")[2]

    def send(method: str, path: str, fields: dict[str, str] | None = None) -> HttpResponse:
        return getattr(developer.client, method)(path, fields, SERVER_PORT=port)

    send("post", f"{developer.page}redirect-url", {"action": "add"})
    developer.application.row.refresh_from_db()
    assert "https://receipts.example/developer/try/callback" in developer.application.row.redirect_uri_list
    send("post", f"{developer.page}start", {"asks_again": "on"})
    page = send("get", developer.page).content.decode()
    found = re.search(r'href="https://receipts\.example(/oauth/authorise/[^"]*)"', page)
    assert found is not None
    answer = send("post", html.unescape(found[1]), {"decision": "allow"})
    assert answer["Location"].startswith("https://receipts.example/developer/try/callback?")
    send("get", answer["Location"].removeprefix("https://receipts.example"))
    send("post", f"{developer.page}steps/exchange", {"client_secret": developer.application.secret})
    send("post", f"{developer.page}steps/call")
    outcomes = developer.flow.outcomes
    assert [outcome.headline for outcome in outcomes.values()][-1] == REST["portal"]["call"]
