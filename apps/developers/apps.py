from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DevelopersConfig(AppConfig):
    name = "apps.developers"
    verbose_name = _("Developers")

    def ready(self) -> None:
        from apps.developers import checks  # noqa: F401  registers the system checks
