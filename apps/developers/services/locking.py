from django.utils.translation import gettext_lazy as _

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
