"""The environment: every variable that Countersign reads, declared once.

`config/reading.py` reads them for `config/settings.py`, `script/settings_table.py` makes docs/settings.md of them. A
value may also come from a file: `NAME_FILE=/run/secrets/name` in place of `NAME`.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

CHECKOUT = Path(__file__).resolve().parent.parent

#: What a variable holds: text, a switch (1 or 0), a whole number, a number, a list with commas, a URL.
Kind = Literal["text", "switch", "whole number", "number", "list", "URL"]


class _Required:
    """The default of a variable that has none."""


REQUIRED: Final = _Required()


@dataclass(frozen=True)
class Variable:
    """One variable: `default` in the type of its kind, or REQUIRED; `default_shown` where that depends on something."""

    name: str
    kind: Kind
    meaning: str
    default: Any = REQUIRED
    example: str = ""
    default_shown: str = ""
    is_secret: bool = False
    #: Bounds of a number.
    least: float = 0
    most: float = float("inf")
    #: The texts that it may be, in any case of letters; empty: any.
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Variables that belong together, under a heading of docs/settings.md."""

    heading: str
    variables: tuple[Variable, ...]


def _rate(name: str, default: str, meaning: str, example: str) -> Variable:
    """Declare a limit: so many in a span of time, "600/m", "10/15m", "20/h", "5/d"; 0 for no limit."""
    return Variable(f"RATE_LIMIT_{name}", "text", meaning, default=default, example=example)


