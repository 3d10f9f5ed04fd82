"""The resource endpoints. Each has one query for the token and what belongs to it, and one for each thing it tells."""

from typing import Any, ClassVar

from oauth2_provider.models import AccessToken
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.connections.services import note_use
from apps.members import selectors
from apps.tokens.issuing import profile_of


class MayRead(BasePermission):
    """Admits tokens of the programme that the resource belongs to (RFC 6750 3.1: insufficient_scope)."""

    def has_permission(self, request: Request, view: Any) -> bool:
        token: AccessToken = request.auth
        if view.resource == profile_of(token.application).resource:
            return True
        description = "This access token is for another programme."
        error = PermissionDenied({"error": "insufficient_scope", "error_description": description})
        error.auth_header = f'Bearer error="insufficient_scope", error_description="{description}"'  # type: ignore[attr-defined]
        raise error


class ResourceView(APIView):
    """A GET with an access token."""

    http_method_names = ["get", "head", "options"]
    permission_classes = [MayRead]
    #: What TokenProfile.resource must be.
    resource: ClassVar[str]

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        # Personal data: for the partner only (RFC 6750 5.3).
        response["Cache-Control"] = "no-store"
        return response


class CustomerView(ResourceView):
    """`GET /oauth/user`: the loyalty programme's customer."""

    resource = "customer"

    def get(self, request: Request) -> Response:
        token: AccessToken = request.auth
        note_use(token.family.connection)
        includes = {name.strip() for value in request.GET.getlist("include") for name in value.split(",")}
        data = selectors.describe_customer(
            token.user, token.application.organisation, with_memberships="memberships" in includes
        )
        return Response({"data": data})


class DataPointsView(ResourceView):
    """`GET /open_auth/get_user_data/`: the data points that the user has granted."""

    resource = "data_points"

    def get(self, request: Request) -> Response:
        token: AccessToken = request.auth
        note_use(token.family.connection)
        return Response(selectors.describe_data_points(token.user, token.scope.split()))
