from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class HousekeepingRun(models.Model):
    """One run of a periodic task. One without an end is running, or its worker was killed."""

    #: The task's name in the queue, e.g. "apps.tokens.tasks.delete_dead_codes".
    task = models.CharField(_("task"), max_length=128)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    ended_at = models.DateTimeField(_("ended"), null=True)
    #: What the task counts: mostly the rows that it deleted.
    rows = models.PositiveBigIntegerField(_("rows"), default=0)
    #: The class of what went wrong. Not its words: they may quote a row.
    error = models.CharField(_("error"), max_length=128, blank=True)

    class Meta:
        verbose_name = _("housekeeping run")
        verbose_name_plural = _("operations")
        default_permissions = ("view",)
        indexes = [
            models.Index(fields=["task", "-started_at"], name="runs_of_task"),
            models.Index(fields=["started_at"], name="runs_by_age"),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.started_at}"
