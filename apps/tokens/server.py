"""oauthlib's endpoints, with the grants we serve and no others."""

import base64
import hashlib
import hmac
import json
import re
from typing import Any

from oauthlib.common import Request
from oauthlib.oauth2 import (
    AuthorizationCodeGrant,
    AuthorizationEndpoint,
    BearerToken,
    ClientCredentialsGrant,
    RefreshTokenGrant,
    ResourceEndpoint,
    RevocationEndpoint,
    TokenEndpoint,
)
from oauthlib.oauth2.rfc6749 import errors
from oauthlib.oauth2.rfc6749.utils import scope_to_list

from apps.activity import recorder
from apps.activity.models import Kind
from apps.developers.models import Application
from apps.tokens.backend import MALFORMED_PARAMETERS, append_query
from apps.tokens.issuance import make_authorization_code
from apps.tokens.issuing import access_token_lifetime
from apps.tokens.validator import Validator

MAX_STATE_LENGTH = 4096
# BASE64URL of a SHA-256: always 43 characters (RFC 7636 4.2).
_S256_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")
# RFC 7636 4.1: long enough that nobody guesses it.
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def check_authorization_request(request: Request) -> dict[str, Any]:
    """Check what oauthlib leaves open, after client and redirect URI are known to be good (CONTRACT section 2).

    Errors go back to the redirect URI.
    """
    if malformed := request.headers.get(MALFORMED_PARAMETERS):
        raise errors.InvalidRequestError(description=f"Repeated or malformed parameter: {malformed}.", request=request)
    if len(request.state or "") > MAX_STATE_LENGTH:
        raise errors.InvalidRequestError(
            description=f"The parameter state has more than {MAX_STATE_LENGTH} characters.", request=request
        )
    # Our default: RFC 6749 3.1.1 requires it, the campus programme's clients do not send it.
    request.response_type = request.response_type or "code"
    if request.response_type != "code":
        raise errors.UnsupportedResponseTypeError(request=request)
    if request.code_challenge is None and (request.code_challenge_method is not None or request.client.is_public):
        raise errors.InvalidRequestError(description="Missing code_challenge parameter.", request=request)
    if (
        request.code_challenge is not None
        and request.code_challenge_method == "S256"
        and not _S256_CHALLENGE.fullmatch(request.code_challenge)
    ):
        raise errors.InvalidRequestError(description="code_challenge is not a base64url SHA-256.", request=request)
    return {}


def is_s256_challenge_of(verifier: str, challenge: str) -> bool:
    """Say, in constant time, whether `challenge` was made from `verifier` (RFC 7636 4.6)."""
    if not _VERIFIER.fullmatch(verifier):
        return False
    digest = hashlib.sha256(verifier.encode()).digest()
    return hmac.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"="), challenge.encode())


class CodeGrant(AuthorizationCodeGrant):
    """The authorization code grant with S256 as the only code challenge method (RFC 9700 2.1.1)."""

    _code_challenge_methods = {"S256": is_s256_challenge_of}

    def __init__(self, validator: Validator) -> None:
        super().__init__(validator)
        self.custom_validators.pre_auth.append(check_authorization_request)

    def validate_authorization_request(self, request: Request) -> tuple[list[str], dict[str, Any]]:
        """Validate; an error knows the application, when it is the application's."""
        try:
            return super().validate_authorization_request(request)
        except errors.OAuth2Error as error:
            error.application = request.client
            raise

    def create_authorization_code(self, request: Request) -> dict[str, str]:
        code = {"code": make_authorization_code()}
        if request.state:
            code["state"] = request.state
        return code

    def prepare_authorization_response(
        self, request: Request, token: dict[str, str], headers: dict[str, str], body: None, status: int
    ) -> tuple[dict[str, str], None, int]:
        """Add the answer and `iss` (RFC 9207) to the redirect URI, whose own query stays as it is."""
        answer = [*token.items(), ("iss", request.client.organisation.issuer)]
        headers["Location"] = append_query(request.redirect_uri, answer)
        return headers, body, status


class AuthorizationServer(AuthorizationEndpoint, TokenEndpoint, ResourceEndpoint, RevocationEndpoint):
    """What DOT drives: code, refresh token and client credentials grants; bearer tokens; revocation."""

    def __init__(
        self,
        request_validator: Validator,
        token_generator: Any = None,
        refresh_token_generator: Any = None,
        **kwargs: Any,
    ) -> None:
        self.request_validator = request_validator
        bearer = BearerToken(request_validator, token_generator, access_token_lifetime, refresh_token_generator)
        code = CodeGrant(request_validator)
        AuthorizationEndpoint.__init__(
            self, default_response_type="code", response_types={"code": code}, default_token_type=bearer
        )
        TokenEndpoint.__init__(
            self,
            default_grant_type="authorization_code",
            grant_types={
                "authorization_code": code,
                "refresh_token": RefreshTokenGrant(request_validator),
                "client_credentials": ClientCredentialsGrant(request_validator),
            },
            default_token_type=bearer,
        )
        ResourceEndpoint.__init__(self, default_token="Bearer", token_types={"Bearer": bearer})
        RevocationEndpoint.__init__(self, request_validator)

    def create_token_response(
        self, uri: str, http_method: str = "POST", body: Any = None, headers: Any = None, credentials: Any = None
    ) -> tuple[dict[str, str], str, int]:
        """Answer a token request with (headers, body, status); the errors of an application we know are counted."""
        request = Request(uri, http_method=http_method, body=body, headers=headers)
        try:
            self.validate_token_request(request)
            request.scopes = scope_to_list(request.scope)
            answer = self.grant_types[request.grant_type].create_token_response(request, self.default_token_type)
        except errors.OAuth2Error as error:
            answer = error.headers, error.json, error.status_code
        if answer[2] >= 400 and isinstance(request.client, Application):
            recorder.record(request.client.pk, Kind.ERROR, json.loads(answer[1])["error"])
        return answer

    def validate_token_request(self, request: Request) -> None:
        super().validate_token_request(request)
        if not request.grant_type:
            raise errors.InvalidRequestError(description="Missing grant_type parameter.", request=request)
        if request.grant_type not in self.grant_types:
            raise errors.UnsupportedGrantTypeError(request=request)
        if request.grant_type == "refresh_token" and not request.refresh_token:
            raise errors.InvalidRequestError(description="Missing refresh_token parameter.", request=request)
