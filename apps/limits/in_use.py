"""Where this deployment counts: in Valkey if there is one, else in PostgreSQL."""

from functools import lru_cache

from django.conf import settings

from apps.limits.stores import DatabaseStore, Store

_DATABASE = DatabaseStore()


def current_store() -> Store:
    """Return the store that the settings name."""
    return _valkey(settings.CACHE_URL) if settings.CACHE_URL else _DATABASE


@lru_cache(maxsize=4)
def _valkey(url: str) -> Store:
    from apps.limits.valkey import ValkeyStore

    return ValkeyStore(url)
