from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ConsentConfig(AppConfig):
    name = "apps.consent"
    verbose_name = _("Consent")

    def ready(self) -> None:
        from allauth.account.signals import authentication_step_completed, user_logged_in

        from apps.consent.pending import note_login, note_notice

        authentication_step_completed.connect(note_notice, dispatch_uid="consent.note_notice")
        user_logged_in.connect(note_login, dispatch_uid="consent.note_login")
