"""What people have to set up: organisations, reviewers, administrators, terms."""

from collections.abc import Iterator

from allauth.mfa.models import Authenticator
from django.conf import settings
from django.http.request import validate_host

from apps.accounts.models import User
from apps.developers.models import Application, TermsVersion
from apps.developers.terms_text import FIRST_TERMS
from apps.operations.doctor.findings import Finding, Patient, ok, plural, problem, warning
from apps.organisations.models import Organisation, Reviewer


def examine_organisations(patient: Patient) -> Iterator[Finding]:
    """Is there one to serve, and is each answered at its domain?"""
    organisations = list(Organisation.objects.order_by("slug"))
    if not organisations:
        yield problem(
            "there is no organisation, so every page fails.",
            "Run manage.py create_organisation --slug acme --name Acme --domain sign.example.com",
        )
        return
    unserved = [each.domain for each in organisations if not validate_host(each.domain, settings.ALLOWED_HOSTS)]
    for domain in unserved:
        yield problem(
            f"{domain} is an organisation's domain, and not in ALLOWED_HOSTS: no request to it is answered.",
            f"Append it: ALLOWED_HOSTS={','.join([*settings.ALLOWED_HOSTS, *unserved])}",
        )
    if not any(each.is_default for each in organisations):
        yield problem(
            "no organisation is the default one, so hosts that are nobody's domain fail.", "Make one so in /admin/."
        )
    elif not unserved:
        yield ok(f"{plural(len(organisations), 'organisation')}, each served at its domain")


def examine_reviewers(patient: Patient) -> Iterator[Finding]:
    """Does each organisation have somebody who decides about applications?"""
    without = Organisation.objects.exclude(pk__in=Reviewer.objects.values("organisation")).order_by("slug")
    for organisation in without:
        yield warning(
            f"{organisation.slug} has no reviewer: applications wait for ever.",
            f"Run manage.py create_user --reviewer --organisation {organisation.slug} --email …",
        )
    if not without:
        yield ok("each organisation has one")


def examine_administrators(patient: Patient) -> Iterator[Finding]:
    """Is there one, and does each have a second factor?"""
    administrators = User.objects.filter(is_active=True, is_staff=True)
    single = administrators.exclude(pk__in=Authenticator.objects.values("user")).count()
    if not administrators:
        yield warning("there is none.", "Run manage.py create_user --administrator --email …")
    elif single:
        yield warning(
            f"{plural(single, 'administrator')} without a second factor.", "Let each add one at /account/2fa/."
        )
    else:
        yield ok(f"{plural(administrators.count(), 'administrator')}, each with a second factor")


def examine_terms(patient: Patient) -> Iterator[Finding]:
    """Has each organisation published developer terms of its own?"""
    own = TermsVersion.objects.exclude(text=FIRST_TERMS)
    without = Organisation.objects.exclude(pk__in=own.values("organisation")).order_by("slug")
    for organisation in without:
        yield warning(
            f"{organisation.slug} shows developers the terms that Countersign comes with.",
            "Let your lawyer read them, and publish your own at /admin/ under Developer terms.",
        )
    if not without:
        yield ok("each organisation has published its own")


def examine_demo_data(patient: Patient) -> Iterator[Finding]:
    """Has the demo ever been here? Its people's passwords are in the code."""
    demo = Application.objects.filter(client_id__startswith="demo-").count()
    if demo and not settings.DEMO_MODE:
        yield problem(
            f"the database has {plural(demo, 'application')} of the demo, and so log-ins that everybody can read.",
            "Begin with an empty database, or delete the demo's applications and users in /admin/.",
        )
    else:
        yield ok("belongs to demo mode" if demo else "there is none")
