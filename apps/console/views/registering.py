"""Registering an application, and what the form keeps until then."""

import uuid
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from apps.console.drafting import DraftView, ReturnsWhatWasTyped
from apps.console.forms.registration import RegistrationForm
from apps.console.forms.version import ScopesForm, asked_by_text, initial_of_draft
from apps.console.permissions import DeveloperView, SignedInView
from apps.console.previewing import preview_of
from apps.developers import rules, selectors
from apps.developers.errors import AlreadyRegisteredError, FormOverError, RefusedError
from apps.developers.models import Application, Draft, Status, TermsVersion
from apps.developers.services import applications
from apps.developers.services.terms import current_terms
from apps.limits.counting import bucket, take
from apps.limits.pages import with_retry_after
from apps.organisations.middleware import organisation_of
from apps.organisations.models import Organisation


class RegistrationPage(SignedInView):
    """The form, as it was sent or as it begins, and the page around it."""

    def make_form(self, initial: dict[str, Any] | None = None) -> RegistrationForm:
        """Return the form with what was sent; with `initial`, as it begins."""
        organisations = list(Organisation.objects.order_by("name"))
        data = self.request.POST if initial is None else None
        return RegistrationForm(
            data, initial=initial, organisations=organisations, terms=_terms_in_force(organisations)
        )

    def show(
        self,
        form: ScopesForm,
        *,
        status: int = 200,
        refusal: str = "",
        draft: Draft | None = None,
        form_key: uuid.UUID | None = None,
    ) -> HttpResponse:
        if not isinstance(form, RegistrationForm):
            raise TypeError("Not the form of this page.")
        counts = selectors.all_comparable_counts()
        chosen = form.chosen_organisation or organisation_of(self.request)
        sections = form.profile_scopes(
            {profile: counts.get((chosen.pk, profile), (0, {})) for profile in form.profiles}
        )
        context = {
            "form": form,
            "form_key": form_key or form.key or uuid.uuid4(),
            "profile_scopes": sections,
            "reason_characters": rules.REASON_CHARACTERS,
            "organisations": form.organisations,
            "terms": list(form.terms_in_force.values()),
            "draft_address": reverse("developer:draft"),
            "asked_by": asked_by_text("{number}", "{all}"),
            "asked_by_one": asked_by_text("{number}", 1),
            "asked_by_none": asked_by_text(0, 0),
            "counts": {
                str(organisation.pk): {
                    profile: {"alike": alike, "scopes": scopes}
                    for profile in form.profiles
                    for alike, scopes in [counts.get((organisation.pk, profile), (0, {}))]
                }
                for organisation in form.organisations
            },
            "chosen_organisation": chosen,
            "preview": preview_of(form, sections),
            "draft": draft,
            "refusal": refusal,
        }
        return render(self.request, "console/registration.html", context, status=status)


class RegistrationView(ReturnsWhatWasTyped, RegistrationPage, DeveloperView):
    """Takes a registration; shows client ID and client secret, once (CONTRACT section 9)."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest) -> HttpResponse:
        draft = Draft.objects.filter(user=self.user, application=None).first()
        initial: dict[str, Any] = {"organisation": str(organisation_of(request).pk)}
        if draft is not None:
            initial |= initial_of_draft(draft.fields, lists={"scopes", "optional", "terms"})
        form = self.make_form(initial)
        if not set(initial.get("terms", [])) >= {str(version.pk) for version in form.terms_in_force.values()}:
            # A tick is about what the page offered to read then.
            form.initial.pop("agreement", None)
        too_many = selectors.unapproved_applications(self.user).count() >= rules.MOST_UNAPPROVED_APPLICATIONS
        return self.show(form, draft=draft, refusal=str(applications.too_many_unapproved()) if too_many else "")

    @sensitive_variables("secret")
    def post(self, request: HttpRequest) -> HttpResponse:
        form = self.make_form()
        limit = take(bucket("registration", self.user.pk), about=self.user).refusal
        if limit is not None:
            return with_retry_after(self.show(form, refusal=limit.sentence), limit)
        if not form.is_valid():
            return self.show(form, status=400)
        organisation = form.cleaned_data["organisation"]
        application_id = form.key and applications.id_of_registration(user=self.user, form_key=form.key)
        try:
            application, secret = applications.register_application(
                actor=self.user,
                organisation=organisation,
                terms=form.terms_in_force[organisation.pk],
                optional_scopes=form.optional_scopes,
                application_id=application_id,
                **form.fields_to_register,
            )
        except ValidationError as error:
            form.add_errors(error)
            return self.show(form, status=400)
        except AlreadyRegisteredError as refusal:
            return self._show_registered_before(form, refusal.application)
        except RefusedError as refusal:
            return self.show(form, status=409, refusal=str(refusal.message))
        context = {"application": application, "client_secret": secret}
        return render(request, "console/registered.html", context)

    def _show_registered_before(self, form: RegistrationForm, application: Application) -> HttpResponse:
        text = ""
        if application.status == Status.DELETED:
            text = _(
                "You have registered “%(name)s” with this form, and it has been deleted. Press Add again to add it."
            )
        elif form.text_of("name").strip() != application.name:
            # They went back to the form, and wrote of another application.
            text = _("You have registered “%(name)s” with this form. If this is another application, press Add again.")
        if text:
            return self.show(form, status=409, refusal=text % {"name": application.name}, form_key=uuid.uuid4())
        membership = selectors.find_membership(user=self.user, application_id=application.pk)
        context = {"application": application, "membership": membership}
        return render(self.request, "console/registered_before.html", context, status=409)


class RegistrationDraftView(RegistrationPage, DraftView):
    """Keeps what is typed into the registration form."""

    def form_address(self) -> str:
        return reverse("developer:application-create")

    def form_key(self, form: ScopesForm) -> str | None:
        key = form.key if isinstance(form, RegistrationForm) else None
        return str(key) if key else None

    def refuse(self, form: ScopesForm, refusal: RefusedError) -> HttpResponse:
        # What was typed stays, in a form of its own.
        key = uuid.uuid4() if isinstance(refusal, FormOverError) else None
        return self.show(form, status=409, refusal=str(refusal.message), form_key=key)


def _terms_in_force(organisations: list[Organisation]) -> dict[uuid.UUID, TermsVersion]:
    """Return the terms in force by organisation; publishes the text we come with where there are none yet."""
    latest = {version.organisation_id: version for version in selectors.latest_terms()}
    return {each.pk: latest.get(each.pk) or current_terms(each) for each in organisations}
