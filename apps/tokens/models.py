import uuid
from datetime import datetime

from django.db import models
from django.utils.translation import gettext_lazy as _
from oauth2_provider.models import AbstractGrant, AccessToken

from apps.connections.models import Connection


class Grant(AbstractGrant):
    """An authorization code. `code` holds its SHA-256, never the code itself.

    A spent grant stays as a tombstone that knows the token family it opened, so that a second redemption can
    end what the first one issued (RFC 6749 4.1.2).
    """

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="grants")
    #: Whether the authorization request named a redirect URI: then the token request must too (RFC 6749 4.1.3).
    has_redirect_uri = models.BooleanField(default=True)
    #: Becomes the connection's metadata once the partner, who checked `state`, redeems the code.
    partner_metadata = models.JSONField(null=True, blank=True)
    spent_at = models.DateTimeField(null=True, blank=True)
    token_family = models.UUIDField(null=True, blank=True)

    class Meta(AbstractGrant.Meta):
        abstract = False
        verbose_name = _("authorization code")
        verbose_name_plural = _("authorization codes")
        # For housekeeping.
        indexes = [
            models.Index(fields=["expires"], condition=models.Q(spent_at__isnull=True), name="unspent_codes_by_end"),
            models.Index(fields=["spent_at"], condition=models.Q(spent_at__isnull=False), name="spent_codes_by_age"),
        ]


class TokenFamily(models.Model):
    """Everything that descends from one authorization code: one live access token, at most one refresh token.

    Its id is `token_family` of DOT's refresh tokens. Whoever issues, rotates or revokes locks this row first.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="families")
    access_token = models.OneToOneField(AccessToken, on_delete=models.SET_NULL, null=True, related_name="family")
    #: What the code granted; a refresh may ask for less, and later for all of it again (RFC 6749 section 6).
    scope = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("token family")
        verbose_name_plural = _("token families")
        indexes = [
            models.Index(
                fields=["revoked_at"], condition=models.Q(revoked_at__isnull=False), name="revoked_families_by_age"
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)


class SigningKeyQuerySet(models.QuerySet["SigningKey"]):
    def verifiable(self, now: datetime) -> "SigningKeyQuerySet":
        """Keys whose tokens may still be valid at `now`: they are published and verify."""
        return self.filter(models.Q(verifiable_until__isnull=True) | models.Q(verifiable_until__gt=now))


class SigningKey(models.Model):
    """A key that signs access tokens. The private part is encrypted with a key from the deployment secret."""

    class Algorithm(models.TextChoices):
        RS256 = "RS256", "RS256"
        HS256 = "HS256", "HS256"

    kid = models.CharField(_("key id"), max_length=64, primary_key=True)
    algorithm = models.CharField(_("algorithm"), max_length=8, choices=Algorithm.choices)
    encrypted_private_key = models.BinaryField()
    #: The public JWK (RFC 7517); empty for an HMAC key, which has no public part.
    public_jwk = models.JSONField(default=dict)
    created_at = models.DateTimeField(auto_now_add=True)
    retired_at = models.DateTimeField(_("signs nothing new since"), null=True, blank=True)
    verifiable_until = models.DateTimeField(_("verifies until"), null=True, blank=True)

    objects = SigningKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("signing key")
        verbose_name_plural = _("signing keys")
        constraints = [
            models.UniqueConstraint(
                fields=["algorithm"],
                condition=models.Q(retired_at__isnull=True),
                name="one_signing_key_per_algorithm",
            )
        ]

    def __str__(self) -> str:
        return f"{self.algorithm} {self.kid}"
