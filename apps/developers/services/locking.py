from django.utils.translation import gettext_lazy as _

from apps.accounts.models import User
from apps.accounts.services import lock_open_account
from apps.developers.errors import RefusedError
from apps.developers.models import Application


def lock_application(application: Application) -> Application:
    """Lock the application's row until the transaction ends; return it as it is now, with its organisation.

    NO KEY UPDATE: token requests, which only refer to it, do not wait. Raises RefusedError when it has been deleted.
    """
    row = (
        Application.objects.existing()
        .select_for_update(no_key=True, of=("self",))
        .select_related("organisation")
        .filter(pk=application.pk)
        .first()
    )
    if row is None:
        raise RefusedError(_("This application has been deleted."))
    return row


def lock_person(user: User) -> None:
    """Let the user's account stay open until the transaction ends; to be called before `lock_application`.

    Closing the account locks in the same order. Raises RefusedError when it is closed already, in another window, or
    suspended.
    """
    if not lock_open_account(user=user):
        raise RefusedError(_("This account is closed or suspended."))
