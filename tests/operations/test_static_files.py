"""Static files while web servers of two versions answer in turn."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.test import Client

from apps.organisations.models import Organisation

OTHER_HASH = "0123456789ab"


@pytest.fixture
def collected(settings: Any, tmp_path: Path) -> Path:
    """Static files as they are in the image."""
    settings.DEBUG = False
    settings.STATIC_ROOT = tmp_path
    settings.STORAGES = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
    call_command("collectstatic", interactive=False, verbosity=0)
    return tmp_path


def of_another_version(url: str) -> str:
    changed, number = re.subn(r"\.[0-9a-f]{12}\.", f".{OTHER_HASH}.", url)
    assert number == 1
    return changed


@pytest.mark.parametrize("name", ["css/theme.css", "js/word-count.js"])
def test_page_of_another_version_gets_our_file_and_nobody_keeps_it(collected: Path, name: str) -> None:
    """A browser or a CDN would otherwise have our content under the other version's name for years."""
    url = staticfiles_storage.url(name)
    ours, other = Client().get(url), Client().get(of_another_version(url))
    assert (ours.status_code, other.status_code) == (200, 200)
    content = (collected / url.removeprefix("/static/")).read_bytes()
    assert (ours.getvalue(), other.getvalue()) == (content, content)
    assert other["Content-Type"] == ours["Content-Type"]
    assert "immutable" in ours["Cache-Control"]
    assert other["Cache-Control"] == "no-store"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        f"/static/css/not-there.{OTHER_HASH}.css",
        f"/static/../manage.{OTHER_HASH}.py",
        f"/static/staticfiles.{OTHER_HASH}.json",
        f"/account/theme.{OTHER_HASH}.css",
    ],
)
def test_name_of_no_file_is_not_found(collected: Path, organisation: Organisation, path: str) -> None:
    assert Client().get(path).status_code == 404
