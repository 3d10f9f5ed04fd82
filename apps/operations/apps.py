from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OperationsConfig(AppConfig):
    name = "apps.operations"
    verbose_name = _("Hosting")

    def ready(self) -> None:
        from apps.operations import checks  # noqa: F401  registers the system check
