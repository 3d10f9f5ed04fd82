"""The endpoints that partner servers call: token, revocation, introspection, metadata, keys.

None of them has a session, a cookie or a CSRF token: the client authenticates itself.
"""

import json
from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from oauth2_provider.views.mixins import OAuthLibMixin
from oauthlib.common import Request
from oauthlib.oauth2.rfc6749 import errors

from apps.connections.models import EndReason
from apps.developers.models import Application
from apps.developers.scopes import ALL as ALL_SCOPES
from apps.organisations.middleware import host_of, organisation_of
from apps.telemetry.metrics import GRANTS
from apps.telemetry.work import note_outcome
from apps.tokens import limits, selectors, services
from apps.tokens.errors import describe_body
from apps.tokens.introspection import describe_token
from apps.tokens.keys import public_jwks
from apps.tokens.parameters import read_parameters

_CLIENT_PARAMETERS = ("client_id", "client_secret")


@method_decorator(csrf_exempt, name="dispatch")
@method_decorator(sensitive_post_parameters(), name="dispatch")
class ClientEndpoint(OAuthLibMixin, View):
    """A POST by a client: reads the body, and answers every error as RFC 6749 5.2 says."""

    http_method_names = ["post"]
    parameters: tuple[str, ...] = ()
    #: What counts a client's requests (limits/rules.py).
    limit_rule: ClassVar[str]

    @method_decorator(sensitive_variables())
    def post(self, request: HttpRequest) -> HttpResponse:
        request.limit_rule = self.limit_rule  # type: ignore[attr-defined]
        try:
            request.oauth_parameters = self.read(request)  # type: ignore[attr-defined]
            response = self.answer(request)
        except limits.TooManyRequestsError as error:
            response = limits.answer(error)
        except errors.OAuth2Error as error:
            response = HttpResponse(error.json, status=error.status_code, content_type="application/json")
        if response.status_code == 401:
            response = self._counted(request, response)
        if response.status_code >= 400:
            response.content = describe_body(response.content)
        if response.status_code == 401:
            self.challenge(request, response)
        self._note_outcome(request, response)
        return self._uncached(response)

    def _counted(self, request: HttpRequest, failure: HttpResponse) -> HttpResponse:
        """Return the failure, or that there were too many."""
        try:
            limits.count_failure(request, claimed_client=limits.claimed_client(request))
        except limits.TooManyRequestsError as error:
            return limits.answer(error)
        return failure

    def _note_outcome(self, request: HttpRequest, response: HttpResponse) -> None:
        outcome = json.loads(response.content)["error"] if response.status_code >= 400 else "ok"
        grant = getattr(request, "oauth_parameters", {}).get("grant_type", "")
        note_outcome(outcome, grant=grant if grant in GRANTS else "")

    def read(self, request: HttpRequest) -> dict[str, str]:
        return read_parameters(request, known=(*_CLIENT_PARAMETERS, *self.parameters))

    def answer(self, request: HttpRequest) -> HttpResponse:
        """Answer the request, whose parameters have been read. May raise oauthlib's errors."""
        raise NotImplementedError

    def authenticated_client(self, request: HttpRequest) -> Application:
        """Return the confidential, approved client that has authenticated itself. Raises oauthlib's errors."""
        core = self.get_oauthlib_core()
        uri, method, body, headers = core._extract_params(request)
        oauth_request = Request(uri, method, body, headers)
        if not core.server.request_validator.authenticate_client(oauth_request):
            raise errors.InvalidClientError(request=oauth_request)
        if oauth_request.client.is_public:
            # RFC 7662 2.1: the endpoint must know who asks.
            raise errors.InvalidClientError(request=oauth_request)
        if not oauth_request.client.is_approved:
            raise errors.UnauthorizedClientError(request=oauth_request)
        return oauth_request.client

    def challenge(self, request: HttpRequest, response: HttpResponse) -> None:
        """Offer Basic to a client that tried Basic (RFC 6749 5.2); oauthlib's own header is about Bearer."""
        del response["WWW-Authenticate"]
        if request.META.get("HTTP_AUTHORIZATION", "").lower().startswith("basic"):
            response["WWW-Authenticate"] = 'Basic realm="Countersign", charset="UTF-8"'

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        body = {"error": "invalid_request", "error_description": "Send a POST request."}
        return self._uncached(HttpResponseNotAllowed(["POST"], json.dumps(body), content_type="application/json"))

    def _uncached(self, response: HttpResponse) -> HttpResponse:
        # RFC 6749 5.1
        response["Cache-Control"] = "no-store"
        response["Pragma"] = "no-cache"
        return response


