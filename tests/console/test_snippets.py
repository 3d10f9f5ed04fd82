"""The programs of the integrate page: they run as they stand, and nothing gets out of its quotes in them."""

import ast
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tokenize
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.http import HttpResponse
from django.test import Client, RequestFactory
from pytest_django.live_server_helper import LiveServer

from apps.accounts.models import User
from apps.console.snippets import Snippet, addresses_of, write_snippets
from apps.console.snippets.addresses import site_of
from apps.console.snippets.literals import comment, quote_javascript, quote_php, quote_python, quote_shell
from apps.developers.models import Application
from tests.conftest import RegisteredApplication

PROFILES = ["connection", "customer", "portal"]
#: How each program is run. Node.js and PHP are on no machine that runs these tests: theirs are read, not run.
INTERPRETERS = {"curl": ["sh"], "requests-oauthlib": [sys.executable], "authlib": [sys.executable]}
READ_ONLY = ["openid-client", "league"]
HOSTILE = [
    "it's",
    '"quoted"',
    "back\\slash\\",
    "\\'; system('id'); //",
    '"; import os; os.abort(); "',
    "$(id) `id` $HOME ${HOME}",
    "two\nlines\r\nand\u2028three",
    "?> <?php echo 1; /* */ # //",
    "</script><b>",
    "emoji 🙂 and ä",
    "{{ name }} {% now 'Y' %}",
    # What ends PHP, left over when it was taken out once.
    "??>> <?php echo 1; //",
    "?\u200b> ?\x1f> <?php echo 1; //",
    # Tells Python in the first two lines how to read the file (PEP 263).
    "coding: utf-7",
    "-*- coding=utf-7 -*- vim: set fileencoding=utf-7 :",
    "+ACIAOwBwAHIAaQBuAHQAKAAiAGgAaQAiACkAOwAi- and more",
    "Ends with a backslash \\",
]


def programs(application: Application, base: str) -> dict[str, Snippet]:
    addresses = addresses_of(application.profile, base=base, issuer=application.organisation.issuer)
    return {snippet.slug: snippet for snippet in write_snippets(application, addresses)}


# --- they run ---------------------------------------------------------------------------------------------


