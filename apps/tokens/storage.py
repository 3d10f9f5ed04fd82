"""The two writes of the token endpoint, one statement each.

A statement is atomic by itself: whatever dies before or after it, either the code (or refresh token) is unspent
and nothing was issued, or it is spent and what it issued can be found and revoked. docs/decisions/ says why this
is SQL and not the ORM, and in which order rows are locked.
"""

import uuid
from datetime import datetime
from typing import Any

from django.db import connection as database

from apps.tokens.issuance import hash_token
from apps.tokens.models import Grant, TokenFamily

# The connection may end while its row is waited for; then nothing is stored.
_SPEND_CODE = """
WITH spent AS (
    UPDATE tokens_grant SET spent_at = %(now)s, updated = %(now)s, token_family = %(family)s
    FROM connections_connection c
    WHERE tokens_grant.id = %(grant)s AND spent_at IS NULL AND c.id = connection_id AND c.ended_at IS NULL
    RETURNING tokens_grant.user_id, tokens_grant.application_id, connection_id,
              tokens_grant.partner_metadata, tokens_grant.scope
), used AS (
    UPDATE connections_connection c
    SET last_used_at = %(now)s, partner_metadata = COALESCE(spent.partner_metadata, c.partner_metadata)
    FROM spent WHERE c.id = spent.connection_id AND c.ended_at IS NULL
    RETURNING c.id
), access AS (
    INSERT INTO oauth2_provider_accesstoken
        (user_id, application_id, token, token_checksum, expires, scope, resource, created, updated)
    SELECT spent.user_id, spent.application_id, '', %(access)s::text, %(expires)s, %(scope)s::text,
           '[]'::jsonb, %(now)s, %(now)s
    FROM spent, used
    RETURNING id
), refresh AS (
    INSERT INTO oauth2_provider_refreshtoken
        (user_id, application_id, token, token_checksum, access_token_id, token_family, resource, created, updated)
    SELECT spent.user_id, spent.application_id, '', %(refresh)s::text, access.id, %(family)s,
           '[]'::jsonb, %(now)s, %(now)s
    FROM spent, access WHERE %(refresh)s::text IS NOT NULL
)
INSERT INTO tokens_tokenfamily (id, connection_id, access_token_id, scope, created_at)
SELECT %(family)s, used.id, access.id, spent.scope, %(now)s FROM spent, used, access
RETURNING id
"""

# The family's row is locked first. Whoever waits for it sees, when it goes on, that the refresh token it meant
# to spend has been spent: an UPDATE looks at a row's latest version.
_ROTATE_REFRESH_TOKEN = """
WITH used AS (
    UPDATE connections_connection c SET last_used_at = %(now)s
    FROM tokens_tokenfamily f
    WHERE f.id = %(family)s AND c.id = f.connection_id AND c.ended_at IS NULL
    RETURNING c.id
), family AS (
    SELECT f.id, f.access_token_id FROM tokens_tokenfamily f, used
    WHERE f.id = %(family)s AND f.revoked_at IS NULL
    FOR UPDATE OF f
), spent AS (
    UPDATE oauth2_provider_refreshtoken r
    SET revoked = %(now)s, updated = %(now)s, access_token_id = NULL
    FROM family WHERE r.id = %(presented)s AND r.token_family = family.id AND r.revoked IS NULL
    RETURNING r.id, r.user_id, r.application_id, family.access_token_id AS old_access_token_id
), gone AS (
    DELETE FROM oauth2_provider_accesstoken a USING spent WHERE a.id = spent.old_access_token_id
), access AS (
    INSERT INTO oauth2_provider_accesstoken
        (user_id, application_id, source_refresh_token_id, token, token_checksum, expires, scope, resource,
         created, updated)
    SELECT user_id, application_id, id, '', %(access)s::text, %(expires)s, %(scope)s::text,
           '[]'::jsonb, %(now)s, %(now)s
    FROM spent
    RETURNING id
), refresh AS (
    INSERT INTO oauth2_provider_refreshtoken
        (user_id, application_id, token, token_checksum, access_token_id, token_family, resource, created, updated)
    SELECT spent.user_id, spent.application_id, '', %(refresh)s::text, access.id, %(family)s,
           '[]'::jsonb, %(now)s, %(now)s
    FROM spent, access
)
UPDATE tokens_tokenfamily f SET access_token_id = access.id FROM access WHERE f.id = %(family)s
RETURNING f.id
"""


def spend_code(
    *,
    grant: Grant,
    access_token: str,
    refresh_token: str | None,
    scope: str,
    issued_at: datetime,
    expires_at: datetime,
) -> bool:
    """Spend the code and store what it is exchanged for. False: another request spent it first, or it was
    taken back; then nothing is stored.
    """
    return _write(
        _SPEND_CODE,
        grant=grant.pk,
        family=uuid.uuid4(),
        access=hash_token(access_token),
        refresh=hash_token(refresh_token) if refresh_token else None,
        scope=scope,
        now=issued_at,
        expires=expires_at,
    )


def rotate_refresh_token(
    *,
    family: TokenFamily,
    presented_id: int,
    access_token: str,
    refresh_token: str,
    scope: str,
    issued_at: datetime,
    expires_at: datetime,
) -> bool:
    """Spend the refresh token and store its successor and a new access token in the place of the old one.

    False: another request spent it first, or its family was revoked; then nothing is stored.
    """
    return _write(
        _ROTATE_REFRESH_TOKEN,
        family=family.pk,
        presented=presented_id,
        access=hash_token(access_token),
        refresh=hash_token(refresh_token),
        scope=scope,
        now=issued_at,
        expires=expires_at,
    )


def _write(statement: str, **parameters: Any) -> bool:
    with database.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchone() is not None
