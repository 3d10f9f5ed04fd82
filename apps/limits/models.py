from django.db import models
from django.utils.translation import gettext_lazy as _


class Count(models.Model):
    """How often something was tried in one span of time, where no Valkey counts.

    The table is not logged (migration 0001): a crash of PostgreSQL empties it, and a standby has none of it.
    """

    #: A keyed hash of rule and subject (`counting.Bucket`): no address and no e-mail address is stored.
    key = models.UUIDField(_("key"), primary_key=True)
    #: Which span: they are numbered since 1970.
    span = models.BigIntegerField(_("span"))
    hits = models.IntegerField(_("hits"))
    ends_at = models.DateTimeField(_("ends"))

    class Meta:
        verbose_name = _("count")
        verbose_name_plural = _("counts")
        default_permissions = ()
        indexes = [models.Index(fields=["ends_at"], name="counts_by_end")]

    def __str__(self) -> str:
        return str(self.key)
