from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from apps.operations.probes import PROBES


class ProbeMiddleware:
    """Answers probes before anything else: under any host name, without a log line, and counted by nobody.

    An orchestrator calls by address, which is none of ALLOWED_HOSTS. The answers say nothing about the host, so the
    name does not matter here; everything else goes on to where it is checked.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        probe = PROBES.get(request.path_info)
        return self.get_response(request) if probe is None else probe(request)
