from typing import Any

from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache
from django.views.generic import TemplateView

from apps.consent.views.authorization import DENIAL_NOTICE


@method_decorator(never_cache, name="dispatch")
class HomeView(TemplateView):
    """The organisation's home page here: where to go, and what has just happened."""

    template_name = "consent/home.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(denial=self.request.session.pop(DENIAL_NOTICE, None), **kwargs)
