from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from apps.limits.rates import read_rate

_SCHEMES = ("redis", "rediss", "unix")


@register()
def check_limits(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find limits that cannot be read, before the first request does."""
    found: list[CheckMessage] = []
    for rule, text in settings.RATE_LIMIT_RATES.items():
        try:
            read_rate(text)
        except ImproperlyConfigured as error:
            found.append(Error(f"RATE_LIMIT_{rule.upper()}: {error}", id="limits.E001"))
    if settings.CACHE_URL and urlsplit(settings.CACHE_URL).scheme not in _SCHEMES:
        found.append(
            Error("CACHE_URL: it begins with none of redis://, rediss:// and unix://.", id="limits.E002"),
        )
    return found
