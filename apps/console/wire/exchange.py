"""What goes over the wire between a client and the authorization server, and what is shown of it."""

import json
import shlex
from base64 import b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import Any, Self
from urllib.parse import quote

import httpx
from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.console.wire.masking import mask, mask_document, mask_fields

#: In seconds. The server calls itself: if it is too busy to answer, waiting longer keeps it busy.
_TIMEOUT = httpx.Timeout(5, connect=2)
#: httpx's own headers about the connection, and what a proxy adds: they teach nobody anything.
_HIDDEN_HEADERS = frozenset({"accept-encoding", "connection", "x-forwarded-proto"})
#: What RFC 6749, 6750 and 9110 want a client to look at; the rest is for browsers.
_TELLING_HEADERS = frozenset({"allow", "cache-control", "content-type", "location", "pragma", "www-authenticate"})
#: Characters of an answer that is not JSON; a page of HTML helps nobody here.
_SHOWN_TEXT = 400

Headers = list[tuple[str, str]]


class Encoding(StrEnum):
    """How the fields of a request's body are written."""

    FORM = "application/x-www-form-urlencoded"
    JSON = "application/json"
    MULTIPART = "multipart/form-data"


@dataclass(frozen=True)
class Call:
    """A request of the client. `title` says in words what it is for."""

    title: str
    method: str
    path: str
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, str] = field(default_factory=dict)
    encoding: Encoding = Encoding.FORM
    bearer: str | None = None
    #: The client's id and secret, for HTTP Basic.
    basic: tuple[str, str] | None = None
    #: A preparation, not what the step is about.
    is_aside: bool = False


@dataclass
class Message:
    """What is shown of one request and its answer. Holds no secret, so it may be kept."""

    number: int
    step: str
    title: str
    method: str
    url: str
    path: str
    #: "server" for what the client sends itself, "browser" for where it sends the user's browser.
    sender: str = "server"
    is_aside: bool = False
    request_headers: Headers = field(default_factory=list)
    request_body: str = ""
    curl: str = ""
    status: int | None = None
    reason: str = ""
    response_headers: Headers = field(default_factory=list)
    response_body: str = ""
    milliseconds: int | None = None
    failure: str = ""

    @property
    def is_success(self) -> bool:
        return self.status is not None and self.status < 400

    @property
    def telling_headers(self) -> Headers:
        """The headers of the answer that say something about OAuth."""
        return [(name, value) for name, value in self.response_headers if name.lower() in _TELLING_HEADERS]

    @property
    def other_headers(self) -> Headers:
        return [(name, value) for name, value in self.response_headers if name.lower() not in _TELLING_HEADERS]


@dataclass(frozen=True)
class Answer:
    """An answer of the authorization server; `document` is None unless it is a JSON object."""

    status: int
    document: dict[str, Any] | None

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def error(self) -> str:
        """The error as RFC 6749 5.2 names it, or else the status."""
        return str((self.document or {}).get("error") or self.status)


class ServerUnreachableError(Exception):
    """The authorization server gave no answer; the message says why, for a person."""


