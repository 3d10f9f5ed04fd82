from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.developers.models.application import Application


class Draft(models.Model):
    """What a developer has typed into a registration form and not sent yet: a closed tab loses nothing."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="drafts")
    #: The application whose next version it is; None: a new one.
    application = models.ForeignKey(Application, on_delete=models.CASCADE, null=True, related_name="drafts")
    #: The form's fields as they were typed: {name: [value, …]}.
    fields = models.JSONField(default=dict)
    updated_at = models.DateTimeField(_("saved"), auto_now=True)

    class Meta:
        verbose_name = _("draft")
        verbose_name_plural = _("drafts")
        indexes = [models.Index(fields=["updated_at"], name="drafts_by_age")]
        constraints = [
            models.UniqueConstraint(fields=["user", "application"], name="one_draft_per_application"),
            models.UniqueConstraint(
                fields=["user"], condition=models.Q(application__isnull=True), name="one_draft_of_a_new_application"
            ),
        ]

    def __str__(self) -> str:
        return str(self.pk)


class EndedForm(models.Model):
    """The form of a new application whose draft the user has thrown away last: what comes late of it is not kept."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="ended_form"
    )
    form_key = models.UUIDField()
    ended_at = models.DateTimeField(_("ended"), default=timezone.now)

    class Meta:
        verbose_name = _("ended form")
        verbose_name_plural = _("ended forms")
        indexes = [models.Index(fields=["ended_at"], name="ended_forms_by_age")]

    def __str__(self) -> str:
        return str(self.form_key)
