import oauth2_provider.admin  # noqa: F401  registers what is unregistered here
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from oauth2_provider.models import AccessToken, IDToken, RefreshToken

from apps.accounts.selectors import signed_in_user
from apps.connections.models import Connection, EndReason
from apps.tokens.models import Grant, SigningKey
from apps.tokens.services import end_connection

# The library's pages revoke and delete tokens past our services.
admin.site.unregister([AccessToken, RefreshToken, IDToken, Grant])


class ReadOnlyAdmin(admin.ModelAdmin):
    """Rows that are looked at here and written by services only."""

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Connection)
class ConnectionAdmin(ReadOnlyAdmin):
    """What users let applications do. An administrator may end it."""

    list_display = ["id", "user", "application", "created_at", "last_used_at", "ended_at", "end_reason"]
    list_filter = [
        ("ended_at", admin.EmptyFieldListFilter),
        "end_reason",
        "application__profile",
        "application__organisation",
    ]
    list_select_related = ["user", "application"]
    search_fields = ["id", "user__email", "application__name", "application__client_id"]
    ordering = ["-created_at"]
    date_hierarchy = "created_at"
    actions = ["end"]

    def has_end_permission(self, request: HttpRequest) -> bool:
        """Ending is the one change there is."""
        return request.user.has_perm("connections.change_connection")

    @admin.action(description=_("End connections"), permissions=["end"])
    def end(self, request: HttpRequest, queryset: QuerySet[Connection]) -> None:
        """End everything the applications may do for the users."""
        user = signed_in_user(request)
        count = sum(
            end_connection(connection=connection, reason=EndReason.ADMINISTRATOR, actor=user)
            for connection in queryset.filter(ended_at__isnull=True).select_related("application")
        )
        self.message_user(request, ngettext("%d connection ended.", "%d connections ended.", count) % count)


@admin.register(SigningKey)
class SigningKeyAdmin(ReadOnlyAdmin):
    """The public side of the keys that sign access tokens. `manage.py rotate_signing_keys` makes new ones."""

    list_display = ["kid", "algorithm", "created_at", "retired_at", "verifiable_until"]
    list_filter = ["algorithm"]
    ordering = ["-created_at"]
    fields = ["kid", "algorithm", "public_jwk", "created_at", "retired_at", "verifiable_until"]
