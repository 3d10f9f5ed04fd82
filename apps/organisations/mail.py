"""Mail in an organisation's name: written in the request that has the reason for it, sent by the background worker."""

import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from email.utils import formataddr, parseaddr
from typing import Any

from django.conf import settings
from django.template import Context, Engine
from procrastinate.types import JSONDict

from apps.organisations.letters import Letter
from apps.organisations.models import Organisation
from apps.organisations.queue import queue_jobs
from apps.organisations.tasks import send_mail


def sender_of(organisation: Organisation) -> str:
    """Return who mail of the organisation is from: its name, at the address that the installation sends from."""
    _name, address = parseaddr(settings.DEFAULT_FROM_EMAIL)
    return formataddr((_one_line(organisation.name), address))


def queue_mail(*, organisation: Organisation, to: Iterable[str] | str, template: str, context: dict[str, Any]) -> None:
    """Write the mail `template` and queue it for everyone in `to`, one mail each: nobody sees the others' addresses.

    The templates are `mail/<template>_subject.txt`, `mail/<template>.txt` and `mail/<template>.html`; they get
    `context` and `organisation`. In the HTML all that `context` brings is escaped, in the other two nothing is.

    They leave with the commit of the caller's transaction, and never if it is rolled back. An address that comes
    twice gets one mail.
    """
    addresses: dict[str, str] = {}
    for address in [to] if isinstance(to, str) else to:
        addresses.setdefault(address.casefold(), address)
    if not addresses:
        return
    values = {**context, "organisation": organisation}
    letter = Letter(
        to="",
        sender=sender_of(organisation),
        reply_to=organisation.support_email,
        subject=_one_line(_render(f"mail/{template}_subject.txt", values, autoescape=False)),
        text=_render(f"mail/{template}.txt", values, autoescape=False).strip() + "\n",
        html=_render(f"mail/{template}.html", values, autoescape=True).strip() + "\n",
    )
    queue_letters(template, *(replace(letter, to=address) for address in addresses.values()))


def queue_letters(template: str, *letters: Letter) -> None:
    """Queue letters in the caller's transaction. `template` names them in the log."""
    jobs: list[JSONDict] = [{"template": template, "sealed": letter.seal()} for letter in letters]
    queue_jobs(send_mail, *jobs)


def _render(name: str, values: dict[str, Any], *, autoescape: bool) -> str:
    return str(Engine.get_default().get_template(name).render(Context(values, autoescape=autoescape)))


def _one_line(text: str) -> str:
    """Return `text` as a header may have it: no line break of any kind, no other control character (RFC 5322 2.2)."""
    return "".join(character for character in " ".join(text.split()) if unicodedata.category(character) != "Cc")
