"""`POST /api/notifications`: a trusted backend asks us to tell partners something (CONTRACT section 10)."""

import json
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.debug import sensitive_variables
from oauthlib.oauth2.rfc6749 import errors

from apps.developers.models import Application, Profile
from apps.organisations.middleware import host_of
from apps.tokens.limits import admit_token
from apps.tokens.parameters import BodyTooLongError, UnsupportedMediaTypeError
from apps.tokens.selectors import find_access_token
from apps.tokens.views import ClientEndpoint
from apps.webhooks.sending import MOST_ITEMS, queue_notifications

SCOPE = "notification:send"
#: Bytes: enough for the most items with the longest texts, unless much of them is escaped.
MAX_BODY_LENGTH = 2 * 1024 * 1024


class NotificationsView(ClientEndpoint):
    """Takes one notification, or `{"notifications": […]}`, and says what came of each.

    The service shows an access token that it got with client_credentials (RFC 6750 2.1), or its client credentials
    themselves (RFC 6749 2.3.1, Basic).
    """

    limit_rule = "notifications"

    def read(self, request: HttpRequest) -> dict[str, str]:
        # No parameters: a client_secret in the body would be one among the notifications.
        return {}

    def answer(self, request: HttpRequest) -> HttpResponse:
        sender = self._sender(request)
        results = queue_notifications(sender=sender, items=_read_items(request))
        has_news = any(result["status"] == "queued" for result in results)
        return JsonResponse({"results": results}, status=202 if has_news else 200)

    @sensitive_variables()
    def _sender(self, request: HttpRequest) -> Application:
        scheme, _, credentials = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == "basic":
            application = self.authenticated_client(request)
            scopes = application.scopes
        else:
            token = credentials.strip() if scheme.lower() == "bearer" else ""
            presented = find_access_token(token, host=host_of(request)) if token else None
            if presented is None:
                raise errors.InvalidTokenError(
                    description="The access token is missing, unknown, expired or revoked.", request=None
                )
            admit_token(presented.application, self.limit_rule)
            application, scopes = presented.application, presented.scopes
        if application.profile != Profile.SERVICE or SCOPE not in scopes:
            raise errors.InsufficientScopeError(description=f"This takes a service with the scope {SCOPE}.")
        return application

    def challenge(self, request: HttpRequest, response: HttpResponse) -> None:
        """Name what was wrong with the token (RFC 6750 3); a client that tried Basic is offered Basic."""
        super().challenge(request, response)
        if "WWW-Authenticate" not in response:
            response["WWW-Authenticate"] = 'Bearer error="invalid_token"'


def _read_items(request: HttpRequest) -> list[Any]:
    """Return the items of the body, whatever is in them. Raises oauthlib's InvalidRequestError."""
    if (request.content_type or "").lower() != "application/json":
        raise UnsupportedMediaTypeError(description="Send application/json.")
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal():
        raise errors.InvalidRequestError(description="Content-Length is not a number.")
    if int(length) > MAX_BODY_LENGTH:
        raise BodyTooLongError(description=f"The body is longer than {MAX_BODY_LENGTH} bytes.")
    try:
        document = json.loads(request.body.decode("utf-8"), parse_constant=_refuse_constant)
    except RequestDataTooBig as error:
        raise BodyTooLongError(description="The body is too long.") from error
    except (ValueError, RecursionError) as error:
        raise errors.InvalidRequestError(description="The body is not JSON.") from error
    if not isinstance(document, dict):
        raise errors.InvalidRequestError(description="The JSON body must be an object.")
    if "notifications" not in document:
        return [document]
    items = document["notifications"]
    if set(document) != {"notifications"} or not isinstance(items, list):
        raise errors.InvalidRequestError(description="notifications must be an array, and the only member.")
    if not 1 <= len(items) <= MOST_ITEMS:
        raise errors.InvalidRequestError(description=f"Send 1 to {MOST_ITEMS} notifications.")
    return items


def _refuse_constant(name: str) -> None:
    # RFC 8259 6: NaN and Infinity are no JSON.
    raise ValueError(name)
