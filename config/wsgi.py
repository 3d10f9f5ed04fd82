"""The WSGI entry point that the web server loads."""

import os
from typing import Any

import django
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.utils.http import parse_header_parameters

from apps.operations.postgresql.limits import limit_statements
from apps.operations.production import refuse_unsafe_start, told_plainly

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")


class Utf8Request(WSGIRequest):
    """A request in UTF-8, as all of ours are, whatever charset its Content-Type names.

    Django takes over a charset that is none for text (base64), and fails on a parameter it cannot decode, before
    any handler of errors is in place: a 500 that anybody could cause.
    """

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))
        except (ValueError, LookupError):
            self.content_type, self.content_params = "", {}


class Handler(WSGIHandler):
    """Django's handler with our request."""

    request_class = Utf8Request


with told_plainly():
    # First, while next to nothing is loaded: granian gives up only workers that end within seconds.
    refuse_unsafe_start()
    django.setup(set_prefix=False)
limit_statements()
application = Handler()
