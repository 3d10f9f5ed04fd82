"""The public address, asked as a partner would ask it: TLS, and what the proxies make of a request."""

import re
import socket
import ssl
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import certifi
import httpx
from django.conf import settings

from apps.operations.doctor.database import compare_clocks
from apps.operations.doctor.findings import Finding, Patient, ok, plural, problem, warning
from apps.operations.mirror import HEADER, make_pass
from config.hosts import is_of_this_machine

#: Seconds for each answer.
TIMEOUT = 8
#: Of a certificate for 90 days or more: Let's Encrypt's are renewed a month before they end. Of a shorter one, such as
#: Caddy's own authority makes for 12 hours, as much less as it is shorter.
DAYS_WARNING, DAYS_PROBLEM, DAYS_OF_LIFE = 20, 5, 90
#: A year, which browsers' lists ask for.
HSTS_SECONDS = 31_536_000
#: An authorization request with the longest `state`, percent-encoded.
LONG_REQUEST = 16_000
#: An address for documentation (RFC 5737), which nobody has.
NOBODYS_ADDRESS = "192.0.2.99"

#: What a stranger might have the log and the traces say.
MADE_UP_ID, MADE_UP_TRACE = "made-up-by-the-doctor", f"00-{'d' * 32}-{'d' * 16}-00"

_METADATA = "/.well-known/oauth-authorization-server"