class TokenView(ClientEndpoint):
    """Every token door (CONTRACT section 4): exchanges a code, refreshes, or issues to a service."""

    limit_rule = "token"
    parameters = (
        "grant_type",
        "code",
        "redirect_uri",
        "redirect_url",
        "refresh_token",
        "code_verifier",
        "scope",
    )

    def read(self, request: HttpRequest) -> dict[str, str]:
        """Read the parameters and the loyalty programme's two other spellings."""
        parameters = super().read(request)
        alias = parameters.pop("redirect_url", None)
        if alias is not None and parameters.setdefault("redirect_uri", alias) != alias:
            raise errors.InvalidRequestError(description="redirect_uri and redirect_url differ.")
        if parameters.get("grant_type") == "refresh_token" and "code" in parameters:
            parameters.setdefault("refresh_token", parameters.pop("code"))
        return parameters

    @method_decorator(sensitive_variables())
    def answer(self, request: HttpRequest) -> HttpResponse:
        _uri, headers, body, status = self.create_token_response(request)
        response = HttpResponse(body, status=status, content_type="application/json")
        for name, value in headers.items():
            response[name] = value
        return response


class RevokeTokenView(ClientEndpoint):
    """RFC 7009: a client gives up one of its own tokens."""

    limit_rule = "revocation"
    parameters = ("token", "token_type_hint")

    def answer(self, request: HttpRequest) -> HttpResponse:
        _uri, headers, body, status = self.create_revocation_response(request)
        response = HttpResponse(body or b"", status=status, content_type="application/json")
        if "Retry-After" in headers:
            response["Retry-After"] = headers["Retry-After"]
        return response


class IntrospectTokenView(ClientEndpoint):
    """RFC 7662: a client asks about a token of its own, a service with `introspect` about its organisation's."""

    limit_rule = "introspection"
    parameters = ("token", "token_type_hint")

    def answer(self, request: HttpRequest) -> HttpResponse:
        caller = self.authenticated_client(request)
        token = request.oauth_parameters.get("token")  # type: ignore[attr-defined]
        if not token:
            raise errors.InvalidRequestError(description="Missing token parameter.")
        return JsonResponse(describe_token(token, caller=caller, host=host_of(request)))


@method_decorator(csrf_exempt, name="dispatch")
class RevokeConnectionView(View):
    """The receipts programme's revoke: whoever holds the access token ends its connection (CONTRACT section 6)."""

    http_method_names = ["delete"]

    @method_decorator(sensitive_variables("token"))
    def delete(self, request: HttpRequest) -> HttpResponse:
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "bearer":
            body = {"error": "invalid_token", "error_description": "Send Authorization: Bearer and the token."}
            return self._no_store(JsonResponse(body, status=401, headers={"WWW-Authenticate": "Bearer"}))
        presented = selectors.find_token_to_revoke(token.strip(), host=host_of(request))
        try:
            if presented is None:
                limits.count_failure(request)
            else:
                limits.admit_token(presented.application, "revocation")
        except limits.TooManyRequestsError as error:
            return self._no_store(limits.answer(error))
        if presented is None or not services.end_with_token(token=presented, reason=EndReason.PARTNER):
            body = {"error": "not_found", "error_description": "No connection has this access token."}
            return self._no_store(JsonResponse(body, status=404))
        return self._no_store(JsonResponse({}))

    def _no_store(self, response: HttpResponse) -> HttpResponse:
        response["Cache-Control"] = "no-store"
        return response


class MetadataView(View):
    """RFC 8414: what this organisation's authorization server offers, and where."""

    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        def address(name: str) -> str:
            return request.build_absolute_uri(reverse(name))

        authentication = ["client_secret_basic", "client_secret_post"]
        document = {
            "issuer": organisation_of(request).issuer,
            "authorization_endpoint": address("authorize"),
            "token_endpoint": address("token"),
            "revocation_endpoint": address("revoke-token"),
            "introspection_endpoint": address("introspect-token"),
            "jwks_uri": address("jwks"),
            "scopes_supported": list(ALL_SCOPES),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [*authentication, "none"],
            "revocation_endpoint_auth_methods_supported": [*authentication, "none"],
            "introspection_endpoint_auth_methods_supported": authentication,
            "authorization_response_iss_parameter_supported": True,
        }
        return _public(JsonResponse(document))


class JwksView(View):
    """RFC 7517: the public keys of every token that may still be valid."""

    http_method_names = ["get", "head", "options"]

    def get(self, request: HttpRequest) -> HttpResponse:
        # A new key signs at once, so a copy of the list without it would refuse good tokens.
        return _public(JsonResponse(public_jwks(), content_type="application/jwk-set+json"), "no-cache")


def _public(response: HttpResponse, cache_control: str = "public, max-age=300") -> HttpResponse:
    """Let any origin read a public document."""
    response["Access-Control-Allow-Origin"] = "*"
    response["Cache-Control"] = cache_control
    return response
