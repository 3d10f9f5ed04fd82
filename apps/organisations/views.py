from typing import ClassVar

from django.core.files.storage import default_storage
from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.generic import View

from apps.organisations.models import Organisation


class BrandStylesView(View):
    """An organisation's colours as custom properties: a style sheet of its own, so that no page needs inline style."""

    def get(self, request: HttpRequest, slug: str) -> HttpResponse:
        organisation = get_object_or_404(Organisation, slug=slug)
        response = render(
            request, "organisations/brand.css", {"brand": organisation}, content_type="text/css; charset=utf-8"
        )
        response["Cache-Control"] = "public, max-age=300"
        return response


class LogoView(View):
    """A logo from our storage. It is a picture and nothing else, whatever a browser may see in it."""

    KINDS: ClassVar[frozenset[str]] = frozenset({"organisations", "applications"})

    def get(self, request: HttpRequest, kind: str, name: str) -> FileResponse:
        path = f"logos/{kind}/{name}"
        if not name.endswith(".png") or kind not in self.KINDS or not default_storage.exists(path):
            raise Http404
        response = FileResponse(default_storage.open(path), content_type="image/png")
        response["Cache-Control"] = "public, max-age=86400"
        response["X-Content-Type-Options"] = "nosniff"
        # Opened as a page of its own, it runs and loads nothing.
        response["Content-Security-Policy"] = "default-src 'none'; frame-ancestors 'none'; sandbox"
        return response
