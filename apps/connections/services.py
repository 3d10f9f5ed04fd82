from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from apps.connections.models import Connection

#: A connection's last use is written at most this often, so that reading is not writing.
USE_RESOLUTION = timedelta(minutes=1)


def note_use(connection: Connection) -> None:
    """Note that the application has just used its access; at most one write a minute per connection."""
    now = timezone.now()
    if connection.last_used_at is not None and now - connection.last_used_at < USE_RESOLUTION:
        return
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lte=now - USE_RESOLUTION)
    Connection.objects.filter(stale, pk=connection.pk).update(last_used_at=now)
