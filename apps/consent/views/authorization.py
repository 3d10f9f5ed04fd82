from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from django.contrib.auth import logout
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.generic import View
from oauth2_provider.exceptions import FatalClientError, OAuthToolkitError
from oauth2_provider.http import OAuth2ResponseRedirect
from oauth2_provider.views.base import BaseAuthorizationView
from oauthlib.oauth2.rfc6749 import errors

from apps.accounts.selectors import signed_in_user
from apps.activity import recorder
from apps.activity.models import Kind
from apps.connections.models import Connection
from apps.consent import pending, services
from apps.consent.forms import ConsentForm
from apps.consent.selectors import shown_scopes
from apps.consent.state import PartnerState, read_partner_state
from apps.developers.models import Application
from apps.limits.addresses import network_of
from apps.limits.counting import bucket, take
from apps.limits.pages import refuse
from apps.limits.refusals import Refusal
from apps.organisations.middleware import organisation_of
from apps.telemetry.work import note_outcome
from apps.tokens.backend import append_query
from apps.tokens.errors import ApplicationNotApprovedError, application_of, describe
from apps.tokens.issuing import profile_of
from apps.tokens.parameters import read_query
from apps.tokens.profiles import TokenProfile

#: The session key of what the home page says after a refusal that goes there.
DENIAL_NOTICE = "denial_notice"
#: Characters of a request beside its `state`: it is remembered while somebody logs in, and anybody can send one.
LONGEST_WITHOUT_STATE = 10_000


@dataclass(frozen=True)
class AuthorizationRequest:
    """A valid authorization request: who asks for what, and where the answer goes."""

    application: Application
    scopes: list[str]
    redirect_uri: str
    has_redirect_uri: bool
    state: str | None
    partner_state: PartnerState
    prompts: frozenset[str]

    @property
    def profile(self) -> TokenProfile:
        return profile_of(self.application)


