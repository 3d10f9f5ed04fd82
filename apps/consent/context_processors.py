from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from apps.consent.pending import find


def pending_authorization(request: HttpRequest) -> dict[str, Any]:
    """Give the log-in pages the authorization request that the user comes from, if they do."""

    def look_up() -> Any:
        path = request.POST.get("next") or request.GET.get("next")
        return find(request, path) if path else None

    return {"pending_authorization": SimpleLazyObject(look_up)}
