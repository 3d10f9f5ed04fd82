from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext_lazy as _lazy

from apps.console.wire import Encoding, Fact, Step
from apps.console.wire.outcomes import show_value
from apps.demo.partners.base import CONNECT, EXCHANGE, RECEIVE, RefreshingPartner


class CampusPartner(RefreshingPartner):
    """Omniport's programme: form in, an opaque ten-hour token, and the data points the user granted."""

    slug = "campus"
    programme = _lazy("Campus")
    summary = _lazy("Finds the people who take the same course as you.")
    member_email = "priya@example.com"
    highlights = (
        _lazy("Permissions one by one"),
        _lazy("An opaque token for ten hours, with refresh"),
        _lazy("Only the data points that were granted"),
    )
    authorize_path = "/oauth/authorise/"
    token_path = "/open_auth/token/"
    token_encoding = Encoding.FORM
    resource_path = "/open_auth/get_user_data/"
    revocation_path = "/open_auth/revoke_token/"
    steps = (
        CONNECT,
        RECEIVE,
        EXCHANGE,
        Step(
            "call",
            _lazy("Ask for the data points"),
            _lazy("We get what the user granted, sorted by category, and nothing else."),
            _lazy("Get the data points"),
            _lazy("The data points"),
        ),
        Step(
            "refresh",
            _lazy("Refresh the tokens"),
            _lazy("After ten hours the access token is over. The refresh token brings a new pair, once."),
            _lazy("Refresh"),
            _lazy("The new tokens"),
        ),
        Step(
            "revoke",
            _lazy("Give the tokens back"),
            _lazy("The student leaves the circle. We hand in the refresh token; the access token dies with it."),
            _lazy("Revoke the tokens"),
        ),
        Step(
            "call-again",
            _lazy("Try the dead token"),
            _lazy("A dead token opens nothing."),
            _lazy("Call once more"),
        ),
    )

    def describe(self, document: dict[str, Any]) -> Iterable[Fact]:
        """Return the data points, without their categories."""
        for name, value in document.items():
            if isinstance(value, dict):
                for point, content in value.items():
                    yield Fact(point, show_value(content))
            else:
                yield Fact(name, show_value(value))