@method_decorator(never_cache, name="dispatch")
class AuthorizationView(BaseAuthorizationView):
    """Every authorize door (CONTRACT sections 2 and 3).

    The request is validated before anything is shown, and again when the user answers: the form carries nothing
    of it, the URL does.
    """

    # No HEAD: a link checker must not be given a code.
    http_method_names = ["get", "post"]
    authorization: AuthorizationRequest

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if str(request.method).lower() not in self.http_method_names:
            return self.http_method_not_allowed(request)
        self.oauth2_data: dict[str, Any] = {}
        try:
            self.authorization = self._read_request(request)
        except FatalClientError as error:
            return self._refuse(error)
        except OAuthToolkitError as error:
            return self._send_error(error.oauthlib_error)
        request.is_authorizing = True  # type: ignore[attr-defined]
        if refusal := self._find_refusal(request):
            return refuse(request, refusal)
        if not request.user.is_authenticated:
            return self.handle_no_permission()
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        asked = self.authorization
        connection = (
            Connection.objects.active().filter(user=signed_in_user(request), application=asked.application).first()
        )
        may_skip = asked.prompts.isdisjoint({"consent", "login"})
        if connection is not None and connection.covers(asked.scopes) and may_skip:
            return self._send_code(connection, asked.scopes)
        if "none" in asked.prompts:
            return self._send_error(errors.ConsentRequired(state=asked.state))
        if "login" in asked.prompts:
            return self._send_to("account_reauthenticate")
        now_pending = self._as_pending(request.get_full_path())
        before_login = pending.find(request, pending.way_back(now_pending.path))
        # Only what the log-in page showed has been agreed to; the application may have got more scopes since.
        is_agreed = before_login and before_login.is_answered and before_login.notice == now_pending.notice
        if asked.application.is_trusted and is_agreed:
            return self._allow(asked.scopes)
        pending.remember(request, now_pending)
        return self._show_consent(ConsentForm(optional_scopes=self._optional_scopes()))

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        asked = self.authorization
        optional = self._optional_scopes()
        form = ConsentForm(request.POST, optional_scopes=optional)
        if not form.is_valid():
            return self._show_consent(form, status=400)
        if form.cleaned_data["decision"] == "deny":
            return self._deny()
        if form.cleaned_data["decision"] == "switch-user":
            logout(request)
            return self._send_to("account_login")
        ticked = form.cleaned_data["optional_scopes"]
        granted = [scope for scope in asked.scopes if scope not in optional or scope in ticked]
        if asked.scopes and not granted:
            form.add_error(None, _("Tick at least one, or press Deny."))
            return self._show_consent(form, status=400)
        return self._allow(granted)

    def handle_no_permission(self) -> HttpResponse:  # type: ignore[override]  # it may go to the client, too
        """Send the user to log in, and back here; or tell the client, if it wants no page (`prompt=none`)."""
        asked = self.authorization
        if "none" in asked.prompts:
            return self._send_error(errors.LoginRequired(state=asked.state))
        return self._send_to("account_login")

    # --- reading --------------------------------------------------------------------------------------

    def _read_request(self, request: HttpRequest) -> AuthorizationRequest:
        scopes, asked = self.validate_authorization_request(request)
        application: Application = asked["request"].client
        ours, repeated = read_query(request, known=("redirect_uri", "prompt", "approval_prompt"))
        prompts = set(ours.get("prompt", "").split())
        if ours.get("approval_prompt") == "force":
            prompts.add("consent")
        problem = f"Repeated or malformed parameter: {', '.join(repeated)}." if repeated else ""
        if len(request.get_full_path()) - len(quote(asked["state"] or "")) > LONGEST_WITHOUT_STATE:
            problem = "The request is too long."
        if "none" in prompts and len(prompts) > 1:
            problem = "The parameter prompt combines none with another value."
        if problem:
            error = errors.InvalidRequestError(description=problem, request=asked["request"])
            error.application = application
            raise OAuthToolkitError(error=error)
        reads_state = profile_of(application).reads_state
        return AuthorizationRequest(
            application=application,
            scopes=scopes,
            redirect_uri=asked["redirect_uri"],
            has_redirect_uri="redirect_uri" in ours,
            state=asked["state"],
            partner_state=read_partner_state(asked["state"]) if reads_state else PartnerState(),
            prompts=frozenset(prompts),
        )

    def _find_refusal(self, request: HttpRequest) -> Refusal | None:
        """Count the page: for the user, and for the application at this address, where others cannot use it up."""
        application = self.authorization.application
        buckets = [bucket("authorize_address", application.pk, network_of(request))]
        user = request.user
        if user.is_authenticated:
            buckets.append(bucket("authorize", user.pk))
        elif not request.session.session_key and "none" not in self.authorization.prompts:
            # It will leave a row, whatever the application.
            buckets.append(bucket("new_session", network_of(request)))
        return take(*buckets, application=application, about=user if user.is_authenticated else None).refusal

    def _optional_scopes(self) -> list[str]:
        asked = self.authorization
        optional = asked.application.requested_scopes.filter(scope__in=asked.scopes, is_optional=True)
        return list(optional.values_list("scope", flat=True))

    def _as_pending(self, path: str) -> pending.PendingAuthorization:
        application = self.authorization.application
        groups = shown_scopes(application, self.authorization.scopes) if application.is_trusted else []
        return pending.PendingAuthorization(
            path=path,
            application_name=application.name,
            shown_scopes=[str(scope.label) for _category, scopes in groups for scope in scopes],
            form_target=pending.form_target(self.authorization.redirect_uri),
            is_trusted=application.is_trusted,
        )

    def _send_to(self, name: str) -> HttpResponse:
        """Send the user to a log-in page, and from there back to this request."""
        path = self._path_after_login()
        pending.remember(self.request, self._as_pending(path))
        return redirect(f"{reverse(name)}?{urlencode({'next': pending.way_back(path)})}")

    def _path_after_login(self) -> str:
        """Return this request's address without `prompt=login`: logging in is what that asks for."""
        if "login" not in self.authorization.prompts:
            return self.request.get_full_path()
        query = self.request.GET.copy()
        query["prompt"] = " ".join(value for value in str(query["prompt"]).split() if value != "login")
        return f"{self.request.path}?{query.urlencode()}"

    # --- answering --------------------------------------------------------------------------------------

    def _show_consent(self, form: ConsentForm, *, status: int = 200) -> HttpResponse:
        asked = self.authorization
        context = {
            "authorization": asked,
            "application": asked.application,
            "form": form,
            "scope_groups": shown_scopes(asked.application, asked.scopes),
            "message": asked.partner_state.message,
            "destination": urlsplit(asked.redirect_uri).netloc or asked.redirect_uri,
        }
        return render(self.request, "consent/authorize.html", context, status=status)

    def _allow(self, scopes: list[str]) -> HttpResponse:
        asked = self.authorization
        with transaction.atomic():
            connection = services.grant_consent(
                user=signed_in_user(self.request),
                application=asked.application,
                asked_scopes=asked.scopes,
                granted_scopes=scopes,
            )
            return self._send_code(connection, scopes)

    def _deny(self) -> HttpResponse:
        asked = self.authorization
        error = errors.AccessDeniedError(state=asked.state)
        recorder.record(asked.application.pk, Kind.DENIAL)
        note_outcome(error.error)
        user = signed_in_user(self.request)
        services.deny_consent(user=user, application=asked.application, asked_scopes=asked.scopes)
        if not asked.profile.denial_goes_home:
            return self._leave(self._error_address(error))
        self.request.session[DENIAL_NOTICE] = {
            "application_name": asked.application.name,
            "back": self._error_address(error),
        }
        pending.forget(self.request)
        return redirect("home")

    def _send_code(self, connection: Connection, scopes: list[str]) -> HttpResponse:
        asked = self.authorization
        credentials = {
            "user": signed_in_user(self.request),
            "connection": connection,
            "granted_scopes": scopes,
            "has_redirect_uri": asked.has_redirect_uri,
            "partner_metadata": asked.partner_state.partner_metadata,
        }
        address, _headers, _body, _status = self.get_oauthlib_core().create_authorization_response(
            self.request, scopes, credentials, allow=True
        )
        recorder.record(asked.application.pk, Kind.AUTHORISATION)
        note_outcome("ok")
        return self._leave(address)

    def _send_error(self, error: errors.OAuth2Error) -> HttpResponse:
        application = application_of(error) or self.authorization.application
        recorder.record(application.pk, Kind.ERROR, error.error)
        note_outcome(error.error)
        return self._leave(self._error_address(error))

    def _error_address(self, error: errors.OAuth2Error) -> str:
        redirect_uri = error.redirect_uri or self.authorization.redirect_uri
        issuer = organisation_of(self.request).issuer
        return append_query(redirect_uri, [*describe(error).twotuples, ("iss", issuer)])

    def _leave(self, address: str) -> HttpResponse:
        """Send the browser to the application. The redirect URI was checked against the registered ones."""
        pending.forget(self.request)
        return OAuth2ResponseRedirect(address, allowed_schemes=[urlsplit(address).scheme])

    def _refuse(self, error: FatalClientError) -> HttpResponse:
        """Show what is wrong. Nothing goes to the redirect URI: it may be anybody's (RFC 6749 4.1.2.1)."""
        self._record_refusal(error.oauthlib_error)
        problems = {
            errors.MissingClientIdError: "missing-client-id",
            errors.InvalidClientIdError: "unknown-application",
            ApplicationNotApprovedError: "not-approved",
            errors.MissingRedirectURIError: "no-redirect-uri",
            errors.InvalidRedirectURIError: "redirect-uri",
            errors.MismatchingRedirectURIError: "redirect-uri",
        }
        context = {
            "problem": problems.get(type(error.oauthlib_error), "malformed"),
            "error": error.oauthlib_error,
        }
        return render(self.request, "consent/refused.html", context, status=400)

    def _record_refusal(self, error: errors.OAuth2Error) -> None:
        """Count the refusal for the application, if there is one; the team learns which redirect URI did not match."""
        is_mismatch = isinstance(error, errors.MismatchingRedirectURIError | errors.InvalidRedirectURIError)
        note_outcome(recorder.REDIRECT_URI_MISMATCH if is_mismatch else error.error)
        application = application_of(error)
        if application is None:
            return
        if is_mismatch:
            recorder.record(application.pk, Kind.ERROR, recorder.REDIRECT_URI_MISMATCH)
            recorder.note_redirect_mismatch(application.pk, error.redirect_uri, application.redirect_uri_list)
        else:
            recorder.record(application.pk, Kind.ERROR, error.error)


@method_decorator(never_cache, name="dispatch")
class ContinueView(View):
    """Leads from a short address back to the authorization request that it stands for (pending.way_back)."""

    def get(self, request: HttpRequest, key: str) -> HttpResponse:
        found = pending.find(request, request.path)
        if found is None:
            raise Http404
        return OAuth2ResponseRedirect(request.build_absolute_uri(found.path), allowed_schemes=[request.scheme])
