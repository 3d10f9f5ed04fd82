from typing import Any

from django.conf import settings
from django.http import HttpRequest


def organisation(request: HttpRequest) -> dict[str, Any]:
    """Give every template the organisation whose site is shown (looked up lazily), and whether this is a demo."""
    return {"organisation": getattr(request, "organisation", None), "demo_mode": settings.DEMO_MODE}
