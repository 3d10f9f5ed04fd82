"""What a production server refuses to start with, in words that say which variable to set to what.

The rules read the environment's values and no Django settings, so that they can be told together with what keeps the
settings from being read at all. `docs/decisions/0020-what-production-refuses.md` says why each is there.
"""

import contextlib
import itertools
import sys
from collections.abc import Callable, Iterator
from email.utils import parseaddr

from config.environment import VARIABLES
from config.hosts import is_of_this_machine
from config.reading import Environment, Problem, SettingsError

#: sysexits.h, EX_CONFIG: what service managers show as "something is wrong with the configuration".
EXIT_STATUS = 78

ENVIRONMENTS = ("production", "development")

_GOOD_SECRET = "64 random characters, from: openssl rand -base64 48"
_SHORTEST_SECRET = 50
_SHORTEST_TOKEN = 20
_FEWEST_LETTERS = 10
#: Django's own mark of a key that stands in a repository (django.core.checks.security.base).
_DJANGOS_MARK = "django-insecure-"
#: Words of examples that somebody forgot to replace.
_PLACEHOLDERS = ("changeme", "change-me", "change_me", "replace", "example", "insecure", "yoursecret", "your-secret")


@contextlib.contextmanager
def told_plainly() -> Iterator[None]:
    """End the process with a message in place of a traceback when the settings cannot be read."""
    try:
        yield
    except SettingsError as error:
        _end([*error.problems, *_beside(error)])


def refuse_unsafe_start() -> None:
    """End the process, with all that is wrong, if this is a production and its settings are not fit for it.

    Needs no Django settings. Raises SettingsError for what cannot be read, see `told_plainly`.

    Called by whatever serves or works: `manage.py serve` and `work`, `config.wsgi`, and script/server's preparation.
    """
    environment = Environment()
    if environment("ENVIRONMENT") != "development" and (problems := find_refusals(environment)):
        _end(problems)


def find_refusals(environment: Environment) -> list[Problem]:
    """Return what a production must not start with; a variable that cannot be read is passed over."""
    problems: list[Problem] = []
    for rule in _RULES:
        with contextlib.suppress(SettingsError):
            problems += rule(environment)
    return problems


def describe(problems: list[Problem]) -> str:
    """Return the message: one line for each problem."""
    width = max(len(problem.variable) for problem in problems)
    lines = [f"{problem.variable:<{width}}  {problem.what} {problem.advice}" for problem in problems]
    return "\n".join(
        [
            "Countersign does not start. Correct these environment variables:",
            "",
            *(f"  {line}" for line in lines),
            "",
            "docs/settings.md lists every variable. For a first look on your own machine, run script/server.",
        ]
    )


