"""What may be told about a user, in the programmes' own shapes."""

from datetime import UTC, date, datetime
from typing import Any

from allauth.account.models import EmailAddress

from apps.accounts.data_points import BY_KEY
from apps.accounts.models import ProfileValue, User
from apps.organisations.models import Membership, Organisation


def describe_customer(user: User, organisation: Organisation, *, with_memberships: bool) -> dict[str, Any]:
    """Return the loyalty programme's customer (CONTRACT section 8), memberships of `organisation` only."""
    data: dict[str, Any] = {
        "id": str(user.pk),
        "first_name": user.first_name,
        "last_name": user.last_name,
        "email": user.email,
        "phone": user.phone or None,
        "created_at": _instant(user.created_at),
        "birth_date": _day(user.birth_date),
        "verified": is_email_verified(user),
    }
    if with_memberships:
        memberships = Membership.objects.filter(user=user, organisation=organisation).order_by("created_at", "id")
        data["memberships"] = {"data": [_describe_membership(membership) for membership in memberships]}
    return data


def describe_data_points(user: User, scopes: list[str]) -> dict[str, Any]:
    """Return the granted data points, one object per category, in camelCase (CONTRACT section 8).

    A granted data point that nothing is known of is null: the application sees that it may ask.
    """
    granted = [BY_KEY[scope] for scope in scopes if scope in BY_KEY]
    stored = dict(
        ProfileValue.objects.filter(user=user, key__in=[point.key for point in granted]).values_list("key", "value")
    )
    answer: dict[str, Any] = {"userId": str(user.pk), "username": user.username}
    for point in granted:
        value = stored[point.key] if point.key in stored else _own_value(user, point.key)
        answer.setdefault(camel_case(point.category), {})[camel_case(point.name)] = value
    return answer


def is_email_verified(user: User) -> bool:
    """Say whether the user has proved that the e-mail address is theirs."""
    return EmailAddress.objects.filter(user=user, email__iexact=user.email, verified=True).exists()


def camel_case(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _own_value(user: User, key: str) -> Any:
    """Return what the account itself knows of a data point that no profile value is stored for."""
    own = {
        "person.short_name": lambda: user.first_name or None,
        "person.full_name": lambda: user.get_full_name() or None,
        "biological_information.date_of_birth": lambda: user.birth_date.isoformat() if user.birth_date else None,
        "contact_information.email_address": lambda: user.email,
        "contact_information.email_address_verified": lambda: is_email_verified(user),
        "contact_information.primary_phone_number": lambda: user.phone or None,
    }
    return own[key]() if key in own else None


def _describe_membership(membership: Membership) -> dict[str, Any]:
    return {
        "id": str(membership.pk),
        "member_id": str(membership.member_id),
        "scheme_name": membership.scheme_name,
        # JSON numbers: partners calculate with them.
        "points": float(membership.points),
        "expiring": float(membership.expiring),
        "last_transacted_at": _instant(membership.last_transacted_at),
        "current_level": membership.current_level or None,
        "created_at": _instant(membership.created_at),
    }


def _instant(value: datetime | None) -> str | None:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if value else None


def _day(value: date | None) -> str | None:
    return value.strftime("%Y-%m-%d 00:00:00") if value else None
