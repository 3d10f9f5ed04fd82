"""Every limit: what it is called here, in the environment (`RATE_LIMIT_…`) and to an auditor.

The rates are in config/environment.py, where every variable is declared; a test compares the two.
"""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

RULES: dict[str, Promise] = {
    # people
    "login": _("wrong passwords for one account"),
    "login_address": _("wrong passwords from one address"),
    "second_factor": _("wrong codes of a second factor"),
    "signup": _("sign-ups from one address"),
    "passkey_address": _("wrong passkeys from one address"),
    "password_reset": _("forgotten passwords from one address"),
    "mail_link": _("wrong links of mails from one address"),
    "account": _("changes to one account"),
    "mail": _("mails to one address that anybody can cause"),
    "mail_address": _("mails that anybody at one address can cause"),
    "invitation": _("invitations of one developer to one e-mail address"),
    "invitation_recipient": _("invitations to one e-mail address"),
    "registration": _("registrations by one developer"),
    "new_session": _("sessions begun on the way to a log-in, from one address"),
    "authorize": _("authorisations by one user"),
    "authorize_address": _("authorisations of one application from one address"),
    # partners
    "token": _("token requests of one client"),
    "introspection": _("introspections by one client"),
    "revocation": _("revocations by one client"),
    "notifications": _("notification requests of one client"),
    "resource": _("resource requests of one client"),
    "resource_user": _("resource requests about one user"),
    "client_failures": _("failed client authentications at one address"),
    "client_failures_address": _("failed requests of all clients at one address"),
}
