from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

from apps.organisations.models import Organisation


def host_of(request: HttpRequest) -> str:
    """Return the request's host name without the port or a root dot, in lower case. Raises DisallowedHost."""
    host = request.get_host().lower()
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return name.removesuffix(".")


def find_organisation(request: HttpRequest) -> Organisation:
    """Return the organisation whose site this is; raises DoesNotExist when none is set up at all."""
    organisation = Organisation.objects.at_host(host_of(request))
    if organisation is None:
        raise Organisation.DoesNotExist("No default organisation: run manage.py create_organisation.")
    return organisation


def organisation_of(request: HttpRequest) -> Organisation:
    """Return the organisation that the middleware has put on the request."""
    organisation: Organisation = request.organisation  # type: ignore[attr-defined]
    return organisation


class OrganisationMiddleware:
    """Adds `request.organisation`, looked up when it is first asked for and never before."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        request.organisation = SimpleLazyObject(lambda: find_organisation(request))  # type: ignore[attr-defined]
        return self.get_response(request)
