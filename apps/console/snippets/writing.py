"""Programs that take one application through the whole flow, in the languages that partners ask for."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from django.template.loader import render_to_string

from apps.console.snippets.addresses import Address, Addresses
from apps.console.snippets.literals import (
    Quote,
    comment,
    quote_javascript,
    quote_php,
    quote_python,
    quote_shell,
)
from apps.developers.models import Application


@dataclass(frozen=True)
class _Language:
    slug: str
    title: str
    file_name: str
    quote: Quote
    #: How what it needs is installed.
    install: str
    run: str


@dataclass(frozen=True)
class Snippet:
    """A program, and how it is run."""

    slug: str
    title: str
    file_name: str
    install: str
    run: str
    text: str


_LANGUAGES = (
    _Language("curl", "curl", "connect.sh", quote_shell, "", "sh connect.sh"),
    _Language(
        "requests-oauthlib",
        "Python, requests-oauthlib",
        "connect.py",
        quote_python,
        "pip install requests-oauthlib",
        "python connect.py",
    ),
    _Language(
        "authlib", "Python, Authlib", "connect.py", quote_python, "pip install authlib requests", "python connect.py"
    ),
    _Language(
        "openid-client",
        "Node.js, openid-client",
        "connect.mjs",
        quote_javascript,
        "npm install openid-client",
        "node connect.mjs",
    ),
    _Language(
        "league",
        "PHP, league/oauth2-client",
        "connect.php",
        quote_php,
        "composer require league/oauth2-client",
        "php connect.php",
    ),
)
#: Redirect URIs that the URL type of JavaScript leaves as they are.
_NORMAL_URI = re.compile(
    r"https?://[a-z0-9-]+(\.[a-z0-9-]+)*(:(?!80/|443/)[1-9]\d*)?(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?|https?://[a-z0-9.-]+/"
)


def write_snippets(application: Application, addresses: Addresses) -> list[Snippet]:
    """Return the programs for an application; none for a service, which has no users to ask."""
    authorize = addresses.authorize
    if authorize is None:
        return []
    return [_write(language, application, addresses, authorize) for language in _LANGUAGES]


def _write(language: _Language, application: Application, addresses: Addresses, authorize: Address) -> Snippet:
    context = _context(language.quote, application, addresses, authorize)
    text = render_to_string(f"console/snippets/{language.slug}.txt", context)
    secret = "" if application.is_public else "CLIENT_SECRET='…' "
    return Snippet(
        slug=language.slug,
        title=language.title,
        file_name=language.file_name,
        install=language.install,
        run=secret + language.run,
        text=re.sub(r"\n{3,}", "\n\n", text).strip() + "\n",
    )


def _context(quoted: Quote, application: Application, addresses: Addresses, authorize: Address) -> dict[str, Any]:
    """Return what a template writes: words that are literals already, and facts that it asks."""
    profile, resource = addresses.profile, addresses.resource
    redirect_uri = application.redirect_uri_list[0] if application.redirect_uri_list else ""
    scope = " ".join(application.scopes)
    # The scope is left out where there is none to ask for.
    query = {
        "response_type": "code",
        "client_id": application.client_id,
        "redirect_uri": redirect_uri,
        **({"scope": scope} if scope else {}),
    }
    words = {
        "client_id": application.client_id,
        "redirect_uri": redirect_uri,
        "scope": scope,
        "issuer": addresses.issuer,
        "encoded_issuer": quote(addresses.issuer, safe=""),
        "authorize_url": authorize.url,
        "authorize_link": f"{authorize.url}?{urlencode(query)}",
        "token_url": addresses.token.url,
        "introspect_url": addresses.introspect.url,
        "resource_url": f"{resource.url}?{urlencode(addresses.resource_query)}".rstrip("?") if resource else "",
    }
    return {
        **{name: quoted(value) for name, value in words.items()},
        "name": comment(application.name),
        "is_public": application.is_public,
        "has_scope": bool(scope),
        "has_resource": resource is not None,
        # Whoever introspects must be known (RFC 7662 2.1).
        "introspects": resource is None and not application.is_public,
        "refreshes": addresses.refreshes,
        "reads_state": profile.reads_state,
        # The user may have granted less, which some libraries take for an error.
        "answers_scope": "scope" in profile.response_keys,
        "is_plain_http": addresses.token.url.startswith("http:"),
        "is_normal_uri": _NORMAL_URI.fullmatch(redirect_uri) is not None,
    }
