"""One try: what is sent, and what each kind of receiver comes to."""

import datetime
import email.utils
import socket
import ssl
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import async_to_sync
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.utils import timezone
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from apps.webhooks import delivery, transport
from apps.webhooks.delivery import Destination, Message, open_client, send
from apps.webhooks.keys import new_value
from apps.webhooks.models import Failure, KeyKind
from tests.conftest import in_another_thread
from tests.webhooks import receivers
from tests.webhooks.receivers import Flood, respond

pytestmark = pytest.mark.spec("CONTRACT", "10")

BODY = '{"notification_type":"test","name":"Kävijä"}'


@pytest.fixture
def keys():
    return {kind: new_value(kind) for kind in KeyKind}


@pytest.fixture
def deliver(keys):
    """Try once to deliver to `url`."""

    def call(url, *, secrets=None, message=None):
        destination = Destination(
            url=url,
            api_key=keys[KeyKind.API_KEY],
            signing_secrets=tuple(secrets or [keys[KeyKind.SIGNING_SECRET]]),
        )
        return in_another_thread(lambda: try_once(url, destination=destination, message=message))

    return call


def try_once(url, *, destination=None, message=None):
    """Try in this thread, which has no event loop."""
    destination = destination or Destination(url=url, api_key="k", signing_secrets=(new_value(KeyKind.SIGNING_SECRET),))

    async def run():
        async with open_client() as client:
            return await send(client, destination, message or Message(uuid.uuid4(), BODY))

    return async_to_sync(run)()


@pytest.fixture
def hurry(monkeypatch):
    """Ten seconds are one."""
    monkeypatch.setattr(delivery, "TIMEOUT", 1.0)


# --- what is sent -----------------------------------------------------------------------------


def test_receiver_with_the_published_library_verifies_the_signature(deliver, receive, keys):
    receiver, message = receive(), Message(uuid.uuid4(), BODY)

    result = deliver(receiver.url, message=message)

    assert (result.status, result.failure, result.response_start) == (200, "", "thank you")
    [request] = receiver.requests
    verified = Webhook(keys[KeyKind.SIGNING_SECRET]).verify(request.body, request.headers)
    assert verified == {"notification_type": "test", "name": "Kävijä"}
    assert request.headers["webhook-id"] == str(message.notification_id)
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 30


def test_signature_of_another_secret_or_body_does_not_verify(deliver, receive, keys):
    receiver = receive()
    deliver(receiver.url)
    [request] = receiver.requests

    with pytest.raises(WebhookVerificationError):
        Webhook(new_value(KeyKind.SIGNING_SECRET)).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(keys[KeyKind.SIGNING_SECRET]).verify(request.body + " ", request.headers)


def test_while_secrets_change_either_verifies(deliver, receive):
    receiver, secrets = receive(), [new_value(KeyKind.SIGNING_SECRET) for _ in range(2)]
    deliver(receiver.url, secrets=secrets)
    [request] = receiver.requests

    for secret in secrets:
        assert Webhook(secret).verify(request.body, request.headers)


def test_request_is_a_plain_post_with_the_api_key(deliver, receive, keys):
    receiver = receive()
    deliver(receiver.url)
    [request] = receiver.requests

    assert request.path == "/hooks?from=us"
    assert request.headers["authorization"] == f"Token {keys[KeyKind.API_KEY]}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.body == BODY


def test_proxy_of_the_environment_is_not_asked(deliver, receive, monkeypatch):
    """It would look up the name itself, where nothing checks the address."""
    proxy, receiver = receive(respond(502)), receive()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")

    assert deliver(receiver.url).failure == ""
    assert proxy.connections == 0


# --- what receivers do ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_status_of_success_succeeds(deliver, receive, status):
    assert deliver(receive(respond(status, b"")).url).failure == ""


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503, 600])
def test_other_status_fails(deliver, receive, status):
    result = deliver(receive(respond(status, b"no")).url)

    assert (result.status, result.failure, result.response_start) == (status, Failure.STATUS, "no")


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("as_date", [False, True])
def test_receiver_says_how_long_it_wants_to_rest(deliver, receive, status, as_date):
    at = timezone.now() + datetime.timedelta(seconds=120)
    header = email.utils.format_datetime(at, usegmt=True) if as_date else "120"
    result = deliver(receive(respond(status, b"", Retry_After=header)).url)

    assert abs(result.rest_until - at) < datetime.timedelta(seconds=10)
    assert result.ends_turn


