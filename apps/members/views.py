"""The resource endpoints: one query for the token and what belongs to it, and one for each thing they tell."""

from typing import Any, ClassVar

from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import User
from apps.connections.services import note_use
from apps.members import selectors
from apps.tokens.authentication import ResourceThrottle
from apps.tokens.issuing import profile_of
from apps.tokens.selectors import PresentedToken


class MayRead(BasePermission):
    """Admits users' tokens of the programme that the resource belongs to (RFC 6750 3.1: insufficient_scope)."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if view.resource == profile_of(presented_token(request).application).resource:
            return True
        description = "This access token is for another programme."
        error = PermissionDenied({"error": "insufficient_scope", "error_description": description})
        error.auth_header = f'Bearer error="insufficient_scope", error_description="{description}"'  # type: ignore[attr-defined]
        raise error


class ResourceView(APIView):
    """A GET with a user's access token."""

    http_method_names = ["get", "head", "options"]
    permission_classes = [MayRead]
    throttle_classes = [ResourceThrottle]
    #: What TokenProfile.resource must be.
    resource: ClassVar[str]

    def get(self, request: Request) -> Response:
        token = presented_token(request)
        if token.user is None or token.connection is None:
            raise TypeError("A profile with a resource endpoint issues its tokens to users.")
        note_use(token.connection)
        return Response(self.describe(request, token, token.user))

    def describe(self, request: Request, token: PresentedToken, user: User) -> dict[str, Any]:
        """Return what the token's holder may know of the user."""
        raise NotImplementedError

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        # Personal data: for the partner only (RFC 6750 5.3).
        response["Cache-Control"] = "no-store"
        return response


class CustomerView(ResourceView):
    """`GET /oauth/user`: the loyalty programme's customer."""

    resource = "customer"

    def describe(self, request: Request, token: PresentedToken, user: User) -> dict[str, Any]:
        includes = {name.strip() for value in request.GET.getlist("include") for name in value.split(",")}
        with_memberships = "memberships" in includes
        organisation = token.application.organisation
        return {"data": selectors.describe_customer(user, organisation, with_memberships=with_memberships)}


class DataPointsView(ResourceView):
    """`GET /open_auth/get_user_data/`: the data points that the user has granted."""

    resource = "data_points"

    def describe(self, request: Request, token: PresentedToken, user: User) -> dict[str, Any]:
        return selectors.describe_data_points(user, token.scopes)


def presented_token(request: Request) -> PresentedToken:
    """Return the token that BearerAuthentication has found."""
    token: Any = request.auth
    return token
