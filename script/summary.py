"""What a start prints when everything runs."""

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

from address import in_url, reachable

DOORS = {"connection": "/auth", "customer": "/oauth/authorize", "portal": "/oauth/authorise/"}


def summary(host: str, port: int, demo: dict[str, Any] | None) -> str:
    """What a person needs to try it: the address, and in the demo its logins, applications and links."""
    base = f"http://{in_url(reachable(host))}:{port}"
    lines = ["", f"Countersign is running at {base}/  (Ctrl-C ends it)"]
    if demo is not None:
        lines += [
            f"Try it out at             {base}/demo/",
            f"Developer portal          {base}/developer/  (log in as developer@…)",
            f"Review desk               {base}/review/  (log in as reviewer@…)",
            "",
        ]
        lines += ["Demo logins"]
        lines += table((user["email"], user["password"], user_note(user)) for user in demo["users"])
        lines += ["", "Demo applications"]
        lines += table(
            (app["name"], app["profile"], app["client_id"], app["client_secret"] or "(public)")
            for app in demo["applications"]
        )
        lines += ["", "Authorization requests to paste into a browser"]
        lines += table(authorization_urls(base, port, demo))
    return "\n".join([*lines, ""])


def user_note(user: dict[str, Any]) -> str:
    """Where the user belongs, and whether they review applications."""
    return ", ".join(filter(None, [user.get("organisation"), "reviewer" if user.get("reviewer") else ""]))


def authorization_urls(base: str, port: int, demo: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """For each programme a complete authorization request, for its first approved application.

    The first organisation is the default one: it answers at every address that is no other organisation's.
    """
    domains = {organisation["slug"]: organisation["domain"] for organisation in demo["organisations"][1:]}
    for profile, door in DOORS.items():
        for application in demo["applications"]:
            if application["profile"] == profile and application["approved"]:
                domain = domains.get(application["organisation"], "")
                server = f"http://{domain}:{port}" if domain.endswith(".localhost") else base
                query = {
                    "client_id": application["client_id"],
                    "redirect_uri": with_port(application["redirect_uris"][0], port),
                    "response_type": "code",
                    "state": "try-it-out",
                }
                yield profile, f"{server}{door}?{urlencode(query)}"
                break


def with_port(redirect_uri: str, port: int) -> str:
    """A registered loopback address without a port stands for every port (RFC 8252 7.3): name ours."""
    parts = urlsplit(redirect_uri)
    if parts.hostname in ("127.0.0.1", "::1") and parts.port is None:
        parts = parts._replace(netloc=f"{parts.netloc}:{port}")
    return parts.geturl()


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Lines with their columns below each other."""
    cells = [tuple(str(cell or "") for cell in row) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    ]
