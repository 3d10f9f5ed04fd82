import uuid

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.developers.models.application import Application


class Role(models.TextChoices):
    """What a team member may do."""

    OWNER = "owner", _("Owner")
    DEVELOPER = "developer", _("Developer")
    VIEWER = "viewer", _("Viewer")


class TeamMember(models.Model):
    """A user on an application's team."""

    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="team")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="team_memberships")
    role = models.CharField(_("role"), max_length=16, choices=Role.choices)
    joined_at = models.DateTimeField(_("joined"), default=timezone.now)
    #: What their form for the next version carries. It is another one as soon as a version was sent or the draft was
    #: thrown away: what a page's script had sent before, and comes after, is not kept (`services.drafts`).
    form_key = models.CharField(max_length=32, default="", db_default="", editable=False)

    class Meta:
        verbose_name = _("team member")
        verbose_name_plural = _("team members")
        constraints = [models.UniqueConstraint(fields=["application", "user"], name="one_place_per_team")]

    def __str__(self) -> str:
        return f"{self.user} ({self.get_role_display()})"

    @property
    def name_in_log(self) -> str:
        """What the administration's log calls it: that is kept longer than the account."""
        return f"{self.user_id} ({self.get_role_display()})"

    @property
    def is_owner(self) -> bool:
        return self.role == Role.OWNER

    @property
    def may_edit(self) -> bool:
        """Say whether they may change the application and speak for the team."""
        return self.role in {Role.OWNER, Role.DEVELOPER}


class InvitationQuerySet(models.QuerySet["Invitation"]):
    def open(self) -> "InvitationQuerySet":
        """Only those that can still be accepted."""
        return self.filter(accepted_at__isnull=True, expires_at__gt=timezone.now())


class Invitation(models.Model):
    """An invitation to a team, sent to an e-mail address.

    Only whoever has proved that the address is theirs can accept it, so its id is no secret.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    application = models.ForeignKey(Application, on_delete=models.CASCADE, related_name="invitations")
    #: Always in lower case, as accounts have it.
    email = models.EmailField(_("e-mail address"), max_length=254)
    role = models.CharField(_("role"), max_length=16, choices=Role.choices)
    invited_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(_("sent"), default=timezone.now)
    expires_at = models.DateTimeField(_("expires"))
    accepted_at = models.DateTimeField(_("accepted"), null=True)

    objects = InvitationQuerySet.as_manager()

    class Meta:
        verbose_name = _("invitation")
        verbose_name_plural = _("invitations")
        constraints = [
            models.UniqueConstraint(
                fields=["application", "email"],
                condition=models.Q(accepted_at__isnull=True),
                name="one_open_invitation_per_address",
            )
        ]
        indexes = [
            models.Index(fields=["email"], name="invitations_by_address"),
            models.Index(
                fields=["expires_at"], condition=models.Q(accepted_at__isnull=True), name="open_invitations_by_end"
            ),
        ]

    def __str__(self) -> str:
        return self.email
