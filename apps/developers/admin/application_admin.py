"""Applications in the administration."""

from collections.abc import Callable
from typing import Any

import oauth2_provider.admin  # noqa: F401  registers what is unregistered here
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.accounts.models import User
from apps.accounts.selectors import signed_in_user
from apps.developers.admin.application_form import PAGES, ApplicationForm
from apps.developers.admin.inlines import HistoryInline, RequestedScopeInline, TeamInline
from apps.developers.errors import RefusedError
from apps.developers.forms import SecretForm
from apps.developers.models import (
    Application,
    Profile,
    RequestedScope,
    Role,
    Status,
    TeamMember,
)
from apps.developers.services import applications, review, secrets, team
from apps.developers.services.versions import live_scopes
from apps.organisations.admin_log import NamelessLogAdmin

# The library's page knows neither profiles nor the rules, and shows the stored secret.
admin.site.unregister(Application)


@admin.register(Application)
class ApplicationAdmin(NamelessLogAdmin):
    """Applications. They are suspended, not deleted: users' connections and what was decided stay on record."""

    form = ApplicationForm
    list_display = ["name", "profile", "organisation", "status", "is_trusted", "client_type", "client_id"]
    list_filter = ["status", "profile", "organisation", "is_trusted", "client_type"]
    list_select_related = ["organisation"]
    search_fields = ["name", "client_id", "user__email"]
    ordering = ["name"]
    autocomplete_fields = ["organisation", "user"]
    inlines = [RequestedScopeInline, TeamInline, HistoryInline]
    actions = ["approve", "suspend", "reinstate"]
    change_form_template = "admin/developers/application/change_form.html"
    view_on_site = False
    #: Fixed at registration: live tokens and users' consent are about these.
    fixed_fields = ["client_id", "profile", "organisation", "client_type"]

    def get_fieldsets(self, request: HttpRequest, obj: Application | None = None) -> Any:
        what = ["name", "profile", "organisation", "client_type"]
        access = ["redirect_uris", "scopes", "is_trusted"]
        pages = ["description", "website_url", "privacy_policy_url", "terms_url", "logo"]
        if obj is None:
            return [
                (None, {"fields": [*what, "user"]}),
                (_("Access"), {"fields": [*access, "is_approved"]}),
                (_("What users and reviewers read"), {"fields": pages}),
            ]
        return [
            (None, {"fields": [*what, "client_id", "status", "user"]}),
            (_("Access"), {"fields": access}),
            (_("What users and reviewers read"), {"fields": pages}),
            (_("History"), {"fields": ["created", "updated"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Application | None = None) -> Any:
        return [*self.fixed_fields, "status", "created", "updated"] if obj else []

    def get_inlines(self, request: HttpRequest, obj: Application | None) -> Any:
        if obj is None:
            return []
        # A service is the host's own: nobody administers it in the portal.
        return [inline for inline in self.inlines if inline is not TeamInline or obj.profile != Profile.SERVICE]

    def get_urls(self) -> list[Any]:
        secret = path(
            "<path:object_id>/secret/",
            self.admin_site.admin_view(self.secret_view),
            name="developers_application_secret",
        )
        return [secret, *super().get_urls()]

    def has_delete_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Application | None = None) -> bool:
        is_deleted = obj is not None and obj.status == Status.DELETED
        return not is_deleted and super().has_change_permission(request, obj)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            return super().changeform_view(request, *args, **kwargs)
        except RefusedError as refusal:
            # Everything of the form was one transaction, so nothing of it has been saved.
            self.message_user(request, str(refusal.message), messages.ERROR)
            return redirect(request.path)

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        """Have the services do it: they keep the rules and write the history."""
        data = form.cleaned_data
        if not change:
            fields = {**data, "redirect_uris": data["redirect_uris"].split()}
            fields["logo"], fields["owner"] = data["logo"] or None, fields.pop("user")
            application, client_secret = applications.create_application(**fields)
            obj.pk = application.pk
            obj.refresh_from_db()
            request.client_secret = client_secret  # type: ignore[attr-defined]
            return
        actor = signed_in_user(request)
        # As it is stored: the form has written its values to `obj` already.
        application = Application.objects.select_related("organisation").get(pk=obj.pk)
        applications.change_branding(
            application=application,
            actor=actor,
            name=data["name"],
            **{name: data[name] for name in PAGES},
            brand_colour=application.brand_colour,
        )
        if "logo" in form.changed_data:
            applications.change_logo(application=application, actor=actor, logo=data["logo"] or None)
        applications.set_redirect_uris(
            application=application, actor=actor, redirect_uris=data["redirect_uris"].split()
        )
        if "is_trusted" in form.changed_data:
            review.set_trusted(application=application, actor=actor, is_trusted=data["is_trusted"])
        if "user" in form.changed_data:
            application.user = data["user"]
            application.save(update_fields=["user", "updated"])

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        # Nothing is written here; the administration's log of what was changed is made of what this finds.
        formset.save(commit=False)
        if formset.model is TeamMember:
            self._save_team(form.instance, formset, actor=signed_in_user(request))

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        super().save_related(request, form, formsets, change)
        if change:
            self._save_version(form, formsets, actor=signed_in_user(request))

    def _save_team(self, application: Application, formset: Any, *, actor: User) -> None:
        for member in formset.new_objects:
            team.add_member(application=application, actor=actor, user=member.user, role=member.role)
        changed = [member for member, _fields in formset.changed_objects]
        # New owners first, so that there is one when an old one goes.
        for member in sorted(changed, key=lambda each: each.role != Role.OWNER):
            team.change_role(member=TeamMember.objects.get(pk=member.pk), actor=actor, role=member.role)
        for member in formset.deleted_objects:
            team.remove_member(member=member, actor=actor)

    def _save_version(self, form: Any, formsets: Any, *, actor: User) -> None:
        application = Application.objects.select_related("organisation").get(pk=form.instance.pk)
        before = live_scopes(application)
        reasons = {entry["scope"]: entry["reason"] for entry in before}
        optional = {entry["scope"]: entry["is_optional"] for entry in before}
        for formset in formsets:
            if formset.model is RequestedScope:
                for row in formset.forms:
                    if row.has_changed():
                        reasons[row.instance.scope] = row.cleaned_data["reason"]
                        optional[row.instance.scope] = row.cleaned_data["is_optional"]
        review.change_version(
            application=application,
            actor=actor,
            description=form.cleaned_data["description"],
            scopes=form.cleaned_data["scopes"],
            reasons=reasons,
            optional_scopes=[scope for scope, is_optional in optional.items() if is_optional],
        )

    def secret_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask how long the old secret works on; then show the new one, once."""
        application = self.get_object(request, unquote(object_id))
        if application is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined]
        if not self.has_change_permission(request, application):
            raise PermissionDenied
        form = SecretForm(
            request.POST if request.method == "POST" else None,
            initial={"seen": secrets.mark_of(application)},
            label_suffix="",
        )
        context = {
            **self.admin_site.each_context(request),
            "title": _("Make a new secret"),
            "application": application,
            "form": form,
            "opts": self.opts,
        }
        if not form.is_valid():
            return TemplateResponse(request, "admin/developers/application/new_secret.html", context)
        data = form.cleaned_data
        try:
            secret = secrets.create_secret(
                application=application, actor=signed_in_user(request), overlap=data["overlap"], seen=data["seen"]
            )
        except RefusedError as refusal:
            self.message_user(request, str(refusal.message), messages.ERROR)
            return redirect(reverse("admin:developers_application_change", args=[application.pk]))
        self.log_change(request, application, [{"changed": {"fields": [str(_("client secret"))]}}])
        context["title"] = _("New secret made")
        return self._show_secret(request, context, secret)

    def _show_secret(self, request: HttpRequest, context: dict[str, Any], secret: str | None) -> HttpResponse:
        """Show the secret, once: in this answer and nowhere else, not even in a message that waits in a cookie."""
        context["client_secret"] = secret
        response = TemplateResponse(request, "admin/developers/application/added.html", context)
        response["Cache-Control"] = "no-store"
        return response

    def response_add(self, request: HttpRequest, obj: Application, post_url_continue: Any = None) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": _("Application added"),
            "application": obj,
            "opts": self.opts,
            "is_new": True,
        }
        return self._show_secret(request, context, request.client_secret)  # type: ignore[attr-defined]

    @admin.action(description=_("Approve"), permissions=["change"])
    def approve(self, request: HttpRequest, queryset: QuerySet[Application]) -> None:
        """Let users authorise them."""
        count = self._change_each(request, review.approve_application, queryset)
        self.message_user(request, ngettext("%d application approved.", "%d applications approved.", count) % count)

    @admin.action(description=_("Suspend"), permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Application]) -> None:
        """End what they may do; their tokens stop working at once."""
        count = self._change_each(request, review.suspend_application, queryset)
        self.message_user(request, ngettext("%d application suspended.", "%d applications suspended.", count) % count)

    @admin.action(description=_("Reinstate"), permissions=["change"])
    def reinstate(self, request: HttpRequest, queryset: QuerySet[Application]) -> None:
        """End their suspension; their tokens work again."""
        count = self._change_each(request, review.reinstate_application, queryset)
        self.message_user(request, ngettext("%d application reinstated.", "%d applications reinstated.", count) % count)

    def _change_each(self, request: HttpRequest, change: Callable[..., bool], queryset: QuerySet[Application]) -> int:
        """Ask `change` of each application; say which it is refused for, and return how many have changed."""
        count = 0
        for application in queryset:
            try:
                count += change(application=application, actor=signed_in_user(request))
            except RefusedError as refusal:
                self.message_user(request, f"{application.name}: {refusal.message}", messages.ERROR)
        return count
