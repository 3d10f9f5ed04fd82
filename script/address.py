"""The address that the web server listens on."""

import contextlib
import ipaddress
import socket
from collections.abc import Mapping

from errors import StartError


def address(environment: Mapping[str, str]) -> tuple[str, int]:
    """HOST and PORT; raises StartError when PORT is not one."""
    port = environment["PORT"]
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise StartError(f"PORT has to be a number from 1 to 65535, and is {port!r}")
    return environment["HOST"], int(port)


def check_address_is_free(host: str, port: int) -> str:
    """Return the IP address to listen on; raises StartError when nobody could."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, protocol, _, where = min(found, key=lambda entry: entry[0])  # IPv4 first
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen(1)
            return str(where[0])
    except socket.gaierror:
        raise StartError(f"HOST={host} is not an address of this machine; set HOST to one that is") from None
    except PermissionError:
        raise StartError(
            f"port {port} needs more rights than you have; set PORT to another one, e.g. PORT=8000"
        ) from None
    except OSError as error:
        if error.errno in (98, 48):  # EADDRINUSE on Linux, macOS
            raise StartError(f"port {port} on {host} is taken; stop what uses it, or set PORT to another one") from None
        raise StartError(
            f"{host}:{port} cannot be listened on ({error.strerror}); set HOST and PORT to another address"
        ) from None


def reachable(host: str) -> str:
    """The address under which this machine reaches a server that listens on `host`."""
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(host)
        if parsed.is_unspecified:
            return "127.0.0.1" if parsed.version == 4 else "::1"
    return host


def in_url(host: str) -> str:
    """The host as URLs and ALLOWED_HOSTS spell it."""
    return f"[{host}]" if ":" in host else host
