from typing import Any

from django.http import HttpRequest


def organisation(request: HttpRequest) -> dict[str, Any]:
    """Give every template the organisation whose site is shown (looked up lazily)."""
    return {"organisation": getattr(request, "organisation", None)}