@dataclass
class Wire:
    """The way to the authorization server: this very server, over real HTTP.

    The connection goes to `port` at `address`, where this server listens, whatever way the browser came: past a proxy
    that ends TLS, too, so the server is told what the proxy would tell it (`is_secure`). `host` is the server's name
    as the browser knows it, which decides the organisation. Nothing that anybody types has a say in where it goes.
    """

    host: str
    port: int
    messages: list[Message]
    address: str = "127.0.0.1"
    is_secure: bool = False
    #: What the client calls itself.
    agent: str = "countersign/1.0"
    #: The step that is being taken: what is sent belongs to it.
    step: str = "connect"

    @classmethod
    def to_this_server(cls, request: HttpRequest, messages: list[Message], *, agent: str) -> Self:
        """Return the way to the server that answers `request`, under the name the browser used."""
        return cls(
            host=request.get_host(),
            # The port that is listened on; what the browser or a proxy says of a port is not asked.
            port=int(request.META["SERVER_PORT"]),
            messages=messages,
            address=_reachable(settings.HOST),
            is_secure=request.is_secure(),
            agent=agent,
        )

    def url(self, path: str, query: dict[str, str] | None = None) -> str:
        """Return an address at the server as the browser knows it, as it may be shown."""
        scheme = "https" if self.is_secure else "http"
        return f"{scheme}://{self.host}{path}{'?' if query else ''}{_encode_query(query or {})}"

    def send(self, call: Call) -> Answer:
        """Make the call, and keep what may be shown of it. Raises ServerUnreachableError."""
        message = self._note(call.title, call.method, call.path, call.query)
        message.request_body, message.curl = _show_body(call), self._as_curl(call)
        message.is_aside = call.is_aside
        try:
            with httpx.Client(timeout=_TIMEOUT, trust_env=False, follow_redirects=False) as client:
                request = self._build(client, call)
                message.request_headers = _show_headers(request.headers)
                response = client.send(request)
        except httpx.HTTPError as error:
            message.failure = _describe_failure(error)
            raise ServerUnreachableError(message.failure) from error
        document = _read_json(response)
        message.status, message.reason = response.status_code, response.reason_phrase
        message.response_headers = _show_headers(response.headers)
        message.response_body = _show_answer(response, document)
        message.milliseconds = round(response.elapsed.total_seconds() * 1000)
        return Answer(response.status_code, document if isinstance(document, dict) else None)

    def note_browser(self, title: str, method: str, path: str, query: dict[str, str]) -> None:
        """Keep a step that the user's browser takes."""
        self._note(title, method, path, query).sender = "browser"

    def _note(self, title: str, method: str, path: str, query: dict[str, str]) -> Message:
        message = Message(
            number=self.messages[-1].number + 1 if self.messages else 1,
            step=self.step,
            title=title,
            method=method,
            url=self.url(path, query),
            path=path,
        )
        self.messages.append(message)
        return message

    def _build(self, client: httpx.Client, call: Call) -> httpx.Request:
        headers = {"Host": self.host, "Accept": "application/json", "User-Agent": self.agent}
        if self.is_secure:
            headers["X-Forwarded-Proto"] = "https"
        if call.bearer is not None:
            headers["Authorization"] = f"Bearer {call.bearer}"
        if call.basic is not None:
            headers["Authorization"] = f"Basic {b64encode(':'.join(call.basic).encode()).decode()}"
        bodies: dict[Encoding, dict[str, Any]] = {
            Encoding.FORM: {"data": call.body},
            Encoding.JSON: {"json": call.body},
            Encoding.MULTIPART: {"files": {name: (None, value) for name, value in call.body.items()}},
        }
        body = bodies[call.encoding] if call.body else {}
        url = f"http://{self.address}:{self.port}{call.path}"
        return client.build_request(call.method, url, params=call.query or None, headers=headers, **body)

    def _as_curl(self, call: Call) -> str:
        """Return the same request as a command; whoever runs it puts the secrets in."""
        parts = ["curl" if call.method in {"GET", "POST"} else f"curl -X {call.method}"]
        parts[0] += f" {shlex.quote(self.url(call.path, call.query))}"
        if call.bearer is not None:
            parts.append(f"-H {shlex.quote(f'Authorization: Bearer {mask(call.bearer)}')}")
        if call.basic is not None:
            parts.append(f"-u {shlex.quote(f'{call.basic[0]}:{mask(call.basic[1])}')}")
        fields = mask_fields(call.body)
        if fields and call.encoding == Encoding.JSON:
            parts += [
                "-H 'Content-Type: application/json'",
                f"-d {shlex.quote(json.dumps(fields, ensure_ascii=False))}",
            ]
        else:
            option = "--form-string" if call.encoding == Encoding.MULTIPART else "--data-urlencode"
            parts += [f"{option} {shlex.quote(f'{name}={value}')}" for name, value in fields.items()]
        return " \\\n  ".join(parts)


def _reachable(host: str) -> str:
    """Return, as URLs spell it, where this machine reaches a server that listens on `host`."""
    try:
        parsed = ip_address(host)
    except ValueError:
        return host
    if parsed.is_unspecified:
        return "127.0.0.1" if parsed.version == 4 else "[::1]"
    return f"[{host}]" if parsed.version == 6 else host


def _encode_query(query: dict[str, str]) -> str:
    """Return the query with its secrets masked; what stands for them is left readable."""
    shown = mask_fields(query)
    return "&".join(
        f"{quote(name, safe='')}={value if value != query[name] else quote(value, safe='')}"
        for name, value in shown.items()
    )


def _show_body(call: Call) -> str:
    fields = mask_fields(call.body)
    if not fields:
        return ""
    if call.encoding == Encoding.JSON:
        return json.dumps(fields, indent=2, ensure_ascii=False)
    if call.encoding == Encoding.FORM:
        return "&\n".join(f"{name}={value}" for name, value in fields.items())
    return "\n".join(f"{name}: {value}" for name, value in fields.items())


def _show_headers(headers: httpx.Headers) -> Headers:
    return [
        (name.title().replace("Www-", "WWW-"), _mask_authorization(value) if name == "authorization" else value)
        for name, value in headers.items()
        if name not in _HIDDEN_HEADERS
    ]


def _mask_authorization(value: str) -> str:
    scheme, _space, credentials = value.partition(" ")
    # The first characters of Basic credentials are the client's id, in base64.
    return f"{scheme} {mask(credentials)}"


def _show_answer(response: httpx.Response, document: Any) -> str:
    if document is not None:
        return json.dumps(mask_document(document), indent=2, ensure_ascii=False)
    if "html" in response.headers.get("content-type", ""):
        return _("(a page of HTML, %(length)s bytes)") % {"length": len(response.content)}
    return response.text[:_SHOWN_TEXT]


def _read_json(response: httpx.Response) -> Any:
    if "json" not in response.headers.get("content-type", ""):
        return None
    try:
        return response.json()
    except ValueError:
        return None


def _describe_failure(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return _("The authorization server did not answer in time. Is it busy, or has it a single thread?")
    return _("The authorization server cannot be reached (%(error)s).") % {"error": type(error).__name__}
