import uuid
from collections.abc import Callable

from django.contrib import messages
from django.core.exceptions import BadRequest, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.decorators import method_decorator
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.debug import sensitive_variables

from apps.console.forms.webhook import WebhookForm, WebhookKeyForm
from apps.console.permissions import TeamView
from apps.console.views.actions import ActionView
from apps.developers.errors import RefusedError
from apps.webhooks import services
from apps.webhooks.models import KeyKind
from apps.webhooks.selectors import attempts_at, deliveries_of, find_delivery, find_endpoint, keys_of


class WebhookPage(TeamView):
    def show(self, form: WebhookForm | None = None, *, status: int = 200) -> HttpResponse:
        endpoint = find_endpoint(self.application)
        keys = keys_of(endpoint) if endpoint is not None else []
        forms = [
            WebhookKeyForm(
                initial={"kind": pair.kind.value, "seen": services.mark_of(pair.newest)},
                auto_id=f"id_{pair.kind}_%s",
                has_previous=pair.previous is not None,
            )
            for pair in keys
        ]
        context = self.get_context_data(
            endpoint=endpoint,
            form=form or WebhookForm(initial={"url": endpoint.url if endpoint else ""}),
            keys=list(zip(keys, forms, strict=True)),
            page=deliveries_of(self.application, page=self.request.GET.get("page")),
        )
        return render(self.request, "console/webhook.html", context, status=status)

    def show_delivery(self, notification_id: str) -> HttpResponse:
        """Show one notification with all its attempts, by pages."""
        notification = find_delivery(self.application, notification_id)
        if notification is None:
            raise Http404
        context = self.get_context_data(
            endpoint=find_endpoint(self.application),
            notification=notification,
            page=attempts_at(notification, page=self.request.GET.get("page")),
        )
        return render(self.request, "console/webhook_delivery.html", context)

    def refuse(self, refusal: RefusedError) -> HttpResponse:
        """Show the page as it is now, with the reason."""
        messages.error(self.request, str(refusal.message))
        return self.show(status=409)

    def show_keys(self, keys: dict[KeyKind, str]) -> HttpResponse:
        """Show new keys, the only time that they are anywhere to be seen; no redirect, as they would have to wait."""
        shown = [(kind, kind.label, value) for kind, value in keys.items()]
        return render(self.request, "console/webhook_keys.html", self.get_context_data(keys=shown))

    def back(self) -> HttpResponse:
        return redirect("developer:webhook", self.application.pk)


class WebhookView(WebhookPage):
    """Where the application is told of what happened, by which keys it knows us, and what came of each delivery."""

    http_method_names = ["get", "head", "post"]

    def get(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        notification_id = request.GET.get("delivery")
        return self.show() if notification_id is None else self.show_delivery(notification_id)

    @method_decorator(sensitive_variables("keys"))
    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = WebhookForm(request.POST)
        if not form.is_valid():
            return self.show(form, status=400)
        try:
            keys = services.set_endpoint(application=self.application, actor=self.user, url=form.cleaned_data["url"])
        except ValidationError as error:
            form.add_error("url", error)
            return self.show(form, status=400)
        except RefusedError as refusal:
            return self.refuse(refusal)
        if keys:
            return self.show_keys(keys)
        messages.success(request, _("Saved. Notifications go there from now on."))
        return self.back()


class WebhookKeyView(ActionView, WebhookPage):
    """Makes a new key and shows it in the answer."""

    page = "developer:webhook"

    @method_decorator(sensitive_variables("value"))
    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        form = WebhookKeyForm(request.POST)
        if not form.is_valid():
            raise BadRequest
        kind = form.cleaned_data["kind"]
        try:
            value = services.rotate_key(
                application=self.application,
                actor=self.user,
                kind=kind,
                overlap=form.cleaned_data["overlap"],
                seen=form.cleaned_data["seen"],
            )
        except RefusedError as refusal:
            return self.refuse(refusal)
        return self.show_keys({kind: value})


class WebhookActionView(ActionView, WebhookPage):
    """The page's buttons: pause, resume, a test message, use the new key alone, and an end of it all."""

    page = "developer:webhook"

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        step = self._steps.get(request.POST.get("action", ""))
        if step is None:
            raise BadRequest
        try:
            has_changed, done = step(self)
        except RefusedError as refusal:
            return self.refuse(refusal)
        if has_changed:
            messages.success(request, str(done))
        else:
            messages.info(request, _("Nothing was changed: that had been done before."))
        return self.back()

    def _pause(self) -> tuple[bool, str | Promise]:
        has_changed = services.pause(application=self.application, actor=self.user)
        return has_changed, gettext_lazy("Paused. What there is to tell waits for 30 days.")

    def _resume(self) -> tuple[bool, str | Promise]:
        has_changed = services.resume(application=self.application, actor=self.user)
        return has_changed, gettext_lazy("Resumed. What has waited is sent now.")

    def _test(self) -> tuple[bool, str | Promise]:
        services.send_test(application=self.application)
        return True, gettext_lazy("The test message is on its way. Load this page again in a moment to see the answer.")

    def _remove(self) -> tuple[bool, str | Promise]:
        has_changed = services.remove_endpoint(application=self.application, actor=self.user)
        return has_changed, gettext_lazy("Removed. Your application is told nothing any more.")

    def _end_previous(self, kind: KeyKind) -> tuple[bool, str | Promise]:
        has_changed = services.end_previous_key(application=self.application, actor=self.user, kind=kind)
        return has_changed, gettext_lazy("Only the new key is used from now on.")

    _steps: dict[str, Callable[["WebhookActionView"], tuple[bool, str | Promise]]] = {
        "pause": _pause,
        "resume": _resume,
        "test": _test,
        "remove": _remove,
        "end_api_key": lambda self: self._end_previous(KeyKind.API_KEY),
        "end_signing_secret": lambda self: self._end_previous(KeyKind.SIGNING_SECRET),
    }


class WebhookAgainView(ActionView, WebhookPage):
    """Sends a notification again."""

    page = "developer:webhook"

    def post(self, request: HttpRequest, **kwargs: object) -> HttpResponse:
        try:
            notification_id = uuid.UUID(request.POST.get("notification", ""))
        except ValueError as error:
            raise BadRequest from error
        try:
            services.redeliver(application=self.application, notification_id=notification_id)
        except RefusedError as refusal:
            return self.refuse(refusal)
        messages.success(request, _("It is being sent again. Load this page again in a moment to see the answer."))
        return self.back()
