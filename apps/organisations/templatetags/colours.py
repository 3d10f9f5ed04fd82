"""The brand colours of templates."""

from django import template

from apps.organisations import colours

register = template.Library()


@register.filter
def text_on(colour: str) -> str:
    """Return the colour, white or black, of text that is readable on `colour` (# and six hexadecimal digits)."""
    return colours.text_on(colour)
