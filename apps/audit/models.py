from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from apps.audit.fields import TransactionIdField


class CurrentTransactionId(models.Func):
    """The id of the transaction that writes the row."""

    function = "pg_current_xact_id"
    output_field = TransactionIdField()


class AuditEvent(models.Model):
    """One thing that happened. Written once and never changed (migration 0002 makes the database refuse it).

    It names nobody: people are in AuditPerson. It refers to rows without foreign keys, because it outlives them.
    """

    id = models.BigAutoField(primary_key=True)
    #: A trigger sets it: nobody inserts into the past.
    happened_at = models.DateTimeField(_("when"), db_default=Now())
    #: subject:object:action, e.g. user:connection:granted.
    tag = models.CharField(_("what"), max_length=100)
    application_id = models.UUIDField(_("application"), null=True)
    organisation_id = models.UUIDField(_("organisation"), null=True)
    connection_id = models.UUIDField(_("connection"), null=True)
    #: Facts. Never a secret, a code, a token, or what says something of a person.
    details = models.JSONField(_("details"), default=dict)
    #: Which transaction wrote it: it is sealed when every older one has ended (a trigger sets this, too).
    transaction_id = TransactionIdField(db_default=CurrentTransactionId())
    #: SHA-256 over a salt and the personal facts of whoever did it, and of whom it was done to (digests.commitment).
    person_commitment = models.BinaryField(null=True)
    about_commitment = models.BinaryField(null=True)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("audit trail")
        default_permissions = ("view",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(tag__regex=r"^[a-z_]+:[a-z_]+:[a-z_]+$"), name="tag_is_subject_object_action"
            )
        ]
        indexes = [
            models.Index(fields=["-happened_at", "-id"], name="audit_by_time"),
            models.Index(fields=["application_id", "-happened_at", "-id"], name="audit_by_application"),
            models.Index(fields=["organisation_id", "-happened_at", "-id"], name="audit_by_organisation"),
            models.Index(
                fields=["tag", "-happened_at", "-id"],
                name="audit_by_tag",
                # Carries searches for the beginning of a tag as well, whatever the database's collation.
                opclasses=["varchar_pattern_ops", "timestamptz_ops", "int8_ops"],
            ),
            models.Index(
                fields=["connection_id"], condition=models.Q(connection_id__isnull=False), name="audit_by_connection"
            ),
            models.Index(fields=["transaction_id", "id"], name="audit_by_transaction"),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.tag}"


class AuditPerson(models.Model):
    """The personal part of an event, apart from it, so that it can be deleted: that anonymises the event.

    The event keeps a commitment to it, so that it cannot be exchanged as long as it is there.
    """

    class Part(models.TextChoices):
        ACTOR = "actor", _("who did it")
        ABOUT = "about", _("whom it was done to")

    # Without constraints: checking a foreign key takes a privilege that nobody has on the events.
    event = models.ForeignKey(
        AuditEvent, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="people"
    )
    part = models.CharField(max_length=5, choices=Part.choices)
    salt = models.BinaryField()
    user_id = models.UUIDField(null=True)
    name = models.CharField(max_length=300, blank=True)
    address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=400, blank=True)

    class Meta:
        verbose_name = _("person of an event")
        verbose_name_plural = _("people of events")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["event", "part"], name="one_person_per_part")]
        indexes = [
            models.Index(fields=["user_id", "event"], name="audit_by_user"),
            models.Index(fields=["address", "event"], name="audit_by_address"),
        ]

    def __str__(self) -> str:
        return f"{self.event_id} {self.part}"


class AuditSeal(models.Model):
    """A link of the chain: it fixes a batch of events, and by `previous_digest` all that came before.

    The rows stay when their events have been pruned, so that the chain can still be followed.
    """

    #: Counted on without gaps, so that one that is missing is missed.
    id = models.PositiveBigIntegerField(primary_key=True)
    previous_digest = models.BinaryField()
    digest = models.BinaryField()
    #: HMAC with a key from the deployment secret: who can only write to the database cannot make a chain anew.
    signature = models.BinaryField()
    event_count = models.PositiveIntegerField()
    first_happened_at = models.DateTimeField()
    last_happened_at = models.DateTimeField()
    sealed_at = models.DateTimeField()
    #: Every event of an older transaction is in this seal or in one before it.
    horizon = TransactionIdField()
    #: It took all that there was to take; otherwise the next one goes on.
    is_complete = models.BooleanField()
    #: PostgreSQL's system identifier and the database's: after a restore elsewhere, transactions are counted anew.
    cluster = models.CharField(max_length=31)
    #: When retention deleted its events, and the HMAC that says it was retention.
    pruned_at = models.DateTimeField(null=True)
    pruned_signature = models.BinaryField(null=True)

    class Meta:
        verbose_name = _("seal")
        verbose_name_plural = _("seals")
        default_permissions = ()
        indexes = [
            models.Index(fields=["id"], condition=models.Q(pruned_at__isnull=True), name="audit_unpruned_seals"),
        ]

    def __str__(self) -> str:
        return str(self.id)


class SealedEvent(models.Model):
    """Which seal an event is in, and where: transactions do not commit in the order of their events' ids."""

    event = models.OneToOneField(
        AuditEvent, on_delete=models.DO_NOTHING, db_constraint=False, primary_key=True, related_name="sealed"
    )
    seal = models.ForeignKey(
        AuditSeal, on_delete=models.DO_NOTHING, db_constraint=False, db_index=False, related_name="events"
    )
    position = models.PositiveIntegerField()
    #: SHA-256 of the event (digests.event_digest), so that the very event that was changed can be named.
    digest = models.BinaryField()

    class Meta:
        verbose_name = _("sealed event")
        verbose_name_plural = _("sealed events")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["seal", "position"], name="one_event_per_position")]

    def __str__(self) -> str:
        return f"{self.seal_id}/{self.position}"


class AnonymisedPerson(models.Model):
    """That a part of an event was deleted because the account is closed: a person who is missing otherwise is missed.

    It says of nobody who they were. Neither an id nor a time of its own would tell which of these were one person.
    """

    pk = models.CompositePrimaryKey("event_id", "part")
    event_id = models.BigIntegerField()
    part = models.CharField(max_length=5, choices=AuditPerson.Part.choices)
    #: HMAC with a key from the deployment secret: whoever can only write to the database cannot make one.
    signature = models.BinaryField()

    class Meta:
        verbose_name = _("anonymised person")
        verbose_name_plural = _("anonymised people")
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.event_id} {self.part}"


class Anonymisation(models.Model):
    """Somebody whose account is closed, and whose part in the trail is deleted when the time has come."""

    user_id = models.UUIDField(primary_key=True)
    due_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name = _("anonymisation")
        verbose_name_plural = _("anonymisations")
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.user_id)
