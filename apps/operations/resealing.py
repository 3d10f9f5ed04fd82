"""After a change of SECRET_KEY: what lies encrypted in the database is sealed anew, so that the earlier one can go.

Webhook keys, signing keys, second factors, and mails in the queue. The audit trail's seals stay as they
are: nobody may change them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from cryptography.fernet import InvalidToken
from django.db import connection, models, transaction
from django.utils import timezone

from apps.accounts.second_factors import factors_in_clear, factors_with_secrets, reseal_factor
from apps.organisations import letters
from apps.organisations.tasks import send_mail
from apps.tokens import keys as signing_keys
from apps.tokens.models import SigningKey
from apps.webhooks import keys as webhook_keys
from apps.webhooks.models import EndpointKey

#: Rows that are held at a time.
BATCH_SIZE = 500

_Row = TypeVar("_Row", bound=models.Model)
_T = TypeVar("_T")
_Result = TypeVar("_Result")

_MAILS = """
SELECT id, args->>'sealed' FROM procrastinate_jobs
WHERE task_name = %s AND status IN ('todo', 'doing') AND id > %s ORDER BY id LIMIT %s FOR UPDATE
"""
_RESEAL_MAIL = "UPDATE procrastinate_jobs SET args = jsonb_set(args, '{sealed}', to_jsonb(%s::text)) WHERE id = %s"


@dataclass
class Tally:
    """What became of the things of one kind, or would become of them."""

    name: str
    #: Sealed with SECRET_KEY already.
    current: int = 0
    #: Only opened by an earlier secret until now.
    resealed: int = 0
    #: Opened by none that we have.
    closed: int = 0

    def note(self, reseal: Callable[[_T], _Result], sealed: _T) -> _Result | None:
        """Do it to one, and return what came of it: something true if it has to be written."""
        try:
            result = reseal(sealed)
        except InvalidToken:
            self.closed += 1
            return None
        if result:
            self.resealed += 1
        else:
            self.current += 1
        return result


def reseal() -> list[Tally]:
    """Seal all of it with SECRET_KEY, in batches, while the server runs; can be done again at any time."""
    return [
        _reseal_rows("webhook keys", EndpointKey.objects.all(), webhook_keys.reseal_key, "encrypted_value"),
        _reseal_rows("signing keys", SigningKey.objects.all(), signing_keys.reseal_key, "encrypted_private_key"),
        _reseal_rows("second factors", factors_with_secrets(), reseal_factor, "data"),
        _reseal_mails(),
    ]


def look_at_keys() -> list[Tally]:
    """Return the same of webhook keys that are in use and of keys that sign, and change nothing."""
    webhooks, ending, signing = Tally("webhook keys"), Tally("webhook keys that end"), Tally("signing keys")
    live = EndpointKey.objects.live(timezone.now())
    _look(webhooks, live.filter(ends_at=None), webhook_keys.reseal_key)
    # During an overlap the earlier API key is the one that is sent; where it does not open, the new one has taken over.
    _look(ending, live.filter(ends_at__isnull=False), webhook_keys.reseal_key)
    webhooks.current += ending.current
    webhooks.resealed += ending.resealed
    _look(signing, SigningKey.objects.filter(retired_at=None), signing_keys.reseal_key)
    return [webhooks, signing]


def look_at_factors() -> tuple[Tally, int]:
    """Return the same of the newest second factors, a batch of them, and how many lie there in clear."""
    factors = Tally("second factors")
    _look(factors, factors_with_secrets().order_by("-pk")[:BATCH_SIZE], reseal_factor)
    return factors, factors_in_clear().count()


def _look(tally: Tally, rows: Iterable[_Row], reseal_row: Callable[[_Row], bool]) -> None:
    for row in rows:
        tally.note(reseal_row, row)


def _reseal_rows(name: str, rows: models.QuerySet[_Row], reseal_row: Callable[[_Row], bool], field: str) -> Tally:
    tally, last = Tally(name), None
    while True:
        with transaction.atomic():
            left = rows.filter(pk__gt=last) if last is not None else rows
            batch = list(left.select_for_update().order_by("pk")[:BATCH_SIZE])
            changed = [row for row in batch if tally.note(reseal_row, row)]
            rows.model._default_manager.bulk_update(changed, [field])
        if len(batch) < BATCH_SIZE:
            return tally
        last = batch[-1].pk


def _reseal_mails() -> Tally:
    """Only of those that have not ended: the others are deleted within a day."""
    tally, last = Tally("mails in the queue"), 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_MAILS, [send_mail.name, last, BATCH_SIZE])
            batch = cursor.fetchall()
            for job_id, sealed in batch:
                if fresh := tally.note(letters.reseal, sealed):
                    cursor.execute(_RESEAL_MAIL, [fresh, job_id])
        if len(batch) < BATCH_SIZE:
            return tally
        last = batch[-1][0]
