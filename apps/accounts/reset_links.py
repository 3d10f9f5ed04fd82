"""What makes the link for a forgotten password good: who may use it, for how long, and what ends it."""

import json

from allauth.account.models import EmailAddress
from django.contrib.auth.tokens import PasswordResetTokenGenerator

from apps.accounts.models import User


class ResetLinkGenerator(PasswordResetTokenGenerator):
    """Links that end with their use, with any other new password, and with any change of the account's addresses.

    Not with a log-in, as Django's do: strangers may have had as many mails sent as one address gets, and the owner's
    log-in on one machine would take all ways to log in on another. What is left is bounded by PASSWORD_RESET_TIMEOUT,
    and who reads the mail can ask for a new one anyway.
    """

    key_salt = "countersign.reset-links"

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        addresses = {user.email, *EmailAddress.objects.filter(user=user).values_list("email", flat=True)}
        return json.dumps([str(user.pk), user.password, user.is_active, timestamp, sorted(addresses)])
