"""How passwords are hashed, and how much memory that may take at once."""

import os
import threading
from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher

from apps.accounts.room_for_hashes import hashes_at_once, memory_limit

#: How many hashes this process makes at the same time; who comes then waits for a turn. Each takes `memory_cost`, and a
#: crowd that logs in at once, or anybody with wrong passwords, would otherwise have the server killed.
AT_ONCE = hashes_at_once(processes=settings.WEB_PROCESSES, processors=os.cpu_count() or 1, memory=memory_limit())

_turn = threading.BoundedSemaphore(AT_ONCE)


class PasswordHasher(Argon2PasswordHasher):
    """Argon2id with the second recommended parameters of RFC 9106, section 4: three passes over 64 MiB, four lanes."""

    time_cost = 3
    memory_cost = 65_536  # KiB; room_for_hashes.py counts with it
    parallelism = 4

    def encode(self, password: str, salt: str) -> Any:
        with _turn:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with _turn:
            return super().verify(password, encoded)