@pytest.fixture
def person(live_server: LiveServer, member: User) -> Callable[[str, str], str]:
    """A person who is logged in, opens a link, answers, and tells where the browser was sent."""
    client = Client(headers={"host": urlsplit(live_server.url).netloc})
    client.force_login(member)

    def open_link(address: str, decision: str) -> str:
        path = urlsplit(address)._replace(scheme="", netloc="").geturl()
        page: HttpResponse = client.get(path)
        assert page.status_code == 200, page.content
        # The optional permission stays unticked: nothing is sent for it.
        answer = client.post(path, {"decision": decision})
        assert answer.status_code == 302
        return str(answer["Location"])

    return open_link


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run a program, and paste what the browser was sent to; return its exit status and all that it printed."""

    def call(snippet: Snippet, secret: str | None, browse: Callable[[str], str]) -> tuple[int, str]:
        command = INTERPRETERS[snippet.slug]
        needed = ["curl", "openssl"] if snippet.slug == "curl" else []
        missing = [name for name in needed if shutil.which(name) is None]
        assert not missing, f"script/test needs {missing}: install them (Debian: apt-get install curl openssl)"
        file = tmp_path / snippet.file_name
        file.write_text(snippet.text)
        environment = {"PATH": os.environ["PATH"], **({"CLIENT_SECRET": secret} if secret else {})}
        with subprocess.Popen(
            [*command, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            printed = ""
            for line in process.stdout:
                printed += line
                if line.startswith("http://"):
                    process.stdin.write(browse(line.strip()) + "\n")
                    process.stdin.close()
                    break
            printed += process.stdout.read()
            return process.wait(), printed

    return call


#: What the resource endpoint's answer is known by, for a confidential client.
ANSWERS = {"connection": '"receipthero_id"', "customer": '"memberships"', "portal": '"userId"'}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("client_type", ["confidential", "public"])
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("slug", list(INTERPRETERS))
def test_program_connects_calls_and_refreshes(
    slug, profile, client_type, live_server, make_application, person, run
) -> None:
    application: RegisteredApplication = make_application(
        profile, client_type=client_type, optional_scopes=["receipt:read", "contact_information.email_address"]
    )
    secret = None if application.row.is_public else application.secret

    status, printed = run(
        programs(application.row, live_server.url)[slug], secret, lambda address: person(address, "allow")
    )

    assert status == 0, printed
    assert "Connected" in printed
    assert ("Refreshed" in printed) == (profile != "connection")
    # A public client of the receipts programme has nothing to ask: introspection is not for it.
    assert (ANSWERS[profile] in printed) == (profile != "connection" or secret is not None)
    assert application.secret not in printed


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("slug", list(INTERPRETERS))
def test_program_with_awkward_values_runs_all_the_same(slug, live_server, make_application, person, run) -> None:
    application = make_application(
        "customer",
        name='O\'Brien "& Söhne"\nexit 1\r`id` $(id)',
        redirect_uris="https://partner.example/it's;(really)?a=1&b=$HOME!",
    )
    status, printed = run(
        programs(application.row, live_server.url)[slug], application.secret, lambda address: person(address, "allow")
    )
    assert status == 0, printed
    assert "Refreshed" in printed


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("slug", list(INTERPRETERS))
@pytest.mark.parametrize(
    ("decision", "change", "said"),
    [
        ("deny", lambda address: address, "You were not connected"),
        ("allow", lambda address: address.replace("state=", "state=x"), "no answer to our request"),
        ("allow", lambda address: address.replace("receipts.example", "another.example"), "answer"),
    ],
    ids=["denied", "state", "iss"],
)
def test_program_stops_at_a_denial_and_at_an_answer_that_is_not_its_own(
    slug, decision, change, said, live_server, application, person, run
) -> None:
    """RFC 6749 10.12, RFC 9207 2.4"""
    status, printed = run(
        programs(application.row, live_server.url)[slug],
        application.secret,
        lambda address: change(person(address, decision)),
    )
    assert status != 0
    assert said in printed
    assert "Connected" not in printed


@pytest.mark.parametrize("slug", list(INTERPRETERS))
def test_program_without_a_secret_says_what_is_missing(slug, application, run) -> None:
    status, printed = run(programs(application.row, "http://127.0.0.1:9")[slug], None, lambda address: address)
    assert status != 0
    assert "CLIENT_SECRET" in printed


# --- they say the right things -------------------------------------------------------------------------------

#: By profile: authorize and token door, and what the token opens.
DOORS = {
    "connection": ("/auth", "/api/oauth/token", "/oauth/introspect"),
    "customer": ("/oauth/authorize", "/oauth/token", "/oauth/user?include=memberships"),
    "portal": ("/oauth/authorise/", "/open_auth/token/", "/open_auth/get_user_data/"),
}


@pytest.mark.parametrize("slug", [*INTERPRETERS, *READ_ONLY])
@pytest.mark.parametrize("profile", PROFILES)
def test_program_uses_the_doors_of_its_programme(slug, profile, make_application) -> None:
    """CONTRACT section 1"""
    text = programs(make_application(profile).row, "https://receipts.example")[slug].text
    authorize, token, resource = (f"https://receipts.example{path}" for path in DOORS[profile])
    after_authorize = r"\?" if slug == "curl" else "['\"]"
    assert re.search(re.escape(authorize) + after_authorize, text)
    assert re.search(re.escape(token) + r"['\"\s]", text)
    assert resource in text
    others = {path for other in PROFILES for path in DOORS[other][:2]} - set(DOORS[profile])
    for path in others:
        assert not re.search(re.escape(f"receipts.example{path}") + r"['\"?\s]", text)


@pytest.mark.parametrize("slug", [*INTERPRETERS, *READ_ONLY])
@pytest.mark.parametrize("profile", PROFILES)
def test_program_refreshes_where_there_are_refresh_tokens(slug, profile, make_application) -> None:
    text = programs(make_application(profile).row, "https://receipts.example")[slug].text
    assert ("Refreshed" in text) == (profile != "connection")


@pytest.mark.parametrize("slug", [*INTERPRETERS, *READ_ONLY])
def test_secret_is_read_from_the_environment_and_stands_nowhere(slug, application) -> None:
    text = programs(application.row, "https://receipts.example")[slug].text
    assert "CLIENT_SECRET" in text
    assert application.secret not in text
    assert application.row.client_secret not in text


@pytest.mark.parametrize("slug", [*INTERPRETERS, *READ_ONLY])
def test_public_client_has_no_secret(slug, make_application) -> None:
    application = make_application("customer", client_type="public")
    snippet = programs(application.row, "https://receipts.example")[slug]
    assert not re.search("client.?secret", snippet.text + snippet.run, re.IGNORECASE)


@pytest.mark.parametrize("slug", ["requests-oauthlib", "authlib", "openid-client"])
def test_plain_http_is_allowed_only_where_the_server_speaks_it(slug, application) -> None:
    at_home = programs(application.row, "http://127.0.0.1:8000")[slug].text
    in_production = programs(application.row, "https://receipts.example")[slug].text
    assert "insecure" in at_home.lower()
    assert "insecure" not in in_production.lower()


@pytest.mark.parametrize("slug", [*INTERPRETERS, *READ_ONLY])
def test_every_program_uses_pkce(slug, application) -> None:
    """RFC 7636 4.2"""
    assert "S256" in programs(application.row, "https://receipts.example")[slug].text


@pytest.mark.parametrize(
    ("redirect_uri", "is_kept"),
    [
        ("https://partner.example/callback", True),
        ("https://partner.example/a/b.c", True),
        ("http://localhost:8080/callback", True),
        ("https://partner.example", False),
        ("https://partner.example/callback?a=1", False),
        ("https://partner.example:443/callback", False),
        ("https://Partner.example/callback", False),
        ("https://partner.example/a/../callback", False),
        ("com.example.app:/callback", False),
    ],
)
def test_redirect_uri_that_javascript_would_change_is_put_back(redirect_uri, is_kept, make_application) -> None:
    """The server compares every character (RFC 9700 2.1)."""
    application = make_application("customer", client_type="public", redirect_uris=redirect_uri)
    text = programs(application.row, "https://receipts.example")["openid-client"].text
    assert ("customFetch" not in text) == is_kept


def test_service_has_addresses_and_no_program(make_application) -> None:
    application = make_application("service")
    addresses = addresses_of("service", base="https://receipts.example", issuer="https://receipts.example")
    assert addresses.authorize is None
    assert programs(application.row, "https://receipts.example") == {}


@pytest.mark.parametrize(("profile", "count"), [("connection", 6), ("customer", 7), ("portal", 6), ("service", 4)])
def test_addresses_are_those_of_the_profile(profile, count) -> None:
    urls = [address.url for address in addresses_of(profile, base="https://a.example", issuer="https://a.example")]
    assert len(set(urls)) == len(urls) == count
    assert all(url.startswith("https://a.example/") for url in urls)


@pytest.mark.parametrize(
    ("host", "is_secure", "insecure_http", "site"),
    [
        # The organisation's own site, as the browser came.
        ("testserver", True, False, "https://testserver"),
        ("localhost:8000", False, True, "http://localhost:8000"),
        # Another organisation's site.
        ("campus.localhost", True, False, "https://receipts.example"),
        ("campus.localhost:8000", False, True, "http://receipts.example:8000"),
        ("campus.localhost", False, True, "http://receipts.example"),
    ],
)
def test_addresses_lead_to_the_site_of_the_organisation(
    host, is_secure, insecure_http, site, organisation, other_organisation, settings
) -> None:
    settings.INSECURE_HTTP = insecure_http
    request = RequestFactory().get("/", headers={"host": host}, secure=is_secure)
    request.organisation = other_organisation if host.startswith("campus") else organisation  # type: ignore[attr-defined]
    assert site_of(organisation, request) == site


# --- nothing gets out of its quotes ------------------------------------------------------------------------------

#: A string literal, and a comment of one line, in each language.
LITERALS = {
    "curl": r"'[^']*'(?:\"'\"'[^']*')*",
    "requests-oauthlib": r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'",
    "authlib": r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'",
    "openid-client": r"\"(?:[^\"\\\n]|\\.)*\"",
    "league": r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"",
}


@pytest.mark.parametrize("value", HOSTILE)
def test_literal_of_python_is_the_value(value) -> None:
    assert ast.literal_eval(quote_python(value)) == value


@pytest.mark.parametrize("value", HOSTILE)
def test_literal_of_the_shell_is_the_value(value) -> None:
    printed = subprocess.run(["sh", "-c", f"printf %s {quote_shell(value)}"], capture_output=True, check=True).stdout
    assert printed.decode() == value


@pytest.mark.parametrize("value", HOSTILE)
def test_literal_of_javascript_is_the_value(value) -> None:
    literal = quote_javascript(value)
    assert literal.isascii()
    assert re.fullmatch(LITERALS["openid-client"], literal)
    assert json.loads(literal) == value


@pytest.mark.parametrize("value", HOSTILE)
def test_literal_of_php_is_the_value(value) -> None:
    literal = quote_php(value)
    assert re.fullmatch(r"'(?:[^'\\]|\\.)*'", literal, re.DOTALL)
    assert re.sub(r"\\([\\'])", r"\1", literal[1:-1]) == value


@pytest.mark.parametrize("value", HOSTILE)
def test_comment_stays_on_its_line(value) -> None:
    said = comment(value)
    assert len(said.splitlines()) <= 1
    assert not re.search(r"[<>?:=*\\\\/#]", said)


def test_comment_names_the_application_as_people_know_it() -> None:
    assert comment("  O'Brien & Söhne, Café 3 (東京) – No. 1!") == "O'Brien & Söhne, Café 3 (東京) – No. 1!"


@pytest.mark.parametrize("slug", [*INTERPRETERS, *READ_ONLY])
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_value_changes_nothing_but_literals_and_a_comment(slug, value, make_application) -> None:
    """Registration refuses most of these; the programs do not rely on it."""

    def skeleton(name: str, client_id: str, redirect_uri: str) -> str:
        row = make_application("customer", client_type="public", name="x").row
        row.name, row.client_id, row.redirect_uris = name, client_id, redirect_uri
        text = programs(_Single(row), "https://receipts.example")[slug].text
        first, name_line, rest = _split_comment(slug, text)
        assert name_line.startswith(("# ", "// "))
        return first + re.sub(LITERALS[slug], "LITERAL", rest, flags=re.DOTALL)

    harmless = "needs quotes, but no more"
    assert skeleton(value, value, value) == skeleton("x", harmless, harmless)


class _Single:
    """An application with one redirect URI, whatever stands in it."""

    def __init__(self, row: Application) -> None:
        self._row = row
        self.redirect_uri_list = [row.redirect_uris]

    def __getattr__(self, name: str) -> object:
        return getattr(self._row, name)


def _split_comment(slug: str, text: str) -> tuple[str, str, str]:
    """Return what stands before the line with the application's name, that line, and the rest."""
    lines = text.split("\n")
    index = {"curl": 1, "league": 1, "openid-client": 0}.get(slug, 2)
    return "\n".join(lines[:index]), lines[index], "\n".join(lines[index + 1 :])


