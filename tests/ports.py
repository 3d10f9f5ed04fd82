"""Ports of this machine for servers that are told theirs before they start."""

import itertools
import os
import random
import socket
from collections.abc import Iterator

#: Below the ports that the kernel gives out by itself (from 32 768), so that no connection and no other test's server
#: has taken one before the server that it is meant for is up. Each process of a parallel run has so many to itself.
_FIRST, _BAND, _BANDS = 12_000, 2_000, 10


def _candidates() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _BANDS
    ports = list(range(_FIRST + worker * _BAND, _FIRST + (worker + 1) * _BAND))
    # Another run of the tests may be under way on this machine.
    random.shuffle(ports)
    return itertools.cycle(ports)


_ports = _candidates()


def free_port() -> int:
    """A port of 127.0.0.1 at which nobody listens, and which this process has not given out before."""
    for port in itertools.islice(_ports, _BAND):
        with socket.socket() as probe:
            # As servers do: a connection of before that is still being forgotten does not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("No port is free.")
