"""Names that mean the machine itself."""

_NAMES = ("localhost", "localhost.localdomain", "127.0.0.1", "::1", "[::1]")


def is_of_this_machine(host: str) -> bool:
    """Say whether a host name, without a port, leads nobody else here (RFC 6761 6.3)."""
    name = host.strip().rstrip(".").lower()
    return name in _NAMES or name.endswith(".localhost")
