from django.urls import include, path
from oauth2_provider.contrib.rest_framework import OAuth2Authentication
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView


class UserView(APIView):
    authentication_classes = [OAuth2Authentication]
    permission_classes = [IsAuthenticated]

    def get(self, request: Request) -> Response:
        user = request.user
        return Response({"data": {"id": user.pk, "first_name": user.first_name, "email": user.email}})


urlpatterns = [
    path("oauth/user", UserView.as_view()),
    path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
]
