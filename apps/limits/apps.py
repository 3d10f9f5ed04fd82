from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class LimitsConfig(AppConfig):
    name = "apps.limits"
    verbose_name = _("Rate limits")

    def ready(self) -> None:
        from apps.limits import checks as checks