@pytest.mark.parametrize("header", ["999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_rest_is_an_hour_at_most(deliver, receive, header):
    result = deliver(receive(respond(503, b"", Retry_After=header)).url)

    wait = result.rest_until - timezone.now()
    assert datetime.timedelta(minutes=59) < wait <= datetime.timedelta(hours=1)


@pytest.mark.parametrize("header", ["0", "-5", "soon", "1.5", "٣", "Fri, 31 Dec 1999 23:59:59 GMT", "Fri, 99 Dec 1999"])
def test_rest_that_is_none_is_ignored(deliver, receive, header):
    receiver = receive(
        lambda connection: connection.sendall(
            f"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nRetry-After: {header}\r\n\r\n".encode()
        )
    )
    result = deliver(receiver.url)

    assert (result.failure, result.rest_until, result.ends_turn) == (Failure.STATUS, None, False)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_only_who_is_overloaded_may_rest(deliver, receive, status):
    assert deliver(receive(respond(status, b"", Retry_After="120")).url).rest_until is None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_a_failure_and_not_followed(deliver, receive, status):
    elsewhere = receive()
    result = deliver(receive(respond(status, Location=elsewhere.url)).url)

    assert (result.status, result.failure) == (status, Failure.REDIRECT)
    assert elsewhere.connections == 0


@pytest.mark.parametrize("behaviour", [receivers.hang, receivers.drip, receivers.drip_body])
def test_receiver_that_takes_its_time_is_left(hurry, deliver, receive, behaviour):
    start = time.monotonic()
    result = deliver(receive(behaviour).url)

    assert result.failure == Failure.TIMEOUT
    assert time.monotonic() - start < 20


def test_ten_seconds_are_the_limit():
    assert delivery.TIMEOUT == 10


@pytest.mark.parametrize(
    ("behaviour", "status", "start"),
    [(receivers.break_off, 200, "half an ans"), (receivers.hang_up, None, ""), (receivers.talk_nonsense, None, "")],
    ids=["in the body", "before the answer", "no HTTP"],
)
def test_answer_that_is_broken_off_is_a_failure(deliver, receive, behaviour, status, start):
    result = deliver(receive(behaviour).url)

    assert (result.status, result.failure, result.response_start) == (status, Failure.BROKEN_OFF, start)


def test_head_without_end_is_a_failure(deliver, receive):
    assert deliver(receive(receivers.endless_head).url).failure == Failure.BROKEN_OFF


def test_of_a_gigabyte_one_kilobyte_is_read(deliver, receive):
    flood = Flood()
    result = deliver(receive(flood).url)

    assert (result.failure, result.response_start) == ("", "x" * 1024)
    assert flood.is_over.wait(60), "the connection was not closed"
    assert flood.sent < 50 * 2**20  # what the sockets' buffers took


def test_compressed_answer_is_not_unpacked(deliver, receive):
    """A small one may unpack to gigabytes; we have asked for none."""
    bomb = b"\x1f\x8b\x08\x00" + b"\x00" * 40
    result = deliver(receive(respond(200, bomb, Content_Encoding="gzip")).url)

    assert result.failure == ""
    assert len(result.response_start) == 44


def test_answer_is_kept_as_text_that_the_database_can_hold(deliver, receive):
    result = deliver(receive(respond(500, b"\x00\xff<b>\xc3\xa4")).url)

    assert result.response_start == "\ufffd\ufffd<b>ä"


def test_nobody_there(deliver):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    assert deliver(f"http://127.0.0.1:{port}/").failure == Failure.NOT_REACHED


# --- certificates -----------------------------------------------------------------------------


class Authority:
    """Issues certificates; `path` is what to trust."""

    def __init__(self, folder):
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority")])
        self.path = folder / f"{uuid.uuid4()}.pem"
        certificate = self._sign(self._name, self._key.public_key(), x509.BasicConstraints(ca=True, path_length=0))
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, host):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._sign(name, key.public_key(), x509.SubjectAlternativeName([x509.DNSName(host)]))
        path = self._folder / f"{uuid.uuid4()}.pem"
        path.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context

    def _sign(self, subject, public_key, extension):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=public_key,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - datetime.timedelta(days=1),
            not_valid_after=now + datetime.timedelta(days=1),
        )
        return builder.add_extension(extension, critical=True).sign(self._key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path, monkeypatch):
    """An authority that this process trusts."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.path))
    transport.tls.cache_clear()
    yield made
    transport.tls.cache_clear()


@pytest.fixture
def name(monkeypatch):
    """Let names have addresses; returns the list of what was asked."""
    asked = []

    def call(**names):
        real = socket.getaddrinfo

        def look_up(host, port, *arguments, **options):
            asked.append(host)
            answers = names.get(host.replace(".", "_"))
            if answers is None:
                return real(host, port, *arguments, **options)
            if isinstance(answers, Exception):
                raise answers
            if callable(answers):
                answers = answers()
            families = {False: socket.AF_INET, True: socket.AF_INET6}
            return [(families[":" in a], socket.SOCK_STREAM, 6, "", (a, port)) for a in answers]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    return call


def test_certificate_of_the_name_is_accepted_and_the_name_is_sent(deliver, receive, authority, name):
    receiver = receive(tls=authority.server("hooks.partner.example"))
    name(hooks_partner_example=["127.0.0.1"])

    assert deliver(f"https://hooks.partner.example:{receiver.port}/").failure == ""
    assert receiver.requests[0].headers["host"] == f"hooks.partner.example:{receiver.port}"


@pytest.mark.parametrize("host", ["other.partner.example", "127.0.0.1"])
def test_certificate_of_another_name_is_refused(deliver, receive, authority, name, host):
    receiver = receive(tls=authority.server("hooks.partner.example"))
    name(other_partner_example=["127.0.0.1"])

    assert deliver(f"https://{host}:{receiver.port}/").failure == Failure.TLS
    assert receiver.requests == []


def test_certificate_of_an_unknown_authority_is_refused(deliver, receive, authority, name, tmp_path):
    receiver = receive(tls=Authority(tmp_path).server("hooks.partner.example"))
    name(hooks_partner_example=["127.0.0.1"])

    assert deliver(f"https://hooks.partner.example:{receiver.port}/").failure == Failure.TLS
    assert receiver.requests == []


def test_server_that_says_nothing_to_the_handshake_is_left(hurry, deliver, receive, authority):
    receiver = receive()

    assert deliver(f"https://127.0.0.1:{receiver.port}/").failure == Failure.TIMEOUT
    assert receiver.requests == []


def test_server_without_tls_is_not_sent_anything(deliver, authority):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.recv(10)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        result = deliver(f"https://127.0.0.1:{server.getsockname()[1]}/")

    assert (result.failure, result.status) == (Failure.TLS, None)


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [socket.gaierror(-2, "Name or service not known"), UnicodeError("label too long")])
def test_name_without_an_address(deliver, name, error):
    name(nowhere_example=error)

    assert deliver("https://nowhere.example/").failure == Failure.ADDRESS_NOT_FOUND


def test_resolver_that_hangs_is_left_too(hurry, deliver, name):
    has_ended, may_end = threading.Event(), threading.Event()

    def wait():
        may_end.wait(60)
        has_ended.set()
        return ["127.0.0.1"]

    name(slow_example=wait)

    assert deliver("https://slow.example/").failure == Failure.TIMEOUT
    assert not has_ended.is_set()
    may_end.set()


def test_name_whose_resolver_hangs_takes_one_thread(hurry, deliver, name):
    """However many wait for it; whoever has waited with the others gets the same answer."""
    may_end = threading.Event()
    asked = name(slow_example=lambda: [may_end.wait(60), "127.0.0.1"][1:])

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: try_once("https://slow.example:1/"), range(8)))
    may_end.set()

    assert {result.failure for result in results} == {Failure.TIMEOUT}
    assert asked == ["slow.example"]


def test_name_is_asked_for_again_later(deliver, receive, name):
    receiver = receive()
    asked = name(quick_example=lambda: ["127.0.0.1"])

    for _ in range(2):
        assert deliver(f"http://quick.example:{receiver.port}/").failure == ""
    assert asked == ["quick.example"] * 2


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "0177.0.0.1", "127.1", "hooks.partner.example"])
def test_this_machine_is_refused_in_production_however_it_is_written(deliver, receive, name, settings, host):
    settings.INSECURE_HTTP = False
    receiver = receive()
    name(hooks_partner_example=["127.0.0.1"])

    # Some of these the HTTP client already does not take for an address.
    assert deliver(f"http://{host}:{receiver.port}/").failure in {Failure.ADDRESS_REFUSED, Failure.NOT_REACHED}
    assert receiver.connections == 0


@pytest.mark.parametrize("addresses", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["127.0.0.1", "fd00::1"]])
def test_one_refused_address_refuses_them_all(deliver, receive, name, addresses):
    receiver = receive()
    name(mixed_example=addresses)

    assert deliver(f"http://mixed.example:{receiver.port}/").failure == Failure.ADDRESS_REFUSED
    assert receiver.connections == 0


def test_next_address_is_tried_when_one_does_not_answer(deliver, receive, name):
    receiver = receive()
    name(two_example=["::1", "127.0.0.1"])

    assert deliver(f"http://two.example:{receiver.port}/").failure == ""


def test_name_is_looked_up_once_and_that_address_is_connected_to(deliver, receive, name):
    """Rebinding: whoever answers the second question differently is not asked a second one."""
    receiver = receive()
    answers = iter([["127.0.0.1"]])
    asked = name(rebinding_example=lambda: next(answers, ["169.254.169.254"]))

    assert deliver(f"http://rebinding.example:{receiver.port}/").failure == ""
    assert asked == ["rebinding.example"]
    assert receiver.connections == 1
