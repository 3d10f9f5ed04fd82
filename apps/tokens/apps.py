import logging

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class TokensConfig(AppConfig):
    name = "apps.tokens"
    verbose_name = _("Tokens")

    def ready(self) -> None:
        from apps.tokens import checks, server  # noqa: F401  registers the system checks, loads oauthlib

        silence_oauthlib()


def silence_oauthlib() -> None:
    """Drop oauthlib's debug lines whatever level is set: they hold codes and tokens in clear."""
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("oauthlib"):
            logging.getLogger(name).addFilter(lambda record: record.levelno > logging.DEBUG)