SECTIONS: tuple[Section, ...] = (
    Section(
        "What has to be set",
        (
            Variable(
                "SECRET_KEY",
                "text",
                "The deployment secret, at least 50 random characters: it signs sessions, and protects the signing keys"
                " in the database. Losing it means new signing keys; keep a copy apart from the database.",
                example="(64 random characters)",
                is_secret=True,
            ),
            Variable(
                "SECRET_KEY_FALLBACKS",
                "list",
                "Earlier deployment secrets, while `SECRET_KEY` is being changed: what was sealed with them can still"
                " be read (operating.md, a new secret). Without a comma in them.",
                default=[],
                example="(the secret of before)",
                is_secret=True,
            ),
            Variable(
                "DATABASE_URL",
                "URL",
                "The PostgreSQL database, version 14 or newer.",
                example="postgresql://countersign:…@db.internal:5432/countersign",
                is_secret=True,
            ),
            Variable(
                "ALLOWED_HOSTS",
                "list",
                "The host names that users and partners call: the domain of every organisation.",
                default=[],
                example="sign.acme.example,login.brand.example",
            ),
            Variable(
                "EMAIL_URL",
                "URL",
                "The mail server. The default prints mails instead of sending them, and is enough for localhost only.",
                default="consolemail://",
                example="smtp+tls://user:…@mail.example:587",
                is_secret=True,
            ),
            Variable(
                "DEFAULT_FROM_EMAIL",
                "text",
                "Who mails come from.",
                default="Countersign <no-reply@localhost>",
                example="Acme <no-reply@acme.example>",
            ),
        ),
    ),
    Section(
        "What kind of deployment",
        (
            Variable(
                "ENVIRONMENT",
                "text",
                "`production` refuses to start with what is only good for a first look; `development` does not.",
                default="production",
                example="development",
            ),
            Variable("DEBUG", "switch", "Error pages with source code. Never in production.", default=False),
            Variable(
                "DEMO_MODE",
                "switch",
                "Demo data with known passwords, and the demo partner at `/demo/`. Never in production.",
                default=False,
                default_shown="0; `script/server`: 1",
            ),
            Variable(
                "INSECURE_HTTP",
                "switch",
                "Plain http, for a first look on one's own machine.",
                default=False,
                default_shown="0; `script/server` in demo mode: 1",
            ),
            Variable(
                "HSTS_SECONDS",
                "whole number",
                "For how long browsers that have been here use https only (Strict-Transport-Security); two years.",
                default=63_072_000,
                default_shown="63072000; with nothing but localhost in `ALLOWED_HOSTS`: 0",
                example="31536000",
            ),
            Variable(
                "HSTS_SUBDOMAINS",
                "switch",
                "The same for all names below ours, whoever serves them. Not for a name that others have services"
                " below.",
                default=False,
                example="1",
            ),
        ),
    ),
    Section(
        "Processes and network",
        (
            Variable(
                "HOST",
                "text",
                "The address the web server listens on; `::` for all.",
                default="127.0.0.1",
                example="::",
            ),
            Variable("PORT", "whole number", "Its port.", default=8000, example="8080", least=1, most=65535),
            Variable(
                "WEB_PROCESSES",
                "whole number",
                "Processes of the web server. Each needs 224 MiB of what the server may take.",
                default=2,
                example="4",
                least=1,
            ),
            Variable(
                "WEB_THREADS",
                "whole number",
                "Requests that each of them works on at once. Each may hold a connection of the pool.",
                # As many as granian accepts without a warning.
                default=min(2 * (os.cpu_count() or 1) + 1, 16),
                default_shown="twice the processors and one more, at most 16",
                example="8",
                least=1,
            ),
            Variable(
                "TRUSTED_PROXIES",
                "whole number",
                "How many reverse proxies of yours stand in front. Addresses in limits and in the audit trail are whom"
                " the first of them names in `X-Forwarded-For`.",
                default=0,
                example="1",
            ),
            Variable(
                "VAR_DIR",
                "text",
                "The folder for uploaded pictures and collected static files.",
                default=str(CHECKOUT / "var"),
                default_shown="`var/` beside the code",
                example="/var/lib/countersign",
            ),
            Variable(
                "STATIC_ROOT",
                "text",
                "The folder for collected static files, where it is another one; they belong to the code and not to the"
                " data.",
                default="",
                default_shown="`static/` in `VAR_DIR`",
                example="/opt/countersign/collected",
            ),
        ),
    ),
    Section(
        "Database connections",
        (
            Variable(
                "DATABASE_POOL_SIZE",
                "whole number",
                "Connections that one process keeps at most.",
                default=20,
                example="10",
                least=1,
            ),
            Variable(
                "DATABASE_STATEMENT_SECONDS",
                "whole number",
                "What one statement of a web request may take, and how long its transaction may do nothing; 0: for"
                " ever. Not sent to a pooler (`DATABASE_PREPARE=0`), which has a `query_timeout` of its own.",
                default=30,
                example="10",
            ),
            Variable(
                "DATABASE_PREPARE",
                "switch",
                "Plan repeated statements once per connection. Set 0 behind a pooler that hands a connection to another"
                " client after each transaction (PgBouncer).",
                default=True,
                example="0",
            ),
        ),
    ),
    Section(
        "Limits",
        (
            Variable(
                "RATE_LIMITS",
                "switch",
                "Whether too many tries are refused for a while.",
                default=None,
                default_shown="1; in demo mode: 0",
                example="1",
            ),
            Variable(
                "CACHE_URL",
                "URL",
                "A Valkey or Redis where limits are counted, for several web servers with a lot of traffic. Unset: in"
                " the database.",
                default="",
                example="redis://valkey.internal:6379/0",
                is_secret=True,
            ),
            _rate(
                "LOGIN",
                "10/h",
                "Wrong passwords for one account, of all browsers together in which nobody has logged in to it;"
                " as many of each browser in which somebody has.",
                "5/15m",
            ),
            _rate(
                "LOGIN_ADDRESS",
                "100/10m",
                "Wrong passwords from one address, for all accounts, of browsers in which nobody has logged in.",
                "1000/10m",
            ),
            _rate(
                "PASSKEY_ADDRESS",
                "100/10m",
                "Wrong passkeys from one address. What is right is never refused for them.",
                "1000/10m",
            ),
            _rate(
                "SECOND_FACTOR",
                "10/h",
                "Wrong codes of a second factor; browsers are told apart as for passwords.",
                "5/15m",
            ),
            _rate("SIGNUP", "60/m", "Sign-ups from one address.", "20/m"),
            _rate(
                "PASSWORD_RESET",
                "60/m",
                "Requests of a mail for a forgotten password from one address.",
                "20/m",
            ),
            _rate(
                "MAIL_LINK",
                "60/m",
                "Wrong links, to choose a password or to confirm an address, from one address. What is right is never"
                " refused for them.",
                "20/m",
            ),
            _rate("ACCOUNT", "30/m", "Changes that one user makes to their account.", "60/m"),
            _rate(
                "MAIL",
                "5/h",
                "Mails of one kind to one recipient, at one organisation, that anybody can cause: to confirm an"
                " address, for a forgotten password.",
                "3/h",
            ),
            _rate(
                "MAIL_ADDRESS",
                "1000/h",
                "Mails that anybody at one address can cause, to all recipients: sign-ups, forgotten passwords, new"
                " e-mail addresses.",
                "5000/h",
            ),
            _rate("INVITATION", "10/d", "Invitations of one developer to one e-mail address.", "20/d"),
            _rate("INVITATION_RECIPIENT", "100/d", "Invitations to one e-mail address, of all developers.", "50/d"),
            _rate("REGISTRATION", "60/h", "Times that one developer sends the registration form.", "20/h"),
            _rate(
                "NEW_SESSION",
                "300/m",
                "Browsers that come from an application, or want to use a passkey, and begin a session by it, from one"
                " address.",
                "2000/m",
            ),
            _rate("AUTHORIZE", "120/m", "Authorisation pages that one user sees or answers.", "60/m"),
            _rate("AUTHORIZE_ADDRESS", "3000/m", "The same for one application from one address.", "10000/m"),
            _rate(
                "TOKEN",
                "6000/m",
                "Token requests of one client that has authenticated itself; of a public client at one address.",
                "20000/m",
            ),
            _rate("INTROSPECTION", "60000/m", "Introspections by one client.", "120000/m"),
            _rate("REVOCATION", "6000/m", "Revocations by one client.", "20000/m"),
            _rate("NOTIFICATIONS", "6000/m", "Requests to `/api/notifications` of one service.", "20000/m"),
            _rate("RESOURCE", "60000/m", "Resource requests of one client.", "120000/m"),
            _rate("RESOURCE_USER", "600/m", "Resource requests of one client about one user.", "60/m"),
            _rate(
                "CLIENT_FAILURES",
                "60/m",
                "Failed authentications as one client at one address. What is right is never refused for them.",
                "300/m",
            ),
            _rate(
                "CLIENT_FAILURES_ADDRESS",
                "1200/m",
                "Failed requests of all clients at one address, wrong access tokens among them.",
                "6000/m",
            ),
        ),
    ),
    Section(
        "Signs of life",
        (
            Variable(
                "LOG_FORMAT",
                "text",
                "`json`: one object per line. `line`: for people.",
                default="",
                default_shown="`json`; with `ENVIRONMENT=development`: `line`",
                example="line",
                choices=("json", "line"),
            ),
            Variable(
                "LOG_LEVEL",
                "text",
                "The least that is logged: the access log is `INFO`. The lines of the audit trail always are.",
                default="INFO",
                example="WARNING",
                choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
            ),
            Variable(
                "ACCESS_LOG",
                "switch",
                "A line for each request, without its query.",
                default=None,
                default_shown="1; with `ENVIRONMENT=development`: 0",
                example="0",
            ),
            Variable(
                "METRICS_TOKEN",
                "text",
                "What Prometheus sends as its bearer token to read `/metrics`, at least 20 characters."
                " Unset: there is no such page.",
                default="",
                example="(32 random characters)",
                is_secret=True,
            ),
            Variable(
                "METRICS_PORT",
                "whole number",
                "Where the worker answers `/metrics` with its own figures, at `HOST`; it needs `METRICS_TOKEN` too."
                " 0: nowhere.",
                default=0,
                example="9464",
            ),
            Variable(
                "METRICS_DIR",
                "text",
                "The folder in which the processes of one web server keep their figures; emptied at each start.",
                default="",
                default_shown="a folder among the machine's temporary files",
                example="/run/countersign/metrics",
            ),
            Variable(
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "URL",
                "Where traces are sent (OTLP over HTTP). Unset: there are none. OpenTelemetry's other `OTEL_` variables"
                " work too.",
                default="",
                example="http://collector.internal:4318",
            ),
            Variable(
                "OTEL_SERVICE_NAME", "text", "Our name in traces.", default="countersign", example="countersign-eu"
            ),
        ),
    ),
    Section(
        "Backups",
        (
            Variable(
                "BACKUP_RECIPIENTS",
                "list",
                "Who may open the archives of `manage.py backup`: public keys, from `manage.py backup_key`. The secret"
                " ones stay elsewhere.",
                default=[],
                example="age1…",
            ),
            Variable(
                "BACKUP_IDENTITY",
                "text",
                "For `manage.py restore` only: the secret key that opens an archive.",
                default="",
                example="AGE-SECRET-KEY-1…",
                is_secret=True,
            ),
        ),
    ),
    Section(
        "What is kept, and for how long",
        (
            Variable(
                "ACTIVITY_FLUSH_SECONDS",
                "number",
                "Seconds until what applications did is counted in the database; 0: only when the process ends.",
                default=2.0,
                example="5",
            ),
            Variable(
                "AUDIT_RETENTION_DAYS",
                "whole number",
                "Days that events of the audit trail and entries of the administration's log are kept; 0: for ever.",
                default=730,
                example="365",
            ),
            Variable(
                "AUDIT_ANONYMISE_AFTER_DAYS",
                "whole number",
                "Days after somebody has closed their account until the audit trail forgets who they were.",
                default=30,
                example="14",
            ),
            Variable(
                "AUDIT_LOG_ADDRESSES",
                "switch",
                "Whether the log line of each event has the client's IP address; the table has it anyway.",
                default=False,
                example="1",
            ),
        ),
    ),
)

VARIABLES: dict[str, Variable] = {variable.name: variable for section in SECTIONS for variable in section.variables}
