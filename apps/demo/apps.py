from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DemoConfig(AppConfig):
    name = "apps.demo"
    verbose_name = _("Demo")

    def ready(self) -> None:
        from apps.demo import checks  # noqa: F401  registers the system check
