"""Absolute addresses of an organisation's pages, for where there is no request to ask: mails above all."""

from django.conf import settings

from apps.organisations.models import Organisation


def site_address(organisation: Organisation, path: str = "") -> str:
    """Return the absolute URL of `path` (which begins with a slash) on the organisation's own site.

    On a first look (`INSECURE_HTTP`) that is plain http at the port that the server listens on.
    """
    if not settings.INSECURE_HTTP:
        return f"https://{organisation.domain}{path}"
    port = "" if settings.PORT == 80 else f":{settings.PORT}"
    return f"http://{organisation.domain}{port}{path}"
