"""How many passwords are hashed at once: what the memory bears that all processes of a web server share.

Needs no Django: the web server asks before it loads any.
"""

import os
from pathlib import Path

MEBIBYTE = 1 << 20
#: What one hash takes for as long as it is made (`memory_cost` in hashers.py).
HASH_BYTES = 64 * MEBIBYTE
#: What one process may take beside that: measured are about 100 (bench/README.md), the rest is for bodies of requests.
PROCESS_BYTES = 160 * MEBIBYTE
#: Hashes that one process makes at once. Each has four lanes, and keeps as many cores busy.
MOST_OF_A_PROCESS = 4

#: Files of a control group, of either version, that bound the memory of all processes in it.
_LIMITS_V2 = ("memory.max", "memory.high")
_LIMITS_V1 = ("memory.limit_in_bytes",)
_GROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIPS = Path("/proc/self/cgroup")


def hashes_at_once(*, processes: int, processors: int, memory: int) -> int:
    """Return how many passwords each of the processes hashes at the same time.

    All of them together take no more than what `memory` (bytes) leaves beside the processes themselves, and make no
    more hashes than there are processors. Each makes one at least; whether that fits says `is_enough`.
    """
    room = (memory - processes * PROCESS_BYTES) // HASH_BYTES
    return max(1, min(room // processes, processors // processes, MOST_OF_A_PROCESS))


def memory_needed(processes: int) -> int:
    """Return how many bytes so many processes of a web server need, each of which hashes one password at a time."""
    return processes * (PROCESS_BYTES + HASH_BYTES)


def is_enough(*, processes: int, memory: int) -> bool:
    """Say whether that many processes can work in so many bytes, whatever many people do at once."""
    return memory_needed(processes) <= memory


def memory_limit() -> int:
    """Return how many bytes this process may take with all that share its limit.

    That is the tightest limit of its control groups (version 1 or 2) and of those above them; at most what the machine
    has. What is above a container's own group is not seen in it.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits_of_groups()])


def _limits_of_groups() -> list[int]:
    try:
        lines = _MEMBERSHIPS.read_text().splitlines()
    except OSError:
        return []  # no Linux
    found: list[int] = []
    for line in lines:
        _number, controllers, path = line.split(":", 2)
        if not controllers:
            found += _limits_up_from(_GROUPS, path, _LIMITS_V2)
        elif "memory" in controllers.split(","):
            found += _limits_up_from(_GROUPS / "memory", path, _LIMITS_V1)
    return found


def _limits_up_from(root: Path, path: str, names: tuple[str, ...]) -> list[int]:
    """Read the limits of a group and of all above it; a container may show its own group at the root only."""
    group = root / path.lstrip("/")
    groups = [group, *group.parents]
    texts = [_read(folder / name) for folder in groups[: groups.index(root) + 1] for name in names]
    # "max" is none; version 1 writes a number that no machine has.
    return [int(text) for text in texts if text.isdecimal()]


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""  # no such group here, or it has no such limit
