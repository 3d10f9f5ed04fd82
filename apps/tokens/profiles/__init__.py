"""The programmes' differences, one file each. Nothing else in the project asks which profile it deals with."""

from apps.tokens.profiles.base import TokenProfile
from apps.tokens.profiles.connection import ConnectionProfile
from apps.tokens.profiles.customer import CustomerProfile
from apps.tokens.profiles.portal import PortalProfile
from apps.tokens.profiles.service import ServiceProfile

PROFILES: dict[str, TokenProfile] = {
    "connection": ConnectionProfile(),
    "customer": CustomerProfile(),
    "portal": PortalProfile(),
    "service": ServiceProfile(),
}

__all__ = ["PROFILES", "TokenProfile"]
