import logging
from typing import Any
from urllib.parse import urlencode

from allauth.account.adapter import DefaultAccountAdapter
from django.contrib.sites.shortcuts import get_current_site
from django.http import HttpRequest
from django.utils.translation import gettext as _

from apps.accounts import guard
from apps.accounts.models import User
from apps.audit.context import address_of
from apps.organisations.letters import Letter
from apps.organisations.mail import queue_letters, sender_of

log = logging.getLogger(__name__)

#: Stands where an address has to be and cannot be told ("this host on this network", RFC 1122 3.2.1.3).
_NOBODYS_ADDRESS = "0.0.0.0"  # noqa: S104 (nothing listens there)

#: Mails that strangers can cause by typing somebody's address. Those about a change of the account always go.
_CAUSED_BY_ANYBODY = frozenset(
    {
        "account/email/account_already_exists",
        "account/email/email_confirmation",
        "account/email/email_confirmation_signup",
        guard.RESET_MAIL,
        "account/email/unknown_account",
    }
)


class AccountAdapter(DefaultAccountAdapter):
    """How accounts behave here: mail in the organisation's name, and a way back to where the user was going."""

    def get_from_email(self) -> str:
        """Return the sender: the organisation whose site this is."""
        return sender_of(self.request.organisation)

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        """Return the user whose password it is, or None. Raises ValidationError when it was tried too often."""
        taking = guard.begin_log_in(request, str(credentials.get("email", "")))
        user: User | None = super().authenticate(request, **credentials)
        if user is not None:
            taking.give_back()
        return user

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Queue a mail, unless strangers have had too many of its kind sent there: an earlier one does as well.

        The page says the same either way, and so tells nobody which addresses have accounts.
        """
        if template_prefix in _CAUSED_BY_ANYBODY:
            if not guard.may_be_mailed(email, template_prefix, self.request.organisation):
                log.info("Mail not sent, the recipient has had enough of its kind: %s.", template_prefix)
                return
            guard.note_mail(self.request)
        site = get_current_site(self.request)
        context = {"request": self.request, "email": email, "current_site": site, **context}
        message = self.render_mail(template_prefix, email, context)
        # A slow mail server holds up no page, and one that is away loses no mail.
        queue_letters(
            template_prefix,
            Letter(
                to=email,
                sender=message.from_email,
                reply_to=self.request.organisation.support_email,
                subject=message.subject,
                text=message.body,
                html=next((part.content for part in message.alternatives if part.mimetype == "text/html"), ""),
            ),
        )

    def send_notification_mail(
        self, template_prefix: str, user: User, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        """Tell the user of a change, and from where it came as far as that is known."""
        ip = address_of(self.request) or _("an address that could not be told")
        super().send_notification_mail(template_prefix, user, {"ip": ip, **(context or {})}, email)

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the client's address. Never fails: what somebody asked for is done, known address or not."""
        return address_of(request) or _NOBODYS_ADDRESS

    def get_reset_password_from_key_url(self, key: str) -> str:
        """Return the link that a mail about a forgotten password carries; it leads on to the page that was wanted."""
        url = str(super().get_reset_password_from_key_url(key))
        # The form's own "next" is the page that says a mail was sent; the address keeps the user's.
        wanted = self.request.GET.get("next", "")
        return f"{url}?{urlencode({'next': wanted})}" if wanted and self.is_safe_url(wanted) else url

    def is_safe_url(self, url: str) -> bool:
        """Say whether `url` may be redirected to; what is no URL at all is not (allauth would fail on it)."""
        try:
            return bool(super().is_safe_url(url))
        except ValueError:
            return False

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return True
