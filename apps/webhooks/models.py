import uuid
from datetime import datetime

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.developers.models import Application


class PauseReason(models.TextChoices):
    """Why nothing is delivered for the time being."""

    TEAM = "team", _("Paused by the team")
    FAILING = "failing", _("Paused because it failed for days")
    #: It asked not to be sent anything any more.
    GONE = "gone", _("Paused because the receiver answered 410 Gone")


class Endpoint(models.Model):
    """Where an application is told of what happened. The row stays when the URL goes: notifications refer to it.

    `delivering_until` and `delivering_by` are the lease of the job that has its turn: see outbox.py.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    application = models.OneToOneField(Application, on_delete=models.CASCADE, related_name="webhook_endpoint")
    #: Empty: the application wants to be told nothing any more.
    url = models.CharField(_("URL"), max_length=2000, blank=True)
    created_at = models.DateTimeField(_("set"), default=timezone.now)
    changed_at = models.DateTimeField(_("changed"), default=timezone.now)
    #: Since its first failure after which nothing has succeeded.
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True)
    paused_at = models.DateTimeField(_("paused"), null=True, blank=True)
    pause_reason = models.CharField(_("why it is paused"), max_length=16, choices=PauseReason.choices, blank=True)
    #: The receiver has asked to be left alone until then.
    rests_until = models.DateTimeField(_("rests until"), null=True, blank=True)
    delivering_until = models.DateTimeField(null=True, blank=True)
    delivering_by = models.BigIntegerField(null=True, blank=True)
    #: When the team last had something sent again.
    sent_again_at = models.DateTimeField(null=True, blank=True)
    #: A job for a later try is queued for this moment.
    wakes_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")

    def __str__(self) -> str:
        return self.url

    @property
    def is_paused(self) -> bool:
        return self.paused_at is not None

    @property
    def is_resting(self) -> bool:
        return self.rests_until is not None and self.rests_until > timezone.now()


class KeyKind(models.TextChoices):
    """What an endpoint knows us by."""

    #: In `Authorization: Token …`.
    API_KEY = "api_key", _("API key")
    #: Of the Standard Webhooks signature.
    SIGNING_SECRET = "signing_secret", _("Signing secret")


class EndpointKeyQuerySet(models.QuerySet["EndpointKey"]):
    def live(self, now: datetime) -> "EndpointKeyQuerySet":
        """Those in use at `now`, the newest first."""
        return self.filter(models.Q(ends_at__isnull=True) | models.Q(ends_at__gt=now)).order_by("-created_at")


class EndpointKey(models.Model):
    """A key of an endpoint. There is one without an end of each kind; at most one before it is still in use.

    We have to send it, so it is encrypted with a key from the deployment secret, and not hashed.
    """

    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="keys")
    kind = models.CharField(max_length=16, choices=KeyKind.choices)
    encrypted_value = models.BinaryField()
    #: Its last characters, to tell keys apart.
    hint = models.CharField(max_length=8)
    created_at = models.DateTimeField(_("made"), default=timezone.now)
    ends_at = models.DateTimeField(_("ends"), null=True, blank=True)

    objects = EndpointKeyQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook key")
        verbose_name_plural = _("webhook keys")
        constraints = [
            models.UniqueConstraint(
                fields=["endpoint", "kind"],
                condition=models.Q(ends_at__isnull=True),
                name="one_newest_key_of_each_kind",
            )
        ]
        indexes = [
            models.Index(fields=["ends_at"], condition=models.Q(ends_at__isnull=False), name="webhook_keys_by_end")
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} …{self.hint}"


class NotificationType(models.TextChoices):
    """What an endpoint can be told (CONTRACT section 10)."""

    REVOKE = "oauth_authorization_revoke", "oauth_authorization_revoke"
    RECEIPT = "receipt_notification", "receipt_notification"
    TRANSACTION = "transaction_notification", "transaction_notification"
    TEST = "test", "test"


class State(models.TextChoices):
    """What became of a notification."""

    QUEUED = "queued", _("Waiting")
    DELIVERED = "delivered", _("Delivered")
    FAILED = "failed", _("Failed")
    #: Nobody is to be told any more: the connection, the endpoint or the application has gone.
    CANCELLED = "cancelled", _("Cancelled")


class Notification(models.Model):
    """Something to tell an endpoint, written in the transaction of what it tells of. Its id is the `webhook-id`."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="notifications")
    endpoint = models.ForeignKey(Endpoint, on_delete=models.CASCADE, related_name="notifications")
    #: No foreign key: what is told of a connection is told although it, or its user, has gone. None for a test.
    connection_id = models.UUIDField(null=True)
    notification_type = models.CharField(_("type"), max_length=32, choices=NotificationType.choices)
    #: JSON, as text: the same bytes at each try, as the signature needs it. Empty: not kept any more (forgetting.py).
    body = models.TextField()
    state = models.CharField(_("state"), max_length=16, choices=State.choices, default=State.QUEUED)
    #: How often it was tried since it was queued, or queued again.
    tries = models.PositiveSmallIntegerField(default=0)
    #: None once nothing more is to be tried.
    next_attempt_at = models.DateTimeField(_("next attempt"), null=True, default=timezone.now)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    #: The service that asked for it, and its own key for it, so that asking twice is asking once.
    sender = models.ForeignKey(Application, on_delete=models.SET_NULL, null=True, related_name="+")
    sender_key = models.CharField(max_length=255, null=True)  # noqa: DJ001 (NULL may come twice, "" may not)
    #: SHA-256 of what was asked for with that key.
    sender_digest = models.BinaryField(max_length=32, null=True)

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        constraints = [models.UniqueConstraint(fields=["sender", "sender_key"], name="one_notification_per_sender_key")]
        indexes = [
            models.Index(
                fields=["endpoint", "next_attempt_at"],
                condition=models.Q(state="queued"),
                name="queued_notifications",
            ),
            # What a paused endpoint may be sent, however much else waits there.
            models.Index(
                fields=["endpoint", "next_attempt_at"],
                condition=models.Q(state="queued", notification_type="test"),
                name="queued_tests",
            ),
            models.Index(fields=["application", "-created_at", "id"], name="notifications_of_application"),
            models.Index(fields=["created_at"], name="notifications_by_age"),
            models.Index(fields=["connection_id"], name="notifications_by_connection"),
        ]

    def __str__(self) -> str:
        return str(self.id)

    @property
    def is_test(self) -> bool:
        return self.notification_type == NotificationType.TEST


