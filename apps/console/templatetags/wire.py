import re

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()

#: A JSON name with its colon, a JSON string, a JSON word or number, or the name of a form field.
_TOKEN = re.compile(
    r"""(?P<name>"(?:[^"\\]|\\.)*"(?=:)|^\w+(?=[:=]))"""
    r"""|(?P<text>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<word>(?<=[ \[])(?:-?\d[\d.eE+-]*|true|false|null)(?=,?$))""",
    re.MULTILINE,
)


@register.filter
def coloured(body: str) -> SafeString:
    """Return a body as HTML, each name and value of it in a span of its kind."""
    parts: list[tuple[SafeString | str]] = []
    end = 0
    for match in _TOKEN.finditer(body):
        parts.append((body[end : match.start()],))
        parts.append((format_html('<span class="wire-{}">{}</span>', match.lastgroup, match.group()),))
        end = match.end()
    parts.append((body[end:],))
    return format_html_join("", "{}", parts)
