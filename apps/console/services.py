"""What the pages do that takes more than one room below."""

from django.db import transaction

from apps.accounts.models import User
from apps.developers.models import Application
from apps.developers.services import applications
from apps.tokens.tasks import end_connections_of_application


@transaction.atomic
def delete_application(*, application: Application, actor: User) -> None:
    """Delete the application for good: it stops working with the commit, its connections are ended in the background.

    Raises RefusedError if it has been deleted before.
    """
    applications.mark_deleted(application=application, actor=actor)
    # Queued in this transaction: there is a job if, and only if, the application is deleted.
    end_connections_of_application.defer(application_id=str(application.pk))
