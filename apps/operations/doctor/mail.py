"""The mail server: connected to and logged in at, and nothing sent unless asked to."""

import smtplib
import ssl
from collections.abc import Iterator
from email.utils import parseaddr

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.core.mail.backends.smtp import EmailBackend

from apps.operations.doctor.findings import Finding, Patient, ok, problem, warning

#: Seconds for each answer of the mail server.
TIMEOUT = 8


def examine_mail(patient: Patient) -> Iterator[Finding]:
    """Would the mail server take a mail from us?"""
    server = get_connection(timeout=TIMEOUT)
    if not isinstance(server, EmailBackend):
        name = settings.EMAIL_BACKEND.rpartition("backends.")[2].split(".")[0]
        yield warning(
            f"mails are not sent, but go to the backend {name}: nobody can confirm an address.",
            "Set EMAIL_URL=smtp+tls://user:password@mail.example.com:587",
        )
        return
    where = f"{server.host}:{server.port}"
    try:
        server.open()
        yield from _ask(server, where)
        if patient.mail_to:
            EmailMessage(
                "A test mail of Countersign", "If you can read this, mails arrive.\n", to=[patient.mail_to]
            ).send()
            yield ok(f"{where} has taken a mail to {patient.mail_to}: look whether it arrives, and not as spam")
    except smtplib.SMTPAuthenticationError as error:
        yield problem(
            f"{where} refuses the log-in (status {error.smtp_code}).",
            "Correct user and password in EMAIL_URL, special characters percent-encoded.",
        )
    except smtplib.SMTPNotSupportedError:
        yield problem(
            f"{where} does not offer what EMAIL_URL asks for.",
            "Use smtp+tls:// for STARTTLS (mostly port 587), smtp+ssl:// for TLS at once (mostly 465).",
        )
    except ssl.SSLError as error:
        yield problem(
            f"TLS with {where} fails: {error.reason or error}.",
            "Use smtp+tls:// for STARTTLS (mostly port 587), smtp+ssl:// for TLS at once (mostly 465); the server's"
            " certificate must be valid for its name.",
        )
    except smtplib.SMTPRecipientsRefused as error:
        code = next(iter(error.recipients.values()))[0]
        yield problem(f"{where} refuses the recipient (status {code}).", "Correct --mail-to.")
    except (smtplib.SMTPException, OSError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        yield problem(f"{where} cannot be used: {reason}.", "Correct host and port in EMAIL_URL; open the firewall.")
    finally:
        # Not its own way to say goodbye, which fails when the session has. Django keeps what failed in the middle.
        for connection in (server.connection, getattr(server, "_partial_connection", None)):
            if connection is not None:
                connection.close()


def _ask(server: EmailBackend, where: str) -> Iterator[Finding]:
    """Name our sender, and take it back: the server refuses there what it would refuse of a mail."""
    connection = server.connection
    assert connection is not None  # noqa: S101 (it is open)
    _, sender = parseaddr(settings.DEFAULT_FROM_EMAIL)
    code, _ = connection.mail(sender)
    connection.rset()
    is_protected = server.use_tls or server.use_ssl
    if code >= 400:
        yield problem(
            f"{where} refuses mails from {sender} (status {code}).",
            "Set DEFAULT_FROM_EMAIL to an address that this account may send from.",
        )
    elif not is_protected and server.host not in ("localhost", "127.0.0.1", "::1"):
        yield warning(
            f"mails travel to {where} in the clear, and with them links that reset passwords.",
            "Use smtp+tls:// in EMAIL_URL.",
        )
    else:
        yield ok(f"{where} takes mails from {sender}{', by TLS' if is_protected else ''}")
