"""Whether the proxies wait for the whole of a request before the web server hears of it."""

import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from apps.operations.doctor.address import TIMEOUT, connect, trust
from apps.operations.doctor.findings import Finding, Patient, ok, problem, warning
from apps.operations.mirror import HEADER, make_pass

#: Seconds in which the server would have answered a request that was passed on at once.
PATIENCE = 4


def examine_half_body(patient: Patient) -> Iterator[Finding]:
    """Does a client that sends half a body hold up nobody but the proxy (docs/decisions/0017)?

    The mirror reads no body. So if it answers while one is still missing, the request was passed on before its time.
    """
    parts = urlsplit(patient.url)
    head = (
        f"GET /operations/mirror HTTP/1.1\r\nHost: {parts.netloc}\r\n{HEADER}: {make_pass()}\r\n"
        "Content-Type: text/plain\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
    )
    try:
        with connect(patient) as plain, trust().wrap_socket(plain, server_hostname=parts.hostname) as client:
            client.sendall(head.encode() + b"a")
            early = _status(client, seconds=PATIENCE)
            if not early:
                client.sendall(b"b")
            late = "" if early else _status(client, seconds=TIMEOUT)
    except (ssl.SSLError, OSError):
        yield warning("not looked at, because the connection breaks off.", "See TLS.")
        return
    if early == "200":
        yield problem(
            "the proxy passes a request on before it has its body: a few clients that send half of one hold up"
            " everybody.",
            "Let it read the body first: nginx proxy_request_buffering on, Caddy request_buffers (deploy/caddy).",
        )
    elif early:
        yield ok(f"a request whose body does not come is refused (status {early})")
    elif late == "200":
        yield ok("a request is passed on when its body is there")
    else:
        yield warning(
            f"a request with a slow body is answered with status {late or 'none'}.", "See the log of the proxy."
        )


def _status(client: socket.socket, *, seconds: float) -> str:
    """Return the status of the answer, empty if there is none in time or at all."""
    client.settimeout(seconds)
    try:
        first = client.recv(12).decode("ascii", "replace")
    except TimeoutError:
        return ""
    return first.partition(" ")[2]
