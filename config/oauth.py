"""django-oauth-toolkit's settings, each with the section that asks for it."""

from typing import Any

OAUTH2_PROVIDER: dict[str, Any] = {
    # One server, one validator, one backend for every door: see docs/decisions/.
    "OAUTH2_SERVER_CLASS": "apps.tokens.server.AuthorizationServer",
    "OAUTH2_VALIDATOR_CLASS": "apps.tokens.validator.Validator",
    "OAUTH2_BACKEND_CLASS": "apps.tokens.backend.OAuthBackend",
    # The application's profile decides what a token is and how long it lives (CONTRACT section 1).
    "ACCESS_TOKEN_GENERATOR": "apps.tokens.issuing.make_access_token",
    "REFRESH_TOKEN_GENERATOR": "apps.tokens.issuing.make_refresh_token",
    "AUTHORIZATION_CODE_EXPIRE_SECONDS": 60,
    "ROTATE_REFRESH_TOKEN": True,  # RFC 9700 4.14.2
    "REFRESH_TOKEN_REUSE_PROTECTION": True,  # RFC 9700 4.14.2
    # An honest retry is answered by deriving the successor again (tokens/issuance.py), not by a grace
    # period, which would need tokens in clear.
    "REFRESH_TOKEN_GRACE_PERIOD_SECONDS": 0,
    # A client secret is 128 random characters: a slow hash would protect nothing and cost 0.3 s.
    "CLIENT_SECRET_HASHER": "client_secret_sha256",
    "CLIENT_SECRET_GENERATOR_LENGTH": 128,
    "SCOPES_BACKEND_CLASS": "apps.developers.scopes.ApplicationScopes",
    # Which schemes one redirect URI may have is decided at registration (developers/rules.py): http for
    # loopback only (RFC 8252 7.3), a custom scheme for public clients only (RFC 8252 7.1).
    "ALLOWED_REDIRECT_URI_SCHEMES": ["https"],
    "ALLOW_URI_WILDCARDS": False,  # RFC 9700 2.1
    "PKCE_REQUIRED": True,  # RFC 9700 2.1.1; of public clients (Validator.is_pkce_required), taken from all
    "OAUTH2_RESPONSE_TYPES_SUPPORTED": ["code"],
    "OAUTH2_GRANT_TYPES_SUPPORTED": ["authorization_code", "refresh_token", "client_credentials"],
    # RFC 9700's gates: every one on.
    "COMPLIANT_BCP_RFC9700_IMPLICIT_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": True,
    "COMPLIANT_BCP_RFC9700_PKCE_METHOD": True,
    "COMPLIANT_BCP_RFC9700_ACCESS_TOKEN_TRANSPORT": True,
    "COMPLIANT_BCP_RFC9700_AUTHZ_RESPONSE_ISS": True,
    "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,
    "COMPLIANT_BCP_RFC9700_REFRESH_TOKEN": True,
    "COMPLIANT_BCP_RFC9700_REDIRECT_URI_SCHEME": True,
    "COMPLIANT_BCP_RFC9700_REDIRECT_URI_MATCHING": True,
    "COMPLIANT_BCP_RFC9700_PKCE_REQUIRED": True,
}
