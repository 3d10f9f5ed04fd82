"""When owners are asked to agree to new developer terms."""

from urllib.parse import urlencode

from django.http import HttpRequest
from django.urls import reverse

from apps.accounts.models import User
from apps.developers.selectors import terms_to_agree

#: The session key of "not now": until the next log-in the question is not asked again.
NOT_NOW = "terms_not_now"


def address_to_ask(request: HttpRequest, user: User) -> str | None:
    """Return the page that asks `user` to agree to terms they have not seen, and leads back; None: nothing to ask."""
    if request.session.get(NOT_NOW):
        return None
    terms = terms_to_agree(user).first()
    if terms is None:
        return None
    address = reverse("developer:terms-version", args=[terms.organisation.slug, terms.number])
    return f"{address}?{urlencode({'next': request.get_full_path()})}"
