"""A request's door: the name of its address. There are as many as the URL map has, whatever strangers ask for."""

import functools

from django.conf import settings
from django.http import HttpRequest
from django.urls import ResolverMatch, URLPattern, get_resolver

STATIC = "static"
#: No address of ours.
UNKNOWN = "unknown"


def door_of(request: HttpRequest) -> str:
    """Return the door of a request that has been answered."""
    if request.resolver_match is not None:
        return door_of_match(request.resolver_match)
    return STATIC if request.path_info.startswith(settings.STATIC_URL) else UNKNOWN


def door_of_match(match: ResolverMatch) -> str:
    """Return the name of the address. The whole administration is one: it has hundreds, and few visitors.

    A door without its slash has no name of its own, and goes by the name of the one with it.
    """
    if "admin" in match.namespaces:
        return "admin"
    if match.url_name:
        return ":".join([*match.namespaces, match.url_name])
    return _named_routes().get(match.route + "/", UNKNOWN)


@functools.cache
def _named_routes() -> dict[str, str]:
    patterns = get_resolver().url_patterns
    return {
        str(pattern.pattern): pattern.name for pattern in patterns if isinstance(pattern, URLPattern) and pattern.name
    }