def examine_tls(patient: Patient) -> Iterator[Finding]:
    """Is the certificate good, for how long, and is old TLS refused?"""
    parts = urlsplit(patient.url)
    if parts.scheme != "https":
        yield problem(f"{patient.url} is not https.", "Give --url https://…, the address that users call.")
        return
    try:
        with connect(patient) as plain, trust().wrap_socket(plain, server_hostname=parts.hostname) as secured:
            version, certificate = secured.version(), secured.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        yield problem(
            f"the certificate is not good: {error.verify_message}.",
            "Let the proxy send a certificate for this name, with the whole chain; for a private authority set"
            " SSL_CERT_FILE to its certificate.",
        )
        return
    except (ssl.SSLError, OSError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        yield problem(f"no TLS connection: {reason}.", "Start the proxy; look at DNS, the port and the firewall.")
        return
    days, share = _days_left(certificate)
    left = plural(round(days), "day") if days >= 2 else plural(round(days * 24), "hour")
    what = f"{version}, the certificate is good for {left}"
    renew = "See why the certificate is not renewed by itself."
    if days < DAYS_PROBLEM * share:
        yield problem(f"{what}.", renew)
    elif days < DAYS_WARNING * share:
        yield warning(f"{what}.", renew)
    elif _takes_old_tls(patient):
        yield warning(f"{what}, but the proxy also takes TLS 1.1.", "Let it take TLS 1.2 and 1.3 only (RFC 8996).")
    else:
        yield ok(what)


def _days_left(certificate: dict[str, Any]) -> tuple[float, float]:
    """Return the days until it ends, and how much shorter than usual its whole life is (1: not shorter)."""
    begin, end = (ssl.cert_time_to_seconds(str(certificate[name])) for name in ("notBefore", "notAfter"))
    return (end - time.time()) / 86_400, min(1.0, (end - begin) / 86_400 / DAYS_OF_LIFE)


def examine_arrival(patient: Patient) -> Iterator[Finding]:
    """Do the server and its proxies agree on scheme, host and whose address a request has?"""
    parts = urlsplit(patient.url)
    with _client(patient) as client:
        answer = client.get("/operations/mirror", headers={HEADER: make_pass()})
        forged = client.get(
            "/operations/mirror",
            headers={
                **{HEADER: make_pass(), "X-Forwarded-For": NOBODYS_ADDRESS, "X-Forwarded-Proto": "http"},
                **{"X-Request-ID": MADE_UP_ID, "Traceparent": MADE_UP_TRACE},
            },
        )
        # Apart: the other names alone may already be taken care of.
        underscored = client.get(
            "/operations/mirror",
            headers={HEADER: make_pass(), "X_Forwarded_For": NOBODYS_ADDRESS, "X_Forwarded_Proto": "http"},
        )
    if answer.status_code == 400:
        yield problem(
            f"the server does not take the host {parts.hostname}.",
            "Let the proxy pass the Host header on as it is, and put the name into ALLOWED_HOSTS.",
        )
        return
    if answer.status_code != 200 or "application/json" not in answer.headers.get("Content-Type", ""):
        yield problem(
            f"something else answers at {patient.url} (status {answer.status_code}), or with another SECRET_KEY.",
            "Lead the proxy to this server, and give all processes one SECRET_KEY.",
        )
        return
    # A proxy may also refuse what is forged.
    seen, seen_forged, seen_underscored = (
        each.json() if each.is_success else {} for each in (answer, forged, underscored)
    )
    findings = [*_scheme(seen, seen_forged), *_host(seen, parts), *_address(seen, seen_forged)]
    findings += [*_underscores(seen, seen_underscored), *_ids(seen_forged)]
    yield from findings or [ok(f"scheme, host and address arrive as they are; you came from {seen['address']}")]


def _scheme(seen: dict[str, Any], forged: dict[str, Any]) -> Iterator[Finding]:
    if seen["scheme"] != "https":
        yield problem(
            "the server takes an https request for http: it sends out http addresses, and log-ins fail.",
            "Let the proxy set X-Forwarded-Proto to https.",
        )
    elif forged.get("scheme", "https") != "https":
        yield warning(
            "the proxy passes on a scheme that a client made up.", "Let it set X-Forwarded-Proto anew each time."
        )


def _host(seen: dict[str, Any], parts: SplitResult) -> Iterator[Finding]:
    expected = parts.hostname if parts.port in (None, 443) else parts.netloc
    if seen["host"] not in (expected, parts.netloc):
        yield problem(
            f"the server is told the host {seen['host']} in place of {expected}.",
            "Let the proxy pass the Host header on as it is.",
        )


def _address(seen: dict[str, Any], forged: dict[str, Any]) -> Iterator[Finding]:
    trusted, forwarded = seen["trusted_proxies"], seen["forwarded"]
    if forged.get("address") == NOBODYS_ADDRESS:
        yield problem(
            "whoever sends X-Forwarded-For is believed: limits and audit trail can be fooled.",
            "Let the proxy append the client's address to the header, or set it anew, and set TRUSTED_PROXIES to the"
            " number of your proxies.",
        )
    elif seen["address"] is None or forwarded != trusted:
        whose = "nobody's address is known" if seen["address"] is None else f"all seem to come from {seen['address']}"
        yield problem(
            f"the request came by {plural(forwarded, 'proxy', 'proxies')}, and TRUSTED_PROXIES is {trusted}: {whose}.",
            f"Set TRUSTED_PROXIES={forwarded}"
            if forwarded
            else "Let the proxy append the client's address to X-Forwarded-For.",
        )


def _underscores(seen: dict[str, Any], forged: dict[str, Any]) -> Iterator[Finding]:
    """WSGI has one name for X_Forwarded_For and X-Forwarded-For (PEP 3333): only the proxy can tell them apart."""
    is_believed = forged.get("address") == NOBODYS_ADDRESS
    if is_believed or (seen["scheme"] == "https" and forged.get("scheme", "https") != "https"):
        name = "X_Forwarded_For" if is_believed else "X_Forwarded_Proto"
        yield problem(
            f"whoever sends {name}, with underscores, is believed.",
            "Let the proxy drop headers with an underscore in their name: Caddy header_up -*_*, HAProxy"
            " http-request del-header _ -m sub, Envoy headers_with_underscores_action: DROP_HEADER.",
        )


def _ids(forged: dict[str, Any]) -> Iterator[Finding]:
    if not forged.get("trusted_proxies"):
        # The server takes neither from whoever is no proxy.
        return
    if forged["request_id"] == MADE_UP_ID:
        yield warning(
            "the proxy passes on an id of the request that a client made up: the log can be led astray.",
            "Let it set X-Request-ID anew each time, or drop it.",
        )
    if forged["traceparent"] == MADE_UP_TRACE:
        yield warning(
            "the proxy passes on a trace that a client made up: strangers choose what is traced.",
            "Let it drop Traceparent and Tracestate, or set them anew.",
        )


def examine_metadata(patient: Patient) -> Iterator[Finding]:
    """Do partners find in the metadata the address that they have asked (RFC 8414 3.3)?"""
    with _client(patient) as client:
        answer = client.get(_METADATA)
    if answer.status_code != 200:
        yield problem(
            f"{_METADATA} is answered with status {answer.status_code}.", "See the log of the web server and the proxy."
        )
        return
    document = answer.json()
    expected = f"https://{urlsplit(patient.url).hostname}"
    strange = sorted(
        name
        for name, value in document.items()
        if isinstance(value, str) and value.startswith("http") and not _begins_with(value, expected)
    )
    if document["issuer"] != expected:
        yield problem(
            f"the issuer is {document['issuer']}, and not {expected}: partners refuse it.",
            "Give an organisation this domain, or call --url by the domain of an organisation.",
        )
    elif strange:
        yield problem(
            f"addresses in the metadata do not begin with {expected}: {', '.join(strange)}.",
            "Let the proxy pass on Host as it is, and set X-Forwarded-Proto to https.",
        )
    else:
        yield ok(f"the issuer is {expected}")


def _begins_with(value: str, expected: str) -> bool:
    parts = urlsplit(value)
    return f"{parts.scheme}://{parts.hostname}" == expected


def examine_long_request(patient: Patient) -> Iterator[Finding]:
    """Does the longest authorization request come through?"""
    with _client(patient) as client:
        status = client.get(f"{_METADATA}?ignored={'a' * LONG_REQUEST}").status_code
    if status == 200:
        yield ok(f"a request line of {LONG_REQUEST // 1000} KB comes through")
    else:
        yield problem(
            f"a request line of {LONG_REQUEST // 1000} KB is answered with status {status}.",
            "Let the proxy take more: nginx large_client_header_buffers 4 32k, HAProxy tune.bufsize 65536.",
        )


def examine_pages(patient: Patient) -> Iterator[Finding]:
    """Does a page come with its headers, once each, and with its style sheet?"""
    with _client(patient) as client:
        page = client.get("/account/login/")
        style = re.search(r'href="([^"]+\.css)"', page.text)
        status = client.get(urljoin(patient.url, style[1])).status_code if style else 0
    findings = []
    policy = page.headers.get("Strict-Transport-Security", "")
    seconds = re.search(r"max-age=(\d+)", policy)
    if page.status_code != 200:
        findings.append(
            problem(f"the log-in page is answered with status {page.status_code}.", "See the log of the web server.")
        )
    elif status != 200:
        findings.append(
            problem("the log-in page's style sheet is not answered.", "Run manage.py collectstatic --noinput.")
        )
    # config/settings.py leaves it out for localhost.
    is_sent = settings.INSECURE_HTTP or settings.SECURE_HSTS_SECONDS > 0
    is_expected = is_sent or not is_of_this_machine(urlsplit(patient.url).hostname or "")
    if is_expected and (seconds is None or int(seconds[1]) < HSTS_SECONDS):
        findings.append(
            warning(
                "pages come without Strict-Transport-Security for a year.",
                "Let the proxy pass on the header that the server sends (HSTS_SECONDS).",
            )
        )
    elif "includesubdomains" in policy.lower() and not settings.SECURE_HSTS_INCLUDE_SUBDOMAINS:
        findings.append(
            warning(
                "the proxy forces https on all names below this one (includeSubDomains), for years.",
                "Let the proxy pass on the header that the server sends; if that is meant, set HSTS_SUBDOMAINS=1.",
            )
        )
    for name in ("Strict-Transport-Security", "Content-Security-Policy", "X-Frame-Options"):
        if len(page.headers.get_list(name)) > 1:
            findings.append(
                warning(f"{name} is sent twice.", "Take it out of the proxy: the server sends it by itself.")
            )
    yield from findings or [ok("the log-in page comes with its style sheet and security headers")]


def examine_plain_http(patient: Patient) -> Iterator[Finding]:
    """Is http led to https, or refused?"""
    parts = urlsplit(patient.url)
    if parts.port not in (None, 443):
        yield ok(f"not asked: {patient.url} has a port of its own")
        return
    host, _ = _where(patient)
    yield ask_plain_http(host, 80, name=parts.hostname or "")


def ask_plain_http(host: str, port: int, *, name: str) -> Finding:
    """Return what http does at that port, for the site of that name."""
    try:
        with httpx.Client(timeout=TIMEOUT, trust_env=False) as client:
            headers = {"Host": name, "X-Forwarded-Proto": "https"}
            answer = client.get(f"http://{_bracketed(host)}:{port}/account/login/", headers=headers)
    except httpx.HTTPError:
        return ok("http is refused")
    target = answer.headers.get("Location", "")
    if answer.is_redirect and target.startswith("https://"):
        return ok("http is led to https")
    if answer.status_code >= 400:
        return ok(f"http is refused (status {answer.status_code})")
    return problem(
        f"http is answered with status {answer.status_code}: what is sent there travels in the clear.",
        "Let the proxy redirect GET requests to https, and refuse all others.",
    )


def examine_public_clock(patient: Patient) -> Iterator[Finding]:
    """Does the web server have our time?"""
    with _client(patient) as client:
        before = time.time()
        answer = client.get(_METADATA)
        after = time.time()
    if "Date" not in answer.headers:
        yield warning("answers have no Date.", "Let the proxy send one (RFC 9110 6.6.1).")
        return
    told = parsedate_to_datetime(answer.headers["Date"]).astimezone(UTC)
    # A Date has whole seconds, of which half a one has passed on average.
    middle = datetime.fromtimestamp((before + after) / 2 - 0.5, UTC)
    yield compare_clocks((told - middle).total_seconds(), f"{urlsplit(patient.url).hostname}'s")


def _client(patient: Patient) -> httpx.Client:
    transport = _Detour(*_where(patient), verify=trust(), trust_env=False)
    return httpx.Client(base_url=patient.url, transport=transport, timeout=TIMEOUT, trust_env=False)


class _Detour(httpx.HTTPTransport):
    """Connects to one address, whatever the URL names; TLS and the Host header go on naming the URL's."""

    def __init__(self, host: str, port: int, **options: Any) -> None:
        super().__init__(**options)
        self._host, self._port = host, port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {**request.extensions, "sni_hostname": request.url.host}
        request.url = request.url.copy_with(host=self._host, port=self._port)
        return super().handle_request(request)


def _where(patient: Patient) -> tuple[str, int]:
    """Return host and port to connect to."""
    parts = urlsplit(patient.url)
    if patient.connect:
        host, _, port = patient.connect.rpartition(":")
        return host.strip("[]"), int(port)
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def trust() -> ssl.SSLContext:
    """Return a context that trusts the system's authorities or SSL_CERT_FILE, and Mozilla's, as there may be none."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def connect(patient: Patient) -> socket.socket:
    return socket.create_connection(_where(patient), timeout=TIMEOUT)


def _takes_old_tls(patient: Patient) -> bool:
    """Try TLS 1.1, with whatever ciphers there are. What this machine's own library refuses counts as refused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    try:
        context.set_ciphers("ALL:@SECLEVEL=0")
        name = urlsplit(patient.url).hostname
        with connect(patient) as plain, context.wrap_socket(plain, server_hostname=name):
            return True
    except (ssl.SSLError, OSError):
        return False
