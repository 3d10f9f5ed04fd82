"""Connections to places that a developer has named: resolved once, checked, and made to that very address.

A name that is asked for twice may be answered twice differently; here nobody asks again between the check and the
connection. TLS is spoken with the name all the same, and so is the Host header: httpcore takes them from the URL.
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import httpcore
import httpx

from apps.webhooks.addresses import may_connect_to

#: A resolver that does not answer is waited for in a thread that cannot be interrupted, so there are many, and
#: nothing else runs in them.
_RESOLVERS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="webhook-resolver")
#: What is being looked up. Whoever wants to know the same waits with the others, so that a name whose resolver hangs
#: takes one thread, however many notifications wait for it.
_lookups: dict[tuple[str, int], Future[Any]] = {}
_lookups_lock = threading.Lock()


class AddressNotFoundError(Exception):
    """The host name has no address."""


class AddressRefusedError(Exception):
    """One of the host's addresses is none that we connect to."""


async def resolve(host: str, port: int) -> list[IPv4Address | IPv6Address]:
    """Return the addresses of `host`, in the order in which to try them. Raises AddressNotFoundError."""
    try:
        # Whoever loses patience must not take the answer from the others.
        found = await asyncio.shield(asyncio.wrap_future(_look_up(host, port)))
    except (OSError, UnicodeError) as error:
        raise AddressNotFoundError from error
    # An IPv6 address may come with the name of an interface; only a link-local one means anything with it.
    addresses = [ip_address(str(sockaddr[0]).partition("%")[0]) for *_, sockaddr in found]
    return list(dict.fromkeys(addresses))


def _look_up(host: str, port: int) -> "Future[Any]":
    question = (host, port)
    with _lookups_lock:
        lookup = _lookups.get(question)
        if lookup is not None:
            return lookup
        lookup = _lookups[question] = _RESOLVERS.submit(_get_addresses, host, port)
    # Outside the lock: if it has ended already, this calls at once.
    lookup.add_done_callback(lambda _lookup: _forget_lookup(question))
    return lookup


def _forget_lookup(question: tuple[str, int]) -> None:
    with _lookups_lock:
        _lookups.pop(question, None)


def _get_addresses(host: str, port: int) -> Any:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class CheckedBackend(httpcore.AsyncNetworkBackend):
    """Makes httpcore's connections, to public addresses only."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers.

        Raises AddressNotFoundError; AddressRefusedError if only one of its addresses is not a public one, because
        somebody who mixes them has no good reason to; httpcore's errors.
        """
        addresses = await resolve(host, port)
        if not all(may_connect_to(address) for address in addresses):
            raise AddressRefusedError
        failure: Exception | None = None
        for address in addresses:
            try:
                stream = await self._backend.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _Stream(stream)
        raise failure or AddressNotFoundError()

    async def connect_unix_socket(self, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        raise NotImplementedError("A webhook is not sent to a file.")


class _Stream(httpcore.AsyncNetworkStream):
    """A connection that is closed when somebody loses patience during the TLS handshake: httpcore leaves it open."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream

    async def start_tls(self, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(*arguments, **options)
        except BaseException:
            await self._stream.aclose()
            raise

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """Return how certificates are checked: against Mozilla's list, or the one that SSL_CERT_FILE names."""
    return httpx.create_ssl_context()


class CheckedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over `CheckedBackend`. HTTP/1.1, no proxy: it would look up the name again."""

    def __init__(self) -> None:
        # Not the base class's: it takes no network backend, and would read certificates anew each time.
        self._pool = httpcore.AsyncConnectionPool(ssl_context=tls(), network_backend=CheckedBackend())
