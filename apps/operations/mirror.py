"""How a request arrives here, past all proxies: for the doctor alone, who asks by the public address.

The doctor shows a pass that only the deployment secret can make, so an answer also proves that the same deployment
answers there. Whoever else asks learns nothing, not even that there is such an address.
"""

import secrets
import time

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from apps.audit.context import address_of
from apps.sealing import derive_secret
from apps.telemetry.work import current_request_id

HEADER = "X-Countersign-Doctor"
#: Seconds that a pass is good for; two clocks may differ.
_LIFETIME = 300


def make_pass() -> str:
    """Return what the doctor shows in HEADER."""
    return _signer().sign(secrets.token_urlsafe(12))


@method_decorator(never_cache, name="dispatch")
class MirrorView(View):
    """What the server makes of the request: scheme, host, the client's address, and what it reads it from."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        try:
            _signer().unsign(request.headers.get(HEADER, ""), max_age=_LIFETIME)
        except BadSignature:
            raise Http404 from None
        forwarded = request.headers.get("X-Forwarded-For", "")
        return JsonResponse(
            {
                "scheme": request.scheme,
                "host": request.get_host(),
                "address": address_of(request),
                "forwarded": len(forwarded.split(",")) if forwarded else 0,
                "trusted_proxies": settings.ALLAUTH_TRUSTED_PROXY_COUNT,
                "request_id": current_request_id(),
                "traceparent": request.headers.get("Traceparent", ""),
                "time": time.time(),
            }
        )


def _signer() -> TimestampSigner:
    return TimestampSigner(key=derive_secret("doctor"), salt="mirror")
