from collections.abc import Callable, Iterable
from typing import Any

import oauth2_provider.admin  # noqa: F401  registers what is unregistered here
from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.admin.widgets import AdminFileWidget
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.forms.models import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from apps.accounts.models import User
from apps.accounts.selectors import signed_in_user
from apps.developers import rules
from apps.developers.errors import LastOwnerError, RefusedError
from apps.developers.forms import SecretForm
from apps.developers.models import (
    Application,
    HistoryEntry,
    Profile,
    RequestedScope,
    Role,
    Status,
    Submission,
    TeamMember,
    TermsVersion,
)
from apps.developers.scopes import BY_PROFILE
from apps.developers.services import applications, review, secrets, team
from apps.developers.services.terms import publish_terms
from apps.developers.services.versions import live_scopes
from apps.organisations.logos import LogoField

# The library's page knows neither profiles nor the rules, and shows the stored secret.
admin.site.unregister(Application)


def _scope_choices(profiles: Iterable[str]) -> list[Any]:
    return [
        (Profile(profile).label, [(scope.name, f"{scope.label} ({scope.name})") for scope in BY_PROFILE[profile]])
        for profile in profiles
        if BY_PROFILE[profile]
    ]


_PAGES = ("website_url", "privacy_policy_url", "terms_url")


