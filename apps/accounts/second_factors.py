"""What second steps of the log-in are checked with, TOTP secrets and the seeds of recovery codes, lies encrypted in the
database (ASVS 5, 13.3): a copy of it lets nobody make codes. Passkeys need no secret of ours.
"""

from typing import Any

from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from django.db.models import Q, QuerySet

from apps.sealing import cipher, needs_resealing

_PURPOSE = "second factors"
#: Before what is encrypted. No secret of allauth's begins like that: they are written in base 32 and in base 16.
_SEALED = "sealed:"


class SealingMFAAdapter(DefaultMFAAdapter):
    """Gives allauth its secrets as it wants them. `decrypt` raises InvalidToken when no deployment secret opens one."""

    def encrypt(self, text: str) -> str:
        return _SEALED + cipher(_PURPOSE).encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        if not encrypted_text.startswith(_SEALED):
            return encrypted_text  # of before they were encrypted; `manage.py reseal` does it
        return cipher(_PURPOSE).decrypt(_sealed_part(encrypted_text)).decode()


def factors_with_secrets() -> QuerySet[Authenticator]:
    """Return the second factors that have a secret of ours."""
    kinds = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)
    queryset: QuerySet[Authenticator] = Authenticator.objects.filter(type__in=kinds)
    return queryset


def factors_in_clear() -> QuerySet[Authenticator]:
    """Return those of them that have never been encrypted."""
    return factors_with_secrets().filter(
        (Q(data__has_key="secret") & ~Q(data__secret__startswith=_SEALED))
        | (Q(data__has_key="seed") & ~Q(data__seed__startswith=_SEALED))
    )


def reseal_factor(factor: Authenticator) -> bool:
    """Encrypt its secret with the deployment secret of now if it is not; return whether it has to be saved.

    Raises InvalidToken if it cannot be opened.
    """
    sealed = {name: _resealed(value) for name, value in factor.data.items() if name in ("secret", "seed")}
    if all(factor.data[name] == value for name, value in sealed.items()):
        return False
    factor.data = {**factor.data, **sealed}
    return True


def _resealed(value: str) -> str:
    if value.startswith(_SEALED) and not needs_resealing(_PURPOSE, _sealed_part(value)):
        return value
    adapter: Any = SealingMFAAdapter()
    return str(adapter.encrypt(adapter.decrypt(value)))


def _sealed_part(value: str) -> bytes:
    return value.removeprefix(_SEALED).encode()
