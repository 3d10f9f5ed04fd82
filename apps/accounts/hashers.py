"""How passwords are hashed, and how much memory that may take at once."""

import os
import threading
from typing import Any

from django.contrib.auth.hashers import Argon2PasswordHasher

#: How many hashes one process makes at the same time. More would not be faster, each keeps a core busy, but each takes
#: `memory_cost`: a crowd that logs in at once would otherwise take memory by the gigabyte.
AT_ONCE = max(1, min(os.cpu_count() or 1, 4))

_turn = threading.BoundedSemaphore(AT_ONCE)


class PasswordHasher(Argon2PasswordHasher):
    """Argon2id with the second recommended parameters of RFC 9106, section 4: three passes over 64 MiB, four lanes."""

    time_cost = 3
    memory_cost = 65_536  # KiB
    parallelism = 4

    def encode(self, password: str, salt: str) -> Any:
        with _turn:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with _turn:
            return super().verify(password, encoded)
