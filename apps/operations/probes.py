from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

PROBES: dict[str, Callable[[HttpRequest], HttpResponse]] = {}
