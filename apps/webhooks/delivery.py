"""One try of delivering a notification: what is sent, what is read of the answer, and what counts as success."""

import asyncio
import ssl
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import httpx
from django.utils import timezone

from apps.webhooks.models import Failure
from apps.webhooks.signing import headers_of
from apps.webhooks.transport import AddressNotFoundError, AddressRefusedError, CheckedTransport

#: Seconds for all of it: name, connection, request, answer.
TIMEOUT = 10.0
#: Bytes of the answer that are read; the team sees them.
RESPONSE_START_LENGTH = 1024
#: With these, Retry-After says how long to wait (RFC 6585 section 4, RFC 9110 section 15.6.4); at most so long.
_OVERLOADED = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}
LONGEST_REST = timedelta(hours=1)


@dataclass(frozen=True)
class Message:
    """A notification as it is sent."""

    notification_id: uuid.UUID
    body: str


@dataclass(frozen=True)
class Destination:
    """Where it is sent, and how the receiver knows that it is from us."""

    url: str
    api_key: str
    signing_secrets: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What came of one try."""

    started_at: datetime
    duration_ms: int
    status: int | None
    #: Empty: it succeeded.
    failure: str
    response_start: str
    #: The receiver asked to be left alone until then.
    rest_until: datetime | None = None

    @property
    def is_gone(self) -> bool:
        """Say whether the receiver wants to be sent nothing any more (Standard Webhooks)."""
        return self.status == HTTPStatus.GONE

    @property
    def ends_turn(self) -> bool:
        """Say whether nothing else is to be sent there now."""
        return self.is_gone or self.rest_until is not None


def open_client() -> httpx.AsyncClient:
    """Return a client for one endpoint: no redirects, no proxy, no cookies kept, nothing read from the environment."""
    return httpx.AsyncClient(transport=CheckedTransport(), follow_redirects=False, trust_env=False, timeout=TIMEOUT)


async def send(client: httpx.AsyncClient, destination: Destination, message: Message) -> Result:
    """Try once; whatever the receiver does, it takes `TIMEOUT` seconds at most and is told by the result.

    A try succeeds with a status from 200 to 299 whose answer ended properly, or went on beyond what we read: what was
    broken off, the receiver may not have finished.
    """
    started_at, start = timezone.now(), time.monotonic()
    status: int | None = None
    received = bytearray()
    failure = ""
    rest_until: datetime | None = None
    try:
        async with asyncio.timeout(TIMEOUT):
            request = _build_request(client, destination, message, started_at)
            response = await client.send(request, stream=True)
            status = response.status_code
            rest_until = _rest_of(status, response.headers.get("Retry-After", ""))
            try:
                async for chunk in response.aiter_raw():
                    received += chunk[: RESPONSE_START_LENGTH - len(received)]
                    if len(received) >= RESPONSE_START_LENGTH:
                        break
            finally:
                # Closes the connection if there is more to come.
                await response.aclose()
        failure = _failure_of_status(status)
    except (
        httpx.HTTPError,
        httpx.InvalidURL,
        AddressNotFoundError,
        AddressRefusedError,
        OSError,
    ) as error:
        failure = _failure_of_error(error)
    return Result(
        started_at=started_at,
        duration_ms=round((time.monotonic() - start) * 1000),
        status=status,
        failure=failure,
        # The database has no NUL in its texts.
        response_start=received.decode("utf-8", "replace").replace("\x00", "\ufffd"),
        rest_until=rest_until,
    )


def _rest_of(status: int, retry_after: str) -> datetime | None:
    """Return until when an overloaded receiver wants to rest: in seconds, or a date (RFC 9110 section 10.2.3)."""
    if status not in _OVERLOADED:
        return None
    now, text = timezone.now(), retry_after.strip()
    try:
        if text.isascii() and text.isdecimal():
            # More digits than a day has seconds are more than the longest rest, and may be more than a number is.
            seconds = int(text) if len(text) < 9 else LONGEST_REST.total_seconds()
            wanted = now + timedelta(seconds=seconds)
        else:
            wanted = parsedate_to_datetime(text)
            # "-0000": an instant in UTC of an unknown place.
            wanted = wanted if wanted.tzinfo else wanted.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
    return min(wanted, now + LONGEST_REST) if wanted > now else None


def _build_request(
    client: httpx.AsyncClient, destination: Destination, message: Message, at: datetime
) -> httpx.Request:
    return client.build_request(
        "POST",
        destination.url,
        content=message.body.encode(),
        headers={
            "Content-Type": "application/json",
            "Accept": "*/*",
            # What is compressed could be much longer than it looks.
            "Accept-Encoding": "identity",
            "User-Agent": "Countersign-Webhooks",
            **headers_of(
                notification_id=message.notification_id,
                body=message.body,
                api_key=destination.api_key,
                signing_secrets=destination.signing_secrets,
                at=at,
            ),
        },
    )


def _failure_of_status(status: int) -> str:
    if 200 <= status <= 299:
        return ""
    return Failure.REDIRECT if 300 <= status <= 399 else Failure.STATUS


def _failure_of_error(error: BaseException) -> str:
    causes = list(_causes(error))
    if any(isinstance(cause, AddressNotFoundError) for cause in causes):
        return Failure.ADDRESS_NOT_FOUND
    if any(isinstance(cause, AddressRefusedError) for cause in causes):
        return Failure.ADDRESS_REFUSED
    # First, because what was interrupted is among the causes.
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return Failure.TIMEOUT
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return Failure.TLS
    if isinstance(error, (httpx.ConnectError, httpx.UnsupportedProtocol, httpx.InvalidURL)):
        return Failure.NOT_REACHED
    return Failure.BROKEN_OFF


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
