from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TokensConfig(AppConfig):
    name = "apps.tokens"
    verbose_name = _("Tokens")

    def ready(self) -> None:
        from apps.tokens import checks  # noqa: F401  registers the system checks
