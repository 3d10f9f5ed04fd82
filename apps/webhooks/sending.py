"""What a trusted backend asks us to tell: in batches, each item by itself, and once however often it asks.

CONTRACT section 10, `POST /api/notifications`.
"""

import hashlib
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from apps.connections.models import Connection
from apps.developers.models import Application, Status
from apps.organisations.text import is_storable
from apps.webhooks.models import Notification, NotificationType
from apps.webhooks.services import make_body, wake_endpoints

#: Items of one request.
MOST_ITEMS = 1_000
#: Characters of a receipt's id, a merchant's name, or a key.
MAX_TEXT_LENGTH = 255

_FIELDS = {
    NotificationType.RECEIPT: {"notification_type", "receipthero_id", "receipt_id", "id"},
    NotificationType.TRANSACTION: {"notification_type", "receipthero_id", "receipt_id", "data", "id"},
}


class ItemError(Exception):
    """What is wrong with one item: a code for programs, and words for their developers."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error, self.description = error, description


@dataclass(frozen=True)
class Item:
    """An item that is as it has to be."""

    notification_type: NotificationType
    connection_id: uuid.UUID
    fields: dict[str, Any]
    key: str | None

    @property
    def digest(self) -> bytes:
        """What tells whether two items with the same key are the same."""
        content = [self.notification_type.value, str(self.connection_id), self.fields]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()


_UNKNOWN = ItemError("unknown_connection", "No application of yours has an active connection with this receipthero_id.")
_NO_ENDPOINT = ItemError("no_webhook", "The application has not set a webhook URL.")
_CONFLICT = ItemError("key_conflict", "Another notification has been sent with this id.")


def queue_notifications(*, sender: Application, items: Sequence[Any]) -> list[dict[str, Any]]:
    """Queue what `sender`, a service, asks for; returns what came of each item, in their order.

    `{"status": "queued" | "duplicate", "webhook_id"}` or `{"status": "error", "error", "error_description"}`, and the
    item's own `id` if it has one. A bad item does not hold up the others. The number of SQL statements does not
    depend on how many there are.
    """
    read = [_read(item) for item in items]
    good = [item for item in read if isinstance(item, Item)]
    with transaction.atomic():
        rows = _make_rows(sender, good)
        stored = _store(sender, good, [row for row in rows.values() if isinstance(row, Notification)])
        wake_endpoints(sorted({row.endpoint_id for row in stored.new}))
    results = []
    for raw, item in zip(items, read, strict=True):
        result = item if isinstance(item, ItemError) else _result_of(item, rows[id(item)], stored)
        key = raw.get("id") if isinstance(raw, dict) else None
        results.append({**_describe(result), **({"id": key} if isinstance(key, str) else {})})
    return results


@dataclass(frozen=True)
class _Stored:
    new: list[Notification]
    #: By the sender's key: id and digest of what is kept with it, from now or from before.
    kept: dict[str, tuple[uuid.UUID, bytes]]


def _read(item: Any) -> Item | ItemError:
    try:
        return _parse(item)
    except ItemError as error:
        return error


def _parse(item: Any) -> Item:
    if not isinstance(item, dict):
        raise _malformed("Each notification must be an object.")
    notification_type = item.get("notification_type")
    if notification_type not in [kind.value for kind in _FIELDS]:
        names = " or ".join(kind.value for kind in _FIELDS)
        raise _malformed(f"notification_type must be {names}.")
    kind = NotificationType(notification_type)
    if unknown := sorted(set(item) - _FIELDS[kind]):
        raise _malformed(f"A {kind.value} has no field {json.dumps(unknown[0][:50])}.")
    fields: dict[str, Any] = {"receipt_id": _text(item, "receipt_id")}
    if kind == NotificationType.TRANSACTION:
        data = item.get("data")
        if not isinstance(data, dict) or set(data) != {"merchant_name"}:
            raise _malformed("data must be an object with merchant_name, and nothing else.")
        fields["data"] = {"merchant_name": _text(data, "merchant_name")}
    key = _text(item, "id") if "id" in item else None
    return Item(notification_type=kind, connection_id=_connection_id(item), fields=fields, key=key)


def _text(source: dict[str, Any], name: str) -> str:
    value = source.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_LENGTH or not is_storable(value):
        raise _malformed(f"{name} must be a string of 1 to {MAX_TEXT_LENGTH} characters.")
    return value


def _connection_id(item: dict[str, Any]) -> uuid.UUID:
    value = item.get("receipthero_id")
    try:
        found = uuid.UUID(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or str(found) != str(value).lower():
        raise _malformed("receipthero_id must be a connection's id.")
    return found


def _malformed(description: str) -> ItemError:
    return ItemError("invalid_request", description)


def _make_rows(sender: Application, items: list[Item]) -> dict[int, Notification | ItemError]:
    """Return for each item (by its identity) the row that it asks for, not stored yet."""
    connections = {
        connection.pk: connection
        for connection in Connection.objects.active()
        .filter(
            pk__in={item.connection_id for item in items},
            application__organisation=sender.organisation_id,
            application__status=Status.APPROVED,
            user__is_active=True,
        )
        .select_related("application__webhook_endpoint")
    }
    return {id(item): _make_row(sender, item, connections.get(item.connection_id)) for item in items}


def _make_row(sender: Application, item: Item, connection: Connection | None) -> Notification | ItemError:
    if connection is None:
        return _UNKNOWN
    endpoint = getattr(connection.application, "webhook_endpoint", None)
    if endpoint is None or not endpoint.url:
        return _NO_ENDPOINT
    return Notification(
        application_id=connection.application_id,
        endpoint=endpoint,
        connection_id=connection.pk,
        notification_type=item.notification_type,
        body=make_body(
            item.notification_type,
            connection_id=connection.pk,
            partner_metadata=connection.partner_metadata,
            **item.fields,
        ),
        sender=sender,
        sender_key=item.key,
        sender_digest=item.digest if item.key is not None else None,
    )


def _store(sender: Application, items: list[Item], rows: list[Notification]) -> _Stored:
    """Store the rows whose key is new. Whoever asks with the same keys at the same moment waits, and gets ours."""
    # In one order for everybody, so that two who wait do not wait for each other.
    waiting = sorted(rows, key=lambda row: row.sender_key or "")
    keys = [item.key for item in items if item.key is not None]
    kept: dict[str, tuple[uuid.UUID, bytes]] = {}
    while True:
        Notification.objects.bulk_create(waiting, ignore_conflicts=True)
        found = Notification.objects.filter(sender=sender, sender_key__in=keys)
        kept |= {
            str(key): (pk, bytes(digest or b""))
            for key, pk, digest in found.values_list("sender_key", "pk", "sender_digest")
        }
        # A row that was in the way of ours may be past its time, and deleted before we have looked at it.
        waiting = [row for row in waiting if row.sender_key is not None and row.sender_key not in kept]
        if not waiting:
            break
    new = [row for row in rows if row.sender_key is None or kept[row.sender_key][0] == row.pk]
    return _Stored(new=new, kept=kept)


def _result_of(item: Item, row: Notification | ItemError, stored: _Stored) -> ItemError | tuple[str, uuid.UUID]:
    # What was taken before stays taken, also when the connection has ended since.
    if item.key is not None and item.key in stored.kept:
        pk, digest = stored.kept[item.key]
        if digest != item.digest:
            return _CONFLICT
        return ("queued" if isinstance(row, Notification) and row.pk == pk else "duplicate"), pk
    return row if isinstance(row, ItemError) else ("queued", row.pk)


def _describe(result: ItemError | tuple[str, uuid.UUID]) -> dict[str, Any]:
    if isinstance(result, ItemError):
        return {"status": "error", "error": result.error, "error_description": result.description}
    status, pk = result
    return {"status": status, "webhook_id": str(pk)}