class PersonToForget(models.Model):
    """Somebody who has closed their account, and of whom notifications may still tell: forgetting.py.

    Written in the transaction that closes the account and deleted when it is done: a lost job is not the end of it.
    """

    #: No foreign key: it only says whose connections they are.
    user_id = models.UUIDField(primary_key=True, editable=False)
    asked_at = models.DateTimeField(_("asked"), default=timezone.now)

    class Meta:
        verbose_name = _("person to forget")
        verbose_name_plural = _("people to forget")

    def __str__(self) -> str:
        return str(self.user_id)


class Failure(models.TextChoices):
    """Why an attempt did not succeed."""

    ADDRESS_NOT_FOUND = "address_not_found", _("The host name was not found.")
    ADDRESS_REFUSED = "address_refused", _("The host’s address is not a public one, so nothing was sent.")
    NOT_REACHED = "not_reached", _("No connection could be made.")
    TLS = "tls", _("The connection could not be secured: the certificate is wrong, or the server does not speak TLS.")
    TIMEOUT = "timeout", _("There was no complete answer within 10 seconds.")
    BROKEN_OFF = "broken_off", _("The connection was closed before the answer was complete.")
    REDIRECT = "redirect", _("The answer was a redirect. Redirects are not followed: set the final URL.")
    STATUS = "status", _("The answer’s status was not one of success (200 to 299).")


class Attempt(models.Model):
    """One try of delivering a notification, and what came of it."""

    notification = models.ForeignKey(Notification, on_delete=models.CASCADE, related_name="attempts")
    started_at = models.DateTimeField(_("when"))
    duration_ms = models.PositiveIntegerField(_("how long"))
    #: Of the answer, if there was one.
    status = models.PositiveSmallIntegerField(_("status"), null=True)
    #: Empty: it succeeded.
    failure = models.CharField(_("failure"), max_length=24, choices=Failure.choices, blank=True)
    #: The first kilobyte of the answer's body.
    response_start = models.TextField(_("answer"), blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")

    def __str__(self) -> str:
        return f"{self.notification_id} {self.started_at}"

    @property
    def is_success(self) -> bool:
        return not self.failure
