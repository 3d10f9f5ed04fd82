"""Passwords: Argon2id as RFC 9106 recommends, and a bound to the memory that many log-ins at once take."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from argon2 import PasswordHasher as Argon2
from django.contrib.auth.hashers import Argon2PasswordHasher, check_password, make_password

from apps.accounts import hashers
from apps.accounts.models import User


@pytest.mark.spec("RFC 9106", "4")
def test_a_password_is_hashed_with_the_second_recommended_parameters() -> None:
    assert make_password("a long enough password").startswith("argon2$argon2id$v=19$m=65536,t=3,p=4$")


def test_a_hash_of_other_parameters_is_good_and_renewed_at_the_next_log_in(member: User, password: str) -> None:
    old = "argon2" + Argon2(time_cost=2, memory_cost=102_400, parallelism=8).hash(password)
    User.objects.filter(pk=member.pk).update(password=old)
    member.refresh_from_db()
    assert not member.check_password("another")
    assert member.check_password(password)
    member.refresh_from_db()
    assert member.password.startswith("argon2$argon2id$v=19$m=65536,t=3,p=4$")


def test_no_more_hashes_than_allowed_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    are_enough = threading.Event()

    def slow(self: Any, password: str, encoded: str) -> bool:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
            if most == hashers.AT_ONCE:
                are_enough.set()
        are_enough.wait(60)
        time.sleep(0.05)
        with lock:
            under_way -= 1
        return True

    encoded = make_password("a long enough password")
    monkeypatch.setattr(Argon2PasswordHasher, "verify", slow)
    with ThreadPoolExecutor(hashers.AT_ONCE * 4) as pool:
        answers = list(pool.map(lambda _: check_password("any", encoded), range(hashers.AT_ONCE * 4)))
    assert all(answers)
    assert most == hashers.AT_ONCE
