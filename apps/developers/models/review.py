from typing import TypedDict

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.developers.models.application import Application
from apps.developers.models.terms import TermsVersion


class Outcome(models.TextChoices):
    """What came of a submission."""

    WAITING = "waiting", _("Waiting for review")
    APPROVED = "approved", _("Approved")
    CHANGES_REQUESTED = "changes_requested", _("Changes requested")
    REJECTED = "rejected", _("Rejected")
    #: The team sent another version before this one was looked at, or took it back.
    WITHDRAWN = "withdrawn", _("Withdrawn")


class SubmittedScope(TypedDict):
    """One scope of a submission, as it is stored."""

    scope: str
    reason: str
    is_optional: bool


class Submission(models.Model):
    """A version of an application that its team sent for review. Approval makes it the live version."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="submissions")
    number = models.PositiveIntegerField(_("version"))
    description = models.TextField(_("description"), blank=True)
    #: list[SubmittedScope], in catalogue order.
    scopes = models.JSONField(_("scopes"), default=list)
    #: The developer terms that were in force, and agreed to, when it was submitted. None: made by an administrator.
    terms = models.ForeignKey(TermsVersion, on_delete=models.PROTECT, null=True, related_name="+")
    submitted_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    submitted_at = models.DateTimeField(_("submitted"), default=timezone.now)
    outcome = models.CharField(_("outcome"), max_length=20, choices=Outcome.choices, default=Outcome.WAITING)
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    decided_at = models.DateTimeField(_("decided"), null=True)
    reason = models.TextField(_("reason"), blank=True)

    class Meta:
        verbose_name = _("submission")
        verbose_name_plural = _("submissions")
        constraints = [
            models.UniqueConstraint(fields=["application", "number"], name="one_submission_per_number"),
            models.UniqueConstraint(
                fields=["application"], condition=models.Q(outcome="waiting"), name="one_waiting_submission"
            ),
        ]
        indexes = [
            models.Index(fields=["submitted_at"], condition=models.Q(outcome="waiting"), name="waiting_submissions")
        ]

    def __str__(self) -> str:
        return f"{self.application_id} #{self.number}"

    @property
    def is_waiting(self) -> bool:
        return self.outcome == Outcome.WAITING

    @property
    def scope_names(self) -> list[str]:
        return [entry["scope"] for entry in self.scopes]


class HistoryKind(models.TextChoices):
    """What can happen to an application."""

    REGISTERED = "registered", _("Registered")
    SUBMITTED = "submitted", _("Sent for review")
    WITHDRAWN = "withdrawn", _("Taken back from review")
    COMMENTED = "commented", _("Comment")
    APPROVED = "approved", _("Approved")
    CHANGES_REQUESTED = "changes_requested", _("Changes requested")
    REJECTED = "rejected", _("Rejected")
    SUSPENDED = "suspended", _("Suspended")
    REINSTATED = "reinstated", _("Reinstated")
    TRUSTED = "trusted", _("Marked as trusted")
    UNTRUSTED = "untrusted", _("No longer trusted")
    SCOPES_REMOVED = "scopes_removed", _("Scopes removed")
    #: Past the review, by an administrator.
    VERSION_CHANGED = "version_changed", _("Changed by an administrator")
    REDIRECT_URIS_CHANGED = "redirect_uris_changed", _("Redirect URLs changed")
    BRANDING_CHANGED = "branding_changed", _("Branding changed")
    SECRET_CREATED = "secret_created", _("New client secret made")
    SECRET_ENDED = "secret_ended", _("Previous client secret ended")
    WEBHOOK_CHANGED = "webhook_changed", _("Webhook changed")
    WEBHOOK_KEY_CREATED = "webhook_key_created", _("New webhook key made")
    WEBHOOK_KEY_ENDED = "webhook_key_ended", _("Previous webhook key ended")
    MEMBER_INVITED = "member_invited", _("Invitation sent")
    INVITATION_CANCELLED = "invitation_cancelled", _("Invitation cancelled")
    MEMBER_JOINED = "member_joined", _("Joined the team")
    MEMBER_ADDED = "member_added", _("Added to the team")
    MEMBER_LEFT = "member_left", _("Left the team")
    ROLE_CHANGED = "role_changed", _("Role changed")
    OWNERSHIP_TRANSFERRED = "ownership_transferred", _("Ownership transferred")
    DELETED = "deleted", _("Deleted")


class HistoryEntry(models.Model):
    """One thing that happened to an application: the timeline that its team and the reviewers share."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="history")
    kind = models.CharField(max_length=32, choices=HistoryKind.choices)
    #: None: a command, or somebody whose account is gone.
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    #: The actor spoke for the organisation, not for the team.
    is_by_reviewer = models.BooleanField(default=False)
    #: What the actor wrote: a comment, the reason of a decision.
    text = models.TextField(blank=True)
    #: Facts of the kind, e.g. {"added": […], "removed": […]}. Never a secret.
    details = models.JSONField(default=dict)
    submission = models.ForeignKey(Submission, on_delete=models.SET_NULL, null=True, related_name="history")
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = _("history entry")
        verbose_name_plural = _("history")
        indexes = [models.Index(fields=["application", "created_at"], name="history_of_application")]

    def __str__(self) -> str:
        return self.get_kind_display()
