from typing import Any

from django.views.generic import TemplateView

from apps.consent.views.authorization import DENIAL_NOTICE


class HomeView(TemplateView):
    """The organisation's home page here: where to go, and what has just happened."""

    template_name = "consent/home.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(denial=self.request.session.pop(DENIAL_NOTICE, None), **kwargs)
