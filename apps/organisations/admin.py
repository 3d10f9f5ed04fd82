from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminFileWidget
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.organisations.admin_log import NamelessLogAdmin
from apps.organisations.logos import LogoField, delete_after_commit
from apps.organisations.models import Membership, Organisation, Reviewer
from apps.organisations.services import create_organisation, make_default

admin.site.site_header = admin.site.site_title = "Countersign"
admin.site.index_title = _("Administration")


class OrganisationForm(forms.ModelForm):
    """An organisation, with its logo made small."""

    logo = LogoField(label=_("Logo"), required=False, widget=AdminFileWidget)

    class Meta:
        model = Organisation
        fields = [
            "name",
            "slug",
            "domain",
            "tagline",
            "brand_colour",
            "logo",
            "website_url",
            "privacy_policy_url",
            "support_email",
        ]


class ReviewerInline(admin.TabularInline):
    """Who may decide on the organisation's applications."""

    model = Reviewer
    extra = 0
    autocomplete_fields = ["user"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Reviewer]:
        return super().get_queryset(request).select_related("user", "organisation")


@admin.register(Organisation)
class OrganisationAdmin(NamelessLogAdmin):
    """Brands. The default one cannot go; an organisation with applications cannot either."""

    form = OrganisationForm
    list_display = ["name", "slug", "domain", "is_default"]
    search_fields = ["name", "slug", "domain"]
    ordering = ["name"]
    inlines = [ReviewerInline]
    actions = ["make_default"]

    def get_inlines(self, request: HttpRequest, obj: Organisation | None) -> Any:
        return self.inlines if obj else []

    def save_model(self, request: HttpRequest, obj: Organisation, form: Any, change: bool) -> None:
        if change:
            if "logo" in form.changed_data:
                delete_after_commit(form.initial["logo"])
            super().save_model(request, obj, form, change)
            return
        data = {**form.cleaned_data, "logo": form.cleaned_data["logo"] or None}
        obj.pk = create_organisation(**data).pk
        obj.refresh_from_db()

    def delete_model(self, request: HttpRequest, obj: Organisation) -> None:
        super().delete_model(request, obj)
        delete_after_commit(obj.logo)

    def has_delete_permission(self, request: HttpRequest, obj: Organisation | None = None) -> bool:
        return super().has_delete_permission(request, obj) and not (obj and obj.is_default)

    def get_actions(self, request: HttpRequest) -> Any:
        # Deleting several at once does not ask for each whether it may go.
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)
        return actions

    @admin.action(description=_("Make the default organisation"), permissions=["change"])
    def make_default(self, request: HttpRequest, queryset: QuerySet[Organisation]) -> None:
        """Let the one that is ticked serve every host that is nobody's domain."""
        if queryset.count() != 1:
            self.message_user(request, _("Tick exactly one organisation."), messages.ERROR)
            return
        organisation = queryset.get()
        make_default(organisation=organisation)
        self.message_user(request, _("%(name)s is the default organisation now.") % {"name": organisation.name})


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):
    """What users have at an organisation's loyalty scheme."""

    list_display = ["user", "organisation", "scheme_name", "points", "expiring", "current_level"]
    list_filter = ["organisation", "scheme_name"]
    list_select_related = ["user", "organisation"]
    search_fields = ["user__email", "user__first_name", "user__last_name", "scheme_name", "member_id"]
    autocomplete_fields = ["user", "organisation"]
    date_hierarchy = "created_at"

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"created_at": timezone.now(), **super().get_changeform_initial_data(request)}


@admin.register(Reviewer)
class ReviewerAdmin(NamelessLogAdmin):
    """Users who may decide on an organisation's applications."""

    list_display = ["user", "organisation", "created_at"]
    list_filter = ["organisation"]
    list_select_related = ["user", "organisation"]
    search_fields = ["user__email", "user__first_name", "user__last_name"]
    autocomplete_fields = ["user", "organisation"]
