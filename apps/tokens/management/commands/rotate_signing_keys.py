from typing import Any

from django.utils import timezone

from apps.organisations.management.base import AnsweringCommand
from apps.tokens.models import SigningKey
from apps.tokens.services import rotate_signing_keys


class Command(AnsweringCommand):
    help = (
        "Make a new signing key of each kind. The old ones go on verifying the tokens they have signed; "
        "running servers notice within five minutes."
    )

    def handle(self, **options: Any) -> None:
        fresh = rotate_signing_keys()
        retired = (
            SigningKey.objects.verifiable(timezone.now())
            .filter(retired_at__isnull=False)
            .order_by("-retired_at", "algorithm")
        )
        data: dict[str, Any] = {
            "signing": [{"kid": key.kid, "algorithm": key.algorithm} for key in fresh],
            "verifying": [{"kid": key.kid, "algorithm": key.algorithm, "until": _end_of(key)} for key in retired],
        }
        lines = [f"signs from now on: {key['algorithm']} {key['kid']}" for key in data["signing"]]
        lines += [
            f"verifies until {key['until'] or 'further notice'}: {key['algorithm']} {key['kid']}"
            for key in data["verifying"]
        ]
        self.answer(data, as_json=options["json"], text="\n".join(lines))


def _end_of(key: SigningKey) -> str | None:
    return key.verifiable_until.isoformat(timespec="seconds") if key.verifiable_until else None
