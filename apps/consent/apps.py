from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ConsentConfig(AppConfig):
    name = "apps.consent"
    verbose_name = _("Consent")

    def ready(self) -> None:
        from allauth.account.signals import user_logged_in

        from apps.consent.pending import note_login

        user_logged_in.connect(note_login, dispatch_uid="consent.note_login")
