from urllib.parse import urlencode

from allauth.account.adapter import DefaultAccountAdapter
from django.http import HttpRequest

from apps.organisations.mail import sender_of


class AccountAdapter(DefaultAccountAdapter):
    """How accounts behave here: mail in the organisation's name, and a way back to where the user was going."""

    def get_from_email(self) -> str:
        """Return the sender: the organisation whose site this is."""
        return sender_of(self.request.organisation)

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
