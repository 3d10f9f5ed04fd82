"""The developer terms of use: anybody may read them, owners are asked to agree."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.generic import View

from apps.accounts.selectors import signed_in_user
from apps.console.terms import NOT_NOW
from apps.developers import selectors
from apps.developers.models import TermsVersion
from apps.developers.services.terms import agree_to_terms, current_terms
from apps.organisations.middleware import organisation_of


@method_decorator(never_cache, name="dispatch")
class TermsPage(View):
    """One version of the terms, and which others there are."""

    def show(self, terms: TermsVersion) -> HttpResponse:
        request = self.request
        versions = list(TermsVersion.objects.filter(organisation=terms.organisation).defer("text"))
        context: dict[str, Any] = {
            "terms": terms,
            "versions": versions,
            "latest": versions[0],
            "is_latest": terms.number == versions[0].number,
            "next": way_on(request),
        }
        if request.user.is_authenticated:
            user = signed_in_user(request)
            context["is_asked"] = selectors.terms_to_agree(user).filter(pk=terms.pk).exists()
            context["agreement"] = terms.agreements.filter(user=user).first()
        return render(request, "console/terms.html", context)


class TermsView(TermsPage):
    """The terms in force of the organisation whose site this is."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        return self.show(current_terms(organisation_of(request)))


class TermsVersionView(TermsPage):
    """One version. Owners agree to the one in force, or put it off until they log in the next time."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, slug: str, number: int) -> HttpResponse:
        return self.show(_find(slug, number))

    def post(self, request: HttpRequest, slug: str, number: int) -> HttpResponse:
        if not request.user.is_authenticated:
            return redirect(f"{reverse('account_login')}?next={request.path}")
        terms = _find(slug, number)
        if request.POST.get("decision") == "later":
            request.session[NOT_NOW] = True
            return redirect(way_on(request) or "developer:applications")
        user = signed_in_user(request)
        if not selectors.terms_to_agree(user).filter(pk=terms.pk).exists():
            # There is a newer version meanwhile, or nothing to agree to.
            return redirect("developer:terms-version", slug, current_terms(terms.organisation).number)
        agree_to_terms(user=user, terms=terms)
        messages.success(request, _("Thank you. You have agreed to version %(number)s.") % {"number": terms.number})
        return redirect(way_on(request) or "developer:applications")


def way_on(request: HttpRequest) -> str:
    """Return where the user was going, if that is a page of this site; else an empty string."""
    wanted = str(request.POST.get("next") or request.GET.get("next") or "")
    try:
        is_safe = url_has_allowed_host_and_scheme(
            wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
        )
    except ValueError:
        is_safe = False
    return wanted if is_safe and wanted.startswith("/") else ""


def _find(slug: str, number: int) -> TermsVersion:
    terms = TermsVersion.objects.select_related("organisation").filter(organisation__slug=slug, number=number).first()
    if terms is None:
        raise Http404
    return terms
