"""The scopes there are, by profile, and how DOT asks for them."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from oauth2_provider.scopes import BaseScopes

from apps.accounts import data_points

if TYPE_CHECKING:
    from apps.developers.models import Application


@dataclass(frozen=True)
class Scope:
    """A permission in the words a user sees, under the heading it is grouped by."""

    name: str
    label: str | Promise
    category: str | Promise


_RECEIPTS = _("Your receipts")
_SERVICES = _("Services")

BY_PROFILE: dict[str, tuple[Scope, ...]] = {
    "connection": (
        Scope("receipt:write", _("Sending receipts"), _RECEIPTS),
        Scope("receipt:read", _("Reading receipts"), _RECEIPTS),
    ),
    "customer": (),
    "portal": tuple(
        Scope(point.key, point.label, data_points.CATEGORIES[point.category]) for point in data_points.CATALOGUE
    ),
    "service": (
        Scope("notification:send", _("Sending notifications to partners"), _SERVICES),
        Scope("introspect", _("Looking into every token of the organisation"), _SERVICES),
    ),
}

ALL: dict[str, Scope] = {scope.name: scope for scopes in BY_PROFILE.values() for scope in scopes}


def in_catalogue_order(scopes: Iterable[str]) -> list[str]:
    """Return each of `scopes` once, in the order in which pages show them; what is unknown comes last."""
    places = {name: place for place, name in enumerate(ALL)}
    return sorted(dict.fromkeys(scopes), key=lambda name: places.get(name, len(places)))


class ApplicationScopes(BaseScopes):
    """DOT's scopes backend: what an application registered is what it may ask for (CONTRACT section 2)."""

    def get_all_scopes(self) -> dict[str, str]:
        return {name: str(scope.label) for name, scope in ALL.items()}

    def get_available_scopes(
        self, application: "Application | None" = None, request: Any = None, *args: Any, **kwargs: Any
    ) -> list[str]:
        return list(ALL) if application is None else list(application.scopes)

    def get_default_scopes(
        self, application: "Application | None" = None, request: Any = None, *args: Any, **kwargs: Any
    ) -> list[str]:
        return self.get_available_scopes(application)
