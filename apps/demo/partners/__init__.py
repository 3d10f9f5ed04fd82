"""The demo partners, one for each programme: one file each, and this table."""

from apps.demo.partners.base import Partner, RefreshingPartner
from apps.demo.partners.campus import CampusPartner
from apps.demo.partners.loyalty import LoyaltyPartner
from apps.demo.partners.receipts import ReceiptsPartner

PROGRAMMES: dict[str, Partner] = {
    "receipts": ReceiptsPartner(),
    "loyalty": LoyaltyPartner(),
    "campus": CampusPartner(),
}

__all__ = ["PROGRAMMES", "Partner", "RefreshingPartner"]
