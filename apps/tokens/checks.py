from typing import Any

from django.core.checks import CheckMessage, Error, Tags, register

from apps.developers.models import Profile
from apps.tokens.profiles import PROFILES


@register(Tags.models)
def every_profile_has_its_file(**kwargs: Any) -> list[CheckMessage]:
    """Refuse to start with an application profile that nothing issues tokens for."""
    return [
        Error(
            f"No token profile for {name!r}.",
            hint="Add a file to apps/tokens/profiles/ and a line to PROFILES.",
            id="countersign.E002",
        )
        for name in Profile.values
        if name not in PROFILES
    ]
