"""Our addresses, and some that fail as a fault of ours would."""

from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from config.urls import urlpatterns as ours


def refused_by_the_database(request: HttpRequest) -> HttpResponse:
    password = request.POST.get("password", "")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE fault (email text CONSTRAINT one_of_each PRIMARY KEY) ON COMMIT DROP")
        for _ in range(2):
            cursor.execute("INSERT INTO fault VALUES (%s)", [request.POST["email"] + password])
    return HttpResponse()


def with_words(request: HttpRequest, key: str) -> HttpResponse:
    try:
        int(key)
    except ValueError as error:
        raise RuntimeError(f"cannot do {request.POST['password']}") from error
    return HttpResponse()


urlpatterns = [
    path("fails/database/", refused_by_the_database, name="fails-database"),
    path("fails/words/<str:key>/", with_words, name="fails-words"),
    *ours,
]