class ApplicationForm(forms.ModelForm):
    """An application under the rules of registration (`rules.check_application`)."""

    redirect_uris = forms.CharField(
        label=_("Redirect URLs"),
        required=False,
        help_text=_("One a line."),
        widget=forms.Textarea(attrs={"rows": 4, "cols": 80, "spellcheck": "false"}),
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("Only those of its profile."),
    )
    is_approved = forms.BooleanField(
        label=_("Approve at once"), required=False, help_text=_("Users may authorise it without a review.")
    )
    logo = LogoField(label=_("Logo"), required=False, widget=AdminFileWidget)

    class Meta:
        model = Application
        fields = [
            "name",
            "profile",
            "organisation",
            "client_type",
            "redirect_uris",
            "scopes",
            "is_trusted",
            "description",
            "website_url",
            "privacy_policy_url",
            "terms_url",
            "logo",
            "user",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        is_new = self.instance._state.adding
        if "name" in self.fields:
            # It is not for who may only look.
            self.fields["name"].required = True
        scopes: Any = self.fields.get("scopes")
        if scopes:
            scopes.choices = _scope_choices(Profile.values if is_new else [self.instance.profile])
        if not is_new:
            self.initial["redirect_uris"] = "\n".join(self.instance.redirect_uri_list)

    def clean_redirect_uris(self) -> str:
        """Return them as they are stored: separated by one space."""
        return " ".join(dict.fromkeys(self.cleaned_data["redirect_uris"].split()))

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        try:
            rules.check_application(
                name=self._value("name"),
                profile=self._value("profile"),
                redirect_uris=self._value("redirect_uris").split(),
                scopes=self._value("scopes") or [],
                client_type=self._value("client_type"),
                is_trusted=self._value("is_trusted"),
                # What was there before there were rules may stay.
                description=self._new_description(),
                website_url=self._new_page("website_url"),
                privacy_policy_url=self._new_page("privacy_policy_url"),
                terms_url=self._new_page("terms_url"),
            )
        except ValidationError as error:
            for field, messages in error.error_dict.items():
                if field not in self.errors:
                    self.add_error(field if field in self.fields else NON_FIELD_ERRORS, messages)
        self._keep_lasting_pages()
        return data

    def _keep_lasting_pages(self) -> None:
        """Refuse to empty a page that has an address: the service would (`rules.check_branding`)."""
        for name in rules.LASTING_PAGES.intersection(self.changed_data):
            if self.initial.get(name) and not self.cleaned_data.get(name, "wrong already"):
                try:
                    rules.check_page_url("")
                except ValidationError as error:
                    self.add_error(name, error)

    def _new_description(self) -> str:
        description = rules.clean_text(self._value("description"))
        return description if description != rules.clean_text(self.initial.get("description", "")) else ""

    def _new_page(self, name: str) -> str:
        return self._value(name) if name in self.changed_data else ""

    def _value(self, name: str) -> Any:
        # What was fixed at registration is not in the form; what was filled in wrongly is not in cleaned_data.
        return self.cleaned_data.get(name, getattr(self.instance, name))


class RequestedScopeForm(forms.ModelForm):
    """Why a scope is asked for, under the rules of registration if anything is said."""

    class Meta:
        model = RequestedScope
        fields = ["reason", "is_optional"]
        widgets = {"reason": forms.Textarea(attrs={"rows": 2, "cols": 60})}

    def clean_reason(self) -> str:
        reason = rules.clean_text(self.cleaned_data["reason"])
        if reason and "reason" in self.changed_data:
            rules.check_reason(reason)
        return reason


class RequestedScopeInline(admin.TabularInline):
    """Why each scope is asked for, and whether users may untick it."""

    model = RequestedScope
    form = RequestedScopeForm
    fields = ["scope", "reason", "is_optional"]
    readonly_fields = ["scope"]
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class TeamMemberForm(forms.ModelForm):
    """Somebody's place on a team. Who it is does not change: others get a place of their own."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "user" in self.fields and not self.instance._state.adding:
            self.fields["user"].disabled = True


class TeamFormSet(BaseInlineFormSet):
    """A team that always has an owner, once it has one."""

    def clean(self) -> None:
        super().clean()
        if any(self.errors):
            return
        had_owner = any(form.initial.get("role") == Role.OWNER for form in self.initial_forms)
        stays = [form for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")]
        if had_owner and not any(form.cleaned_data["role"] == Role.OWNER for form in stays):
            raise ValidationError(LastOwnerError.message)


class TeamInline(admin.TabularInline):
    """The team. Whoever is put on it here gets no invitation to accept."""

    model = TeamMember
    form = TeamMemberForm
    formset = TeamFormSet
    fields = ["user", "role", "joined_at"]
    readonly_fields = ["joined_at"]
    autocomplete_fields = ["user"]
    extra = 0


class HistoryInline(admin.TabularInline):
    """What has happened last to an application."""

    model = HistoryEntry
    fields = ["created_at", "kind", "actor", "is_by_reviewer", "text", "details"]
    readonly_fields = ["created_at", "kind", "actor", "is_by_reviewer", "text", "details"]
    ordering = ["-created_at", "-pk"]
    extra = 0
    max_num = 0
    can_delete = False
    verbose_name_plural = _("latest history")
    #: More of it is on the review desk.
    most = 50

    def get_queryset(self, request: HttpRequest) -> QuerySet[HistoryEntry]:
        entries = super().get_queryset(request).select_related("actor", "application")
        match = request.resolver_match
        application_id: Any = unquote(match.kwargs["object_id"]) if match and "object_id" in match.kwargs else None
        latest = HistoryEntry.objects.filter(application=application_id).order_by("-created_at", "-pk")
        # A slice cannot be filtered any further, which the formset does.
        return entries.filter(pk__in=list(latest.values_list("pk", flat=True)[: self.most]))

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Application)
class ApplicationAdmin(admin.ModelAdmin):
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
            **{name: data[name] for name in _PAGES},
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


@admin.register(Submission)
class SubmissionAdmin(admin.ModelAdmin):
    """Versions that were sent for review, and what came of them. To look at: the review desk decides."""

    list_display = [
        "application",
        "number",
        "outcome",
        "submitted_by",
        "submitted_at",
        "decided_by",
        "decided_at",
    ]
    list_filter = ["outcome", "application__organisation", "application__profile"]
    list_select_related = ["application", "submitted_by", "decided_by"]
    search_fields = ["application__name", "application__client_id", "submitted_by__email", "decided_by__email"]
    ordering = ["-submitted_at"]
    date_hierarchy = "submitted_at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Submission | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Submission | None = None) -> bool:
        return False


@admin.register(TermsVersion)
class TermsVersionAdmin(admin.ModelAdmin):
    """The developer terms of use. To add is to publish; what is published never changes."""

    list_display = ["organisation", "number", "published_at"]
    list_filter = ["organisation"]
    list_select_related = ["organisation"]
    search_fields = ["organisation__name", "text"]
    ordering = ["organisation__name", "-number"]
    autocomplete_fields = ["organisation"]
    fields = ["organisation", "text", "changes"]

    def get_fields(self, request: HttpRequest, obj: TermsVersion | None = None) -> Any:
        return ["organisation", "number", "published_at", "text", "changes"] if obj else self.fields

    def has_change_permission(self, request: HttpRequest, obj: TermsVersion | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: TermsVersion | None = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: TermsVersion, form: Any, change: bool) -> None:
        obj.pk = publish_terms(**{name: form.cleaned_data[name] for name in ("organisation", "text", "changes")}).pk
        obj.refresh_from_db()