@pytest.mark.parametrize("value", HOSTILE)
def test_programs_for_python_and_the_shell_still_parse(value, make_application) -> None:
    row = make_application("portal", name=value[:100]).row
    row.client_id = value
    written = programs(row, "https://receipts.example")
    for slug in ("requests-oauthlib", "authlib"):
        # As bytes, which is how Python finds the file: it decides by itself how they are read.
        ast.parse(written[slug].text.encode())
    checked = subprocess.run(["sh", "-n"], input=written["curl"].text.encode(), capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, b"")


@pytest.mark.parametrize("slug", ["requests-oauthlib", "authlib"])
@pytest.mark.parametrize("value", HOSTILE)
def test_name_does_not_say_how_python_reads_the_program(slug, value, make_application) -> None:
    """PEP 263. In UTF-7 an address of plain letters ends its literal, and what follows runs."""
    row = make_application("customer", client_type="public", name="x").row
    row.name, row.redirect_uris = value, "https://example.com/+ACIAOwBwAHIAaQBuAHQAKAAiAGgAaQAiACkAOwAi-"
    text = programs(row, "https://receipts.example")[slug].text

    encoding, _lines = tokenize.detect_encoding(io.BytesIO(text.encode()).readline)
    assert encoding == "utf-8"
    assert value not in "".join(text.splitlines(keepends=True)[:2])
    assert ast.dump(ast.parse(text.encode())) == ast.dump(ast.parse(text))
