"""What depends on the deployment secret: signing keys, webhook keys, second factors, the audit trail's seals."""

import hmac
from collections.abc import Iterator
from datetime import timedelta

from django.db.models import Exists, OuterRef
from django.utils import timezone

from apps.audit.digests import seal_signature, signing_keys
from apps.audit.models import AuditEvent, AuditSeal, SealedEvent
from apps.operations.doctor.findings import Finding, Patient, ok, plural, problem, span, warning
from apps.operations.resealing import look_at_factors, look_at_keys
from apps.tokens.keys import is_readable
from apps.tokens.models import SigningKey

#: Keys are not worn out by use; a change now and then bounds what a stolen one is good for.
ROTATE_AFTER = timedelta(days=365)
#: Events are sealed every minute, as soon as no older transaction runs (docs/decisions/0011).
SEALED_WITHIN = timedelta(minutes=15)
#: How far back is looked for events that are not sealed.
LOOK_BACK = timedelta(days=2)

_OTHER_SECRET = "Put the SECRET_KEY back that this database was used with"


def examine_signing_keys(patient: Patient) -> Iterator[Finding]:
    """Is there one of each kind that we can open, and how old is it?"""
    keys = list(SigningKey.objects.filter(retired_at__isnull=True).order_by("created_at"))
    closed = [key for key in keys if not is_readable(key)]
    if closed:
        names = ", ".join(key.algorithm for key in closed)
        yield problem(
            f"SECRET_KEY does not open the signing keys ({names}): no token can be issued.",
            f"{_OTHER_SECRET}. If it is lost: manage.py rotate_signing_keys makes new keys.",
        )
        return
    missing = set(SigningKey.Algorithm.values) - {key.algorithm for key in keys}
    if missing:
        yield ok(f"none yet for {' and '.join(sorted(missing))}: the first token makes them")
        return
    age = timezone.now() - keys[0].created_at
    if age > ROTATE_AFTER:
        yield warning(
            f"the signing keys are {span(age.total_seconds())} old.",
            "Run manage.py rotate_signing_keys; tokens that were issued go on being valid.",
        )
    else:
        yield ok(f"{plural(len(keys), 'signing key')}, open with this SECRET_KEY, {span(age.total_seconds())} old")


def examine_sealed(patient: Patient) -> Iterator[Finding]:
    """Do the keys in the database open, and with SECRET_KEY alone?"""
    webhooks, signing = look_at_keys()
    if webhooks.closed:
        yield problem(
            f"SECRET_KEY does not open {plural(webhooks.closed, 'webhook key')}: nothing is delivered there.",
            f"{_OTHER_SECRET}. If it is lost: let the teams make new keys at their application's webhook.",
        )
    earlier = webhooks.resealed + signing.resealed
    if earlier:
        yield warning(
            f"only an earlier secret of SECRET_KEY_FALLBACKS opens {plural(earlier, 'key')}.",
            "Run manage.py reseal, before you take the earlier secret out.",
        )
    if not webhooks.closed and not earlier:
        yield ok(f"{plural(webhooks.current, 'webhook key')}, each opens with this SECRET_KEY")


def examine_second_factors(patient: Patient) -> Iterator[Finding]:
    """Are the secrets of second steps encrypted, and do they open?"""
    factors, in_clear = look_at_factors()
    if factors.closed:
        yield problem(
            f"SECRET_KEY does not open {plural(factors.closed, 'second factor')}: no code is accepted there.",
            f"{_OTHER_SECRET}. If it is lost: delete them under Authenticators in the administration.",
        )
    if in_clear:
        yield warning(
            f"the secret of {plural(in_clear, 'second factor')} lies in the database in clear.",
            "Run manage.py reseal: it encrypts them.",
        )
    elif factors.resealed:
        yield warning(
            f"only an earlier secret of SECRET_KEY_FALLBACKS opens {plural(factors.resealed, 'second factor')}.",
            "Run manage.py reseal, before you take the earlier secret out.",
        )
    elif not factors.closed:
        yield ok("encrypted, and open with this SECRET_KEY" if factors.current else "there are none yet")


def examine_audit_trail(patient: Patient) -> Iterator[Finding]:
    """Is the newest seal ours, and is nothing left unsealed?"""
    last = AuditSeal.objects.order_by("-pk").first()
    if last is not None and not any(
        hmac.compare_digest(bytes(last.signature), seal_signature(last, key)) for key in signing_keys()
    ):
        yield problem(
            f"seal {last.pk} of the audit trail was not made with this SECRET_KEY, or has been changed.",
            f"{_OTHER_SECRET}, and run manage.py verify_audit.",
        )
        return
    now = timezone.now()
    unsealed = (
        AuditEvent.objects.filter(happened_at__gt=now - LOOK_BACK, happened_at__lt=now - SEALED_WITHIN)
        .filter(~Exists(SealedEvent.objects.filter(event=OuterRef("pk"))))
        .order_by("happened_at", "id")
        .first()
    )
    if unsealed is not None:
        yield problem(
            f"events have not been sealed for {span((now - unsealed.happened_at).total_seconds())}.",
            "Start manage.py work; if it runs, end the transaction that has been open for as long (pg_stat_activity).",
        )
    elif last is None:
        yield ok("nothing had to be sealed yet")
    else:
        yield ok(f"seal {last.pk} is the last one, {span((now - last.sealed_at).total_seconds())} old, and ours")
