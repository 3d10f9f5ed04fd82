from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register


@register(Tags.security, deploy=True)
def not_a_demo(**kwargs: Any) -> list[CheckMessage]:
    """Refuse to deploy what is only good for a first look: known passwords, plain http, no rate limits."""
    return [
        Error(f"{name} is on.", hint=f"Set {name}=0 in the environment.", id=check)
        for name, check in {"DEMO_MODE": "countersign.E003", "INSECURE_HTTP": "countersign.E004"}.items()
        if getattr(settings, name)
    ]