def weakness_of(secret: str, *, shortest: int = _SHORTEST_SECRET) -> str:
    """Return what makes a secret of the deployment easy to guess, empty for a good one. Never quotes it."""
    folded = secret.casefold()
    steps = sum(abs(ord(one) - ord(other)) <= 1 for one, other in itertools.pairwise(secret))
    triples = {secret[start : start + 3] for start in range(len(secret) - 2)}
    if folded.startswith(_DJANGOS_MARK):
        return f"begins with {_DJANGOS_MARK}, so it was made by Django for development"
    if secret in (VARIABLES["SECRET_KEY"].example, VARIABLES["METRICS_TOKEN"].example) or any(
        word in folded for word in _PLACEHOLDERS
    ):
        return "is an example that everybody can read"
    if len(secret) < shortest:
        return f"has {len(secret)} characters, and at least {shortest} are needed"
    if len(set(secret)) < min(_FEWEST_LETTERS, shortest // 3):
        return f"is made of {len(set(secret))} different characters only"
    # Of random text hardly any three characters come twice, and few are each other's neighbours in the alphabet.
    if len(triples) < 0.75 * (len(secret) - 2) or steps > len(secret) / 2:
        return "repeats itself or follows a pattern, so it can be guessed"
    return ""


def _known_environment(environment: Environment) -> Iterator[Problem]:
    name = environment("ENVIRONMENT")
    if name not in ENVIRONMENTS:
        yield Problem(
            "ENVIRONMENT", f"is {name!r}, which means nothing here.", "Set ENVIRONMENT=production, or remove it."
        )


def _strong_secret(environment: Environment) -> Iterator[Problem]:
    if weakness := weakness_of(environment("SECRET_KEY")):
        yield Problem("SECRET_KEY", f"{weakness}.", f"Set it to {_GOOD_SECRET}")


def _strong_metrics_token(environment: Environment) -> Iterator[Problem]:
    token = environment("METRICS_TOKEN")
    if token and (weakness := weakness_of(token, shortest=_SHORTEST_TOKEN)):
        yield Problem(
            "METRICS_TOKEN",
            f"{weakness}, and anybody may try to read the metrics.",
            "Set it to 32 random characters, from: openssl rand -base64 24",
        )


def _no_first_look(environment: Environment) -> Iterator[Problem]:
    for name, harm in {
        "DEBUG": "is on: error pages show source code and settings to everybody.",
        "DEMO_MODE": "is on: it has log-ins with known passwords.",
        "INSECURE_HTTP": "is on: passwords and tokens travel in the clear, and addresses begin with http.",
    }.items():
        with contextlib.suppress(SettingsError):
            if environment(name):
                yield Problem(name, harm, f"Set {name}=0, or remove it.")


def _named_hosts(environment: Environment) -> Iterator[Problem]:
    hosts: list[str] = environment("ALLOWED_HOSTS")
    if not hosts:
        yield Problem(
            "ALLOWED_HOSTS",
            "is not set, so no request would be answered.",
            "Set it to the domains of your organisations, e.g. ALLOWED_HOSTS=sign.example.com",
        )
    for host in hosts:
        if "*" in host:
            yield Problem(
                "ALLOWED_HOSTS",
                f"has {host}, which lets a forged Host header into the links of mails.",
                "Write out each domain: ALLOWED_HOSTS=sign.example.com,login.example.com",
            )
        elif host.startswith("."):
            yield Problem(
                "ALLOWED_HOSTS",
                f"has {host}, which means every subdomain, also a forgotten one that somebody else has taken over.",
                f"Write out each domain, e.g. sign{host}",
            )
        elif "/" in host or (":" in host and not host.endswith("]")):
            yield Problem(
                "ALLOWED_HOSTS",
                f"has {host}, which no request can match.",
                "Write host names only, without https:// and without a port.",
            )


def _mail_is_sent(environment: Environment) -> Iterator[Problem]:
    # At localhost they are printed to the log, where whoever asked for one finds it.
    if not environment.is_set("EMAIL_URL") and not environment.is_for_this_machine_only():
        yield Problem(
            "EMAIL_URL",
            "is not set: nobody could confirm an address or reset a password.",
            "Set EMAIL_URL=smtp+tls://user:password@mail.example.com:587; if mails shall only be printed to the log,"
            " say so with EMAIL_URL=consolemail://",
        )


def _mail_has_a_sender(environment: Environment) -> Iterator[Problem]:
    with contextlib.suppress(SettingsError):
        backend = environment.mail("EMAIL_URL")["EMAIL_BACKEND"]
        is_meant = environment.is_set("EMAIL_URL") or environment.is_for_this_machine_only()
        if is_meant and not backend.endswith("smtp.EmailBackend"):
            return
    _, address = parseaddr(environment("DEFAULT_FROM_EMAIL"))
    _, at, domain = address.rpartition("@")
    if not at or not domain or is_of_this_machine(domain):
        yield Problem(
            "DEFAULT_FROM_EMAIL",
            "is not set to an address of yours, and mail servers refuse mails from localhost.",
            'Set it to one that your mail server may send from: DEFAULT_FROM_EMAIL="Acme <no-reply@example.com>"',
        )


_RULES: tuple[Callable[[Environment], Iterator[Problem]], ...] = (
    _known_environment,
    _strong_secret,
    _strong_metrics_token,
    _no_first_look,
    _named_hosts,
    _mail_is_sent,
    _mail_has_a_sender,
)


def _beside(error: SettingsError) -> list[Problem]:
    """Return what production refuses besides what could not be read, so that everything is told at once."""
    environment = Environment(is_complete=False)
    told = {problem.variable.removesuffix("_FILE") for problem in error.problems}
    with contextlib.suppress(SettingsError):
        if environment("ENVIRONMENT") == "development":
            return []
    return [problem for problem in find_refusals(environment) if problem.variable not in told]


def _end(problems: list[Problem]) -> None:
    print(describe(problems), file=sys.stderr, flush=True)  # noqa: T201 (there may be no settings yet, so no log)
    raise SystemExit(EXIT_STATUS)
