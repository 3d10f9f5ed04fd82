from django import template

from apps.telemetry.work import current_request_id

register = template.Library()


@register.simple_tag
def request_id() -> str:
    """Return what a person can quote of the request that is being answered; error pages have no context."""
    return current_request_id()
