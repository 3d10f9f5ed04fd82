from typing import Any

from django.conf import settings
from django.contrib.auth.hashers import get_hashers_by_algorithm
from django.core.checks import CheckMessage, Error, Tags, register


@register(Tags.security)
def client_secret_hasher_is_known(**kwargs: Any) -> list[CheckMessage]:
    """Refuse a CLIENT_SECRET_HASHER that Django cannot identify.

    django-oauth-toolkit compares an unidentifiable stored value as plain text: the hash string itself would
    then be accepted as the client's secret, and the real secret refused.
    """
    name = settings.OAUTH2_PROVIDER["CLIENT_SECRET_HASHER"]
    if name in get_hashers_by_algorithm():
        return []
    return [
        Error(
            f"OAUTH2_PROVIDER['CLIENT_SECRET_HASHER'] is {name!r}, which PASSWORD_HASHERS does not contain.",
            hint="Add apps.developers.hashers.ClientSecretHasher to PASSWORD_HASHERS.",
            id="countersign.E001",
        )
    ]
