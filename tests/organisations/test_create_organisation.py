"""manage.py create_organisation (CONTRACT section 13)."""

import pytest
from django.core.management import CommandError

from apps.organisations.models import Organisation
from apps.organisations.services import make_default

pytestmark = pytest.mark.spec("CONTRACT", "13 (create_organisation)")


@pytest.fixture
def create(manage):
    def call(slug, domain=None, *arguments):
        domain = domain or f"{slug}.localhost"
        return manage("create_organisation", "--slug", slug, "--name", slug.title(), "--domain", domain, *arguments)

    return call


def test_answer_names_the_issuer(create):
    assert create("campus", "Login.Aldermoor.Example") == {
        "slug": "campus",
        "name": "Campus",
        "domain": "login.aldermoor.example",
        "issuer": "https://login.aldermoor.example",
        "default": True,
    }


def test_first_organisation_and_no_other_becomes_the_default(create):
    assert [create(slug)["default"] for slug in ("one", "two", "three")] == [True, False, False]


@pytest.mark.parametrize(
    ("slug", "domain", "reason"),
    [
        ("receipts", "new.localhost", "Short name already exists"),
        ("new", "receipts.example", "domain"),
        ("no spaces", "new.localhost", "slug: "),
        ("new", "https://new.localhost", "without a scheme"),
        ("new", "new.localhost:8000", "without a scheme or a port"),
    ],
)
def test_bad_organisation_is_refused_in_one_line(create, organisation, slug, domain, reason):
    with pytest.raises(CommandError, match=reason) as refusal:
        create(slug, domain)

    assert "\n" not in str(refusal.value)
    assert Organisation.objects.count() == 1


def test_bad_colour_is_refused(create):
    with pytest.raises(CommandError, match="brand colour"):
        create("campus", None, "--brand-colour", "red")


def test_operator_is_told_of_a_domain_that_the_server_would_not_answer(create, settings, capsys):
    settings.ALLOWED_HOSTS = ["login.example"]
    create("campus", "campus.example")

    assert "ALLOWED_HOSTS" in capsys.readouterr().err


def test_another_organisation_can_become_the_default(organisation, other_organisation):
    make_default(organisation=other_organisation)

    assert list(Organisation.objects.filter(is_default=True)) == [other_organisation]
