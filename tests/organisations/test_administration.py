"""The administration's pages of organisations."""

import io

import pytest
from PIL import Image

from apps.organisations.models import Organisation
from tests.organisations.test_logos import picture

LIST = "/admin/organisations/organisation/"
FIELDS = {"name": "Aldermoor", "slug": "campus", "domain": "campus.example", "brand_colour": "#3730a3"}


def test_first_organisation_becomes_the_default(administrator):
    administrator.post(f"{LIST}add/", FIELDS)

    assert Organisation.objects.get().is_default


def test_logo_is_made_small_and_served(administrator, client, organisation, settings, tmp_path):
    from django.core.files.uploadedfile import SimpleUploadedFile

    settings.MEDIA_ROOT = tmp_path
    logo = SimpleUploadedFile("../../evil.html", picture("JPEG", (2000, 1000)))
    administrator.post(f"{LIST}add/", {**FIELDS, "logo": logo})

    response = client.get(Organisation.objects.get(slug="campus").logo.url)
    drawn = Image.open(io.BytesIO(b"".join(response.streaming_content)))
    response.close()
    assert response["Content-Type"] == "image/png"
    assert drawn.size == (512, 512)


@pytest.mark.parametrize("wrong", [{"domain": "https://x"}, {"brand_colour": "red"}, {"slug": "receipts"}])
def test_bad_organisation_is_refused(administrator, organisation, wrong):
    assert administrator.post(f"{LIST}add/", {**FIELDS, **wrong}).status_code == 200
    assert Organisation.objects.count() == 1


def test_another_one_is_made_the_default(administrator, other_organisation):
    administrator.post(LIST, {"action": "make_default", "_selected_action": [str(other_organisation.pk)]})

    assert list(Organisation.objects.filter(is_default=True)) == [other_organisation]


def test_default_one_is_not_deleted(administrator, organisation, other_organisation):
    for row, status in ((organisation, 403), (other_organisation, 302)):
        assert administrator.post(f"{LIST}{row.pk}/delete/", {"post": "yes"}).status_code == status


def test_one_with_applications_is_not_deleted(administrator, make_application, other_organisation):
    make_application(organisation=other_organisation)
    administrator.post(f"{LIST}{other_organisation.pk}/delete/", {"post": "yes"})

    assert Organisation.objects.filter(pk=other_organisation.pk).exists()
