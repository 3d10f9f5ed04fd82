"""Static files, also for a page of another version: while web servers are replaced, old and new ones answer in turn."""

import re

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware
from whitenoise.responders import StaticFile

#: What collectstatic puts before the ending, made of a file's content.
_HASH = re.compile(r"\.[0-9a-f]{12}(?=\.[^./]+$)")


class StaticFilesMiddleware(WhiteNoiseMiddleware):
    """Answers a file's name of another version with the file as it is in this one.

    A page without its style sheet is worse than one with a slightly newer or older one. What is answered so is never
    kept, neither by browsers nor by a CDN: they take a name with a hash for the same content for ever.
    """

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        own = self._own_version(request.path_info)
        if own is None:
            answer: HttpResponseBase = super().__call__(request)
            return answer
        answer = self.serve(own, request)
        answer["Cache-Control"] = "no-store"
        return answer

    def _own_version(self, path: str) -> StaticFile | None:
        """Return our file for a name of another version; None if the name is ours, or of nothing that we have."""
        if self.autorefresh or path in self.files or not path.startswith(self.static_prefix):
            return None
        name, number = _HASH.subn("", path.removeprefix(self.static_prefix))
        url = self.get_static_url(name) if number else None
        found: StaticFile | None = self.files.get(url) if url else None
        return found
