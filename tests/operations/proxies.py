"""A reverse proxy with TLS on a real socket, and the ways in which people set one up wrongly."""

import datetime
import http.client
import secrets
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class Habits:
    """What the proxy does; all is as it should be."""

    sets_scheme: bool = True
    passes_scheme_on: bool = False
    keeps_host: bool = True
    appends_address: bool = True
    #: Whether what is spelt X_Forwarded_… reaches the server, to which it is X-Forwarded-….
    passes_underscores: bool = False
    passes_ids: bool = False
    passes_traces: bool = False
    longest_line: int = 60_000
    #: How often it says by itself that this host is for https only.
    hsts: int = 0
    hsts_value: str = "max-age=63072000"
    seconds_ahead: float = 0
    answers_itself: int = 0
    #: Whether it has a request's body before it passes the request on.
    reads_bodies: bool = True


@contextmanager
def certificate(
    folder: Path, *, days: float = 90, age_days: float = 100, name: str = "localhost"
) -> Iterator[tuple[Path, Path]]:
    """Make an authority and a certificate; yields the authority's file, and the server's key with its certificate."""
    now = datetime.datetime.now(datetime.UTC)
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of this test")])
    authority = (
        x509.CertificateBuilder()
        .subject_name(issuer)
        .issuer_name(issuer)
        .public_key(authority_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    own = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=age_days))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    authority_file, own_file = folder / "authority.pem", folder / "server.pem"
    authority_file.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    own_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + own.public_bytes(serialization.Encoding.PEM)
    )
    yield authority_file, own_file


class Proxy(ThreadingHTTPServer):
    """Leads to the server at that port of 127.0.0.1; with a certificate it speaks TLS."""

    daemon_threads = True

    def __init__(
        self, upstream_port: int, habits: Habits, own_file: Path | None = None, *, old_tls: bool = False
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream_port, self.habits = upstream_port, habits
        if own_file is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(own_file)
            if old_tls:
                context.set_ciphers("ALL:@SECLEVEL=0")
                context.minimum_version = ssl.TLSVersion.TLSv1
            # In the handler's thread, so that a client that breaks off holds up nobody.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that looks and goes away is no error of the proxy's."""

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        habits = self.server.habits
        if len(self.requestline) > habits.longest_line:
            self.send_error(414)
            return
        if habits.answers_itself:
            self.send_response(habits.answers_itself)
            self.send_header("Location", f"https://{self.headers['Host']}{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        headers = {name: value for name, value in self.headers.items() if not name.lower().startswith("x-forwarded")}
        headers = {name: value for name, value in headers.items() if "_" not in name}
        if not habits.passes_ids:
            headers["X-Request-ID"] = secrets.token_hex(16)
        if not habits.passes_traces:
            headers.pop("Traceparent", None)
        if not habits.keeps_host:
            headers["Host"] = f"127.0.0.1:{self.server.upstream_port}"
        if habits.passes_scheme_on:
            headers["X-Forwarded-Proto"] = self.headers.get("X-Forwarded-Proto", "https")
        elif habits.sets_scheme:
            headers["X-Forwarded-Proto"] = "https"
        given = self.headers.get("X-Forwarded-For")
        own = [self.client_address[0]] if habits.appends_address else []
        if given or own:
            headers["X-Forwarded-For"] = ", ".join([*([given] if given else []), *own])
        if habits.passes_underscores:
            # The tests' server drops such names by itself; Granian takes the two for one, and either may win.
            headers |= {name.replace("_", "-"): value for name, value in self.headers.items() if "_" in name}
        # Whoever does not wait for it would copy it as it comes; nothing of ours reads it.
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))) if habits.reads_bodies else b""
        self.close_connection = self.close_connection or not habits.reads_bodies
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=20)
        upstream.request("GET", self.path, body or None, headers=headers | {"Connection": "close"})
        answer = upstream.getresponse()
        body = answer.read()
        upstream.close()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() in ("connection", "transfer-encoding", "content-length", "date"):
                continue
            self.send_header(name, value)
        for _ in range(habits.hsts):
            self.send_header("Strict-Transport-Security", habits.hsts_value)
        ahead = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=habits.seconds_ahead)
        self.send_header("Date", ahead.strftime("%a, %d %b %Y %H:%M:%S GMT"))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
