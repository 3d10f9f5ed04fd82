"""oauthlib's questions, answered from our tables.

DOT's validator keeps the protocol logic; what is overridden here is how things are looked up and stored, and the
places where DOT is laxer than CONTRACT.md (docs/decisions/ lists each one and why).
"""

from datetime import timedelta
from typing import Any

from django.utils import timezone
from oauth2_provider.models import AccessToken
from oauth2_provider.oauth2_validators import OAuth2Validator
from oauthlib.oauth2.rfc6749 import errors

from apps.activity import recorder
from apps.activity.models import Kind
from apps.activity.notes import Secret
from apps.connections.models import Connection
from apps.developers.models import Application
from apps.tokens import selectors, services, storage
from apps.tokens.backend import HOST_NAME
from apps.tokens.errors import ApplicationNotApprovedError
from apps.tokens.issuance import find_successor_seed, hash_token, successor_seed
from apps.tokens.issuing import access_token_expiry, issuance_of, profile_of
from apps.tokens.limits import admit_client
from apps.tokens.models import Grant
from apps.tokens.requests import OAuthRequest

#: For so long after a rotation the same refresh request gets the same answer (CONTRACT section 4).
HONEST_RETRY_WINDOW = timedelta(seconds=10)


class Validator(OAuth2Validator):
    """The request validator of every door."""

    # --- the client ---------------------------------------------------------------------------------

    def _load_application(self, client_id: str | None, request: OAuthRequest) -> Application | None:
        """Return the application of that client id at the request's host; cached on the request."""
        if isinstance(request.client, Application) and request.client.client_id == client_id:
            return request.client
        request.client = None
        if client_id and "\x00" not in client_id:
            request.client = selectors.find_application(host=request.headers[HOST_NAME], client_id=client_id)
        return request.client

    def _extract_basic_auth(self, request: OAuthRequest) -> str | None:
        """Return the credentials of a Basic header; the scheme's case does not matter (RFC 9110 11.1)."""
        scheme, _, credentials = request.headers.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        # Base64 is ASCII; what is not is taken for credentials that nobody has.
        return credentials.strip() if credentials.isascii() else ""

    def _check_secret(self, provided_secret: str, stored_secret: str) -> bool:
        """Compare with the stored hash; an empty secret is never right, whatever is stored."""
        return bool(provided_secret) and bool(super()._check_secret(provided_secret, stored_secret))

    def client_authentication_required(self, request: OAuthRequest, *args: Any, **kwargs: Any) -> bool:
        if self._extract_basic_auth(request) is None and not request.client_id:
            raise errors.InvalidRequestError(description="Missing client_id parameter.", request=request)
        return super().client_authentication_required(request, *args, **kwargs)

    def authenticate_client(self, request: OAuthRequest, *args: Any, **kwargs: Any) -> bool:
        """Authenticate the client by its newest secret or, for as long as that works, the one before; note which.

        Raises TooManyRequestsError.
        """
        which: Secret = "current"
        if not self._authenticate_by_secret(request):
            if not self._authenticate_by_previous_secret(request):
                return False
            which = "previous"
        admit_client(request.client, request.headers)
        recorder.note_secret_use(request.client.pk, which)
        return True

    def authenticate_client_id(self, client_id: str, request: OAuthRequest, *args: Any, **kwargs: Any) -> bool:
        """Say whether it is a public client. Raises TooManyRequestsError."""
        if not super().authenticate_client_id(client_id, request, *args, **kwargs):
            return False
        admit_client(request.client, request.headers)
        return True

    def _authenticate_by_previous_secret(self, request: OAuthRequest) -> bool:
        client = request.client
        if client is None or not client.has_previous_secret:
            return False
        # The library compares with the one secret it knows of; this row is nobody else's, and is not saved.
        newest, client.client_secret = client.client_secret, client.previous_client_secret
        try:
            return self._authenticate_by_secret(request)
        finally:
            client.client_secret = newest

    def _authenticate_by_secret(self, request: OAuthRequest) -> bool:
        """Authenticate by the Basic header if there is one, else by the body; never by both (RFC 6749 2.3)."""
        if self._extract_basic_auth(request) is None:
            if not request.client_id:
                raise errors.InvalidRequestError(description="Missing client_id parameter.", request=request)
            return bool(self._authenticate_request_body(request))
        if request.client_secret:
            raise errors.InvalidRequestError(
                description="Authenticate by the Authorization header or by client_secret, not by both.",
                request=request,
            )
        if not self._authenticate_basic_auth(request):
            return False
        if request.client_id and request.client_id != request.client.client_id:
            raise errors.InvalidRequestError(
                description="client_id is not the client of the Authorization header.", request=request
            )
        request.client_id = request.client.client_id
        return True

    def validate_client_id(self, client_id: str, request: OAuthRequest, *args: Any, **kwargs: Any) -> bool:
        """Find the application that is to be authorised. Raises ApplicationNotApprovedError."""
        application = self._load_application(client_id, request)
        if application is None:
            return False
        if not application.is_approved:
            raise ApplicationNotApprovedError(request=request)
        return True

    def validate_response_type(
        self, client_id: str, response_type: str, client: Application, request: OAuthRequest, *args: Any, **kwargs: Any
    ) -> bool:
        return "authorization_code" in profile_of(client).grant_types

    def validate_grant_type(
        self, client_id: str, grant_type: str, client: Application, request: OAuthRequest, *args: Any, **kwargs: Any
    ) -> bool:
        """Say whether the profile has that grant; an application that is not approved has none."""
        return request.client.is_approved and grant_type in profile_of(request.client).grant_types

    def is_pkce_required(self, client_id: str, request: OAuthRequest) -> bool:
        """Require PKCE of public clients (RFC 9700 2.1.1)."""
        return bool(request.client.is_public)

    # --- the authorization code ---------------------------------------------------------------------

    def _create_authorization_code(self, request: OAuthRequest, code: dict[str, str], expires: Any = None) -> Grant:
        """Store the code's hash with everything that redeeming it will need."""
        return Grant.objects.create(
            code=hash_token(code["code"]),
            application=request.client,
            user=request.user,
            connection=request.connection,
            expires=timezone.now() + services.AUTHORIZATION_CODE_LIFETIME,
            redirect_uri=request.redirect_uri,
            has_redirect_uri=request.has_redirect_uri,
            scope=" ".join(request.granted_scopes),
            code_challenge=request.code_challenge or "",
            code_challenge_method=request.code_challenge_method or "",
            partner_metadata=request.partner_metadata,
            claims="{}",
        )

    def validate_code(
        self, client_id: str, code: str, client: Application, request: OAuthRequest, *args: Any, **kwargs: Any
    ) -> bool:
        """Find the code and keep its row on the request; a code presented again ends what it issued."""
        grant = selectors.find_grant(code=hash_token(code))
        if grant is None or grant.application_id != client.pk:
            return False
        if grant.spent_at is not None:
            services.end_replayed_code(grant=grant)
            return False
        if grant.is_expired() or not grant.user.is_active or not grant.connection.is_active:
            return False
        if request.code_verifier and not grant.code_challenge:
            return False  # RFC 9700 4.8.2: a downgrade, or a code from elsewhere
        if grant.has_redirect_uri and not request.redirect_uri:
            raise errors.InvalidRequestError(description="Missing redirect_uri parameter.", request=request)
        if grant.code_challenge and not request.code_verifier:
            raise errors.InvalidRequestError(description="Missing code_verifier parameter.", request=request)
        request.grant = grant
        request.connection = grant.connection
        request.user = grant.user
        # What the user or the developers have taken back since is not issued (CONTRACT section 7).
        request.scopes = selectors.effective_scopes(grant.scope, grant.connection, client)
        return True

    def get_code_challenge(self, code: str, request: OAuthRequest) -> str | None:
        return request.grant.code_challenge or None

    def get_code_challenge_method(self, code: str, request: OAuthRequest) -> str | None:
        return request.grant.code_challenge_method or None

    def get_default_redirect_uri(self, client_id: str, request: OAuthRequest, *args: Any, **kwargs: Any) -> str:
        grant: Grant | None = getattr(request, "grant", None)
        return grant.redirect_uri if grant else super().get_default_redirect_uri(client_id, request)

    def confirm_redirect_uri(
        self,
        client_id: str,
        code: str,
        redirect_uri: str,
        client: Application,
        request: OAuthRequest | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> bool:
        """Compare with the redirect URI the code was sent to (RFC 6749 4.1.3). Raises InvalidGrantError."""
        if request is None or redirect_uri != request.grant.redirect_uri:
            raise errors.InvalidGrantError(
                description="redirect_uri is not the one of the authorization request.", request=request
            )
        return True

    def invalidate_authorization_code(
        self, client_id: str, code: str, request: OAuthRequest, *args: Any, **kwargs: Any
    ) -> None:
        """Nothing: the statement that stored the tokens has spent the code."""

    # --- the refresh token --------------------------------------------------------------------------

    def validate_refresh_token(
        self, refresh_token: str, client: Application, request: OAuthRequest, *args: Any, **kwargs: Any
    ) -> bool:
        """Find the refresh token and keep it on the request, ready to be rotated or honestly retried."""
        found = selectors.find_refresh_token(refresh_token)
        if found is None or found[0].application_id != client.pk:
            return False
        row, family = found
        connection: Connection = family.connection
        if family.revoked_at or not connection.is_active or not row.user.is_active:
            return False
        lifetime = profile_of(client).refresh_token_lifetime
        if lifetime is None or row.created + timedelta(seconds=lifetime) <= timezone.now():
            return False
        request.family, request.connection, request.user = family, connection, row.user
        request.presented_refresh_token = row
        request.issuance_seed = successor_seed(refresh_token)
        request.issued_at = timezone.now()
        if row.revoked is not None:
            return self._is_honest_retry(request)
        return True

    def _is_honest_retry(self, request: OAuthRequest) -> bool:
        """Say whether a spent refresh token is the same request once more; if not, end its family.

        Honest: within the window, its successor unused, and asking for the same. Then `issued_at` is the
        rotation's, so that the issuance, and with it every token, comes out the same.
        """
        row, family = request.presented_refresh_token, request.family
        successor = AccessToken.objects.select_related("refresh_token").filter(source_refresh_token=row).first()
        if (
            row.revoked is None
            or timezone.now() - row.revoked > HONEST_RETRY_WINDOW
            or successor is None
            or successor.refresh_token.revoked is not None
            or (request.scope and set(request.scope.split()) != set(successor.scope.split()))
        ):
            services.end_replayed_refresh_token(family=family)
            return False
        seed = find_successor_seed(request.refresh_token, successor=successor.refresh_token.token_checksum)
        if seed is None:  # the deployment's secret was changed in between, and the earlier one not kept
            return False
        request.issuance_seed = seed
        request.issued_at = row.revoked
        request.retried_scope = successor.scope
        return True

    def get_original_scopes(self, refresh_token: str, request: OAuthRequest, *args: Any, **kwargs: Any) -> list[str]:
        """Return what the refresh token may still ask for, after the user's and the developers' narrowing.

        A list: oauthlib would read an empty string as one scope with an empty name.
        """
        retried: str | None = getattr(request, "retried_scope", None)
        scope = request.family.scope if retried is None else retried
        return selectors.effective_scopes(scope, request.connection, request.client)

    # --- tokens ---------------------------------------------------------------------------------------

    def save_bearer_token(self, token: dict[str, Any], request: OAuthRequest, *args: Any, **kwargs: Any) -> None:
        """Store the tokens just made and leave in `token` what the profile sends.

        Raises InvalidGrantError when another request has spent the code or refresh token meanwhile.
        """
        store = {
            "authorization_code": self._store_for_code,
            "refresh_token": self._store_for_refresh,
            "client_credentials": self._store_for_client,
        }[request.grant_type]
        store(token, request)
        keys = profile_of(request.client).response_keys
        response = {key: token[key] for key in keys if token.get(key) is not None}
        token.clear()
        token.update(response)
        recorder.record(request.client.pk, Kind.TOKEN, request.grant_type)

    def _store_for_code(self, token: dict[str, Any], request: OAuthRequest) -> None:
        issuance = issuance_of(request)
        stored = storage.spend_code(
            grant=request.grant,
            access_token=token["access_token"],
            refresh_token=token.get("refresh_token"),
            scope=" ".join(request.scopes),
            issued_at=issuance.issued_at,
            expires_at=access_token_expiry(request.client, issuance.issued_at),
        )
        if not stored:
            services.end_replayed_code(grant=request.grant)
            raise errors.InvalidGrantError(request=request)

    def _store_for_refresh(self, token: dict[str, Any], request: OAuthRequest) -> None:
        if getattr(request, "retried_scope", None) is not None:
            self._repeat(token, request)
            return
        issuance = issuance_of(request)
        rotated = storage.rotate_refresh_token(
            family=request.family,
            presented_id=request.presented_refresh_token.pk,
            access_token=token["access_token"],
            refresh_token=token["refresh_token"],
            scope=" ".join(request.scopes),
            issued_at=issuance.issued_at,
            expires_at=access_token_expiry(request.client, issuance.issued_at),
        )
        if not rotated:
            self._repeat_after_lost_race(token, request)

    def _repeat_after_lost_race(self, token: dict[str, Any], request: OAuthRequest) -> None:
        """Give a request that lost to an equal one the winner's answer, or refuse it like any late one."""
        still_good = self.validate_refresh_token(request.refresh_token, request.client, request)
        if not still_good or getattr(request, "retried_scope", None) is None:
            raise errors.InvalidGrantError(request=request)
        request.issuance = None
        request.scopes = self.get_original_scopes(request.refresh_token, request)
        token["access_token"] = profile_of(request.client).make_access_token(issuance_of(request))
        self._repeat(token, request)

    def _repeat(self, token: dict[str, Any], request: OAuthRequest) -> None:
        """Check that the access token made again is the stored one; after a key rotation it is replaced.

        `expires_in` counts from the first answer.
        """
        issuance = issuance_of(request)
        updated = AccessToken.objects.filter(source_refresh_token=request.presented_refresh_token).update(
            token_checksum=hash_token(token["access_token"])
        )
        if not updated:
            raise errors.InvalidGrantError(request=request)
        if token["expires_in"] is not None:
            token["expires_in"] -= int((timezone.now() - issuance.issued_at).total_seconds())

    def _store_for_client(self, token: dict[str, Any], request: OAuthRequest) -> None:
        issued_at = issuance_of(request).issued_at
        access_token = AccessToken(
            user=None,
            application=request.client,
            scope=" ".join(request.scopes),
            expires=access_token_expiry(request.client, issued_at),
        )
        self._set_token_value(access_token, token["access_token"])
        access_token.save(force_insert=True)

    def validate_bearer_token(self, token: str | None, scopes: list[str], request: OAuthRequest) -> bool:
        """Check a presented access token against the database (CONTRACT sections 5 and 8)."""
        presented = selectors.find_access_token(token, host=request.headers[HOST_NAME]) if token else None
        if presented is None or not set(scopes) <= set(presented.scopes):
            return False
        request.client, request.user = presented.application, presented.user
        request.access_token, request.scopes = presented, presented.scopes
        return True

    def revoke_token(
        self, token: str, token_type_hint: str | None, request: OAuthRequest, *args: Any, **kwargs: Any
    ) -> None:
        """End the token with its family, if it is the client's own (RFC 7009 2.1)."""
        services.revoke_token(token=token, application=request.client)
