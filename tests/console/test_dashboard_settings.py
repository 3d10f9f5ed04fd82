"""Branding and redirect URLs on the dashboard."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone
from PIL import Image

from apps.activity import recorder
from apps.activity.models import RedirectMismatch
from apps.developers.models import HistoryKind, Role
from tests.console.test_dashboard_pages import address, text_of

BRANDING = {
    "name": "Penni Budget",
    "website_url": "https://penni.example/",
    "privacy_policy_url": "https://penni.example/privacy",
    "terms_url": "",
    "brand_colour": "",
    "action": "save",
}
REGISTERED = "https://penni.example/callback"


@pytest.fixture
def team_client(owner):
    client = Client()
    client.force_login(owner)
    return client


@pytest.fixture(autouse=True)
def _storage(settings, tmp_path):
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def save_branding(team_client):
    def call(application, **fields):
        return team_client.post(address(application, "branding/"), {**BRANDING, **fields}, follow=True)

    return call


@pytest.fixture
def save_redirects(team_client):
    def call(application, text, *, seen=REGISTERED):
        data = {"redirect_uris": text, "seen": seen}
        return team_client.post(address(application, "redirects/"), data, follow=True)

    return call


def picture(kind="PNG", size=(600, 400)):
    output = io.BytesIO()
    Image.new("RGB", size, "#0f766e").save(output, kind)
    return SimpleUploadedFile("my logo.png", output.getvalue())


def test_branding_changes_at_once_and_is_on_the_timeline(save_branding, live, team_client):
    response = save_branding(live, name="Penni & Co", brand_colour="#0F766E", terms_url="https://penni.example/terms")

    live.refresh_from_db()
    assert response.redirect_chain == [(address(live, "branding/"), 302)]
    assert (live.name, live.brand_colour) == ("Penni & Co", "#0f766e")
    assert "changed: name, terms of service, brand colour" in text_of(team_client.get(address(live)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", " ", "This field is required."),
        ("name", "a\u202eb", "cannot be shown"),
        ("website_url", "javascript:alert(1)", "is not the address of a web page"),
        ("website_url", "http://penni.example/", "starts with https://"),
        ("privacy_policy_url", "https://a@penni.example/", "must not have a user name"),
        ("terms_url", "nonsense", "is not the address of a web page"),
        # It was there when users agreed.
        ("website_url", "", "Give the address of the page."),
        ("privacy_policy_url", "", "Give the address of the page."),
        ("brand_colour", "red", ""),
        ("brand_colour", '"/><sc', ""),
    ],
)
def test_branding_that_breaks_a_rule_is_refused_beside_its_field_and_kept(save_branding, live, field, value, message):
    response = save_branding(live, **{field: value, "terms_url" if field == "name" else "name": "Typed, and kept"})

    live.refresh_from_db()
    assert response.status_code == 400
    assert field in response.context["form"].errors
    assert message in text_of(response)
    assert "Typed, and kept" in text_of(response)
    assert live.name == "Penni Budget"


def test_a_letter_on_the_brand_s_colour_stands_where_there_is_no_logo(save_branding, live, browser):
    save_branding(live, brand_colour="#ffdd00")
    live.refresh_from_db()

    page = text_of(browser.client.get("/auth", {"client_id": live.client_id, "response_type": "code"}))

    assert '<rect width="36" height="36" fill="#ffdd00" />' in page
    assert 'fill="#000000">P</text>' in page


def test_an_uploaded_logo_is_shown_to_users_and_can_be_removed(team_client, live, browser):
    response = team_client.post(address(live, "branding/"), {"logo": picture(), "action": "upload-logo"}, follow=True)
    live.refresh_from_db()
    served = browser.client.get(live.logo.url)
    assert "The new logo is there." in text_of(response)
    assert served["Content-Type"] == "image/png"
    assert Image.open(io.BytesIO(served.getvalue())).size == (400, 400)
    assert "my logo" not in live.logo.name
    assert live.logo.url in text_of(browser.client.get("/auth", {"client_id": live.client_id}))

    team_client.post(address(live, "branding/"), {"action": "remove-logo"})
    live.refresh_from_db()
    assert not live.logo
    assert live.history.filter(kind=HistoryKind.BRANDING_CHANGED, details={"fields": ["logo"]}).count() == 2


def test_a_replaced_logo_leaves_no_file_behind(team_client, live, tmp_path, django_capture_on_commit_callbacks):
    for _attempt in range(3):
        with django_capture_on_commit_callbacks(execute=True):
            team_client.post(address(live, "branding/"), {"logo": picture(), "action": "upload-logo"})

    assert len(list(tmp_path.rglob("*.png"))) == 1


@pytest.mark.parametrize(
    ("upload", "message"),
    [
        (SimpleUploadedFile("logo.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "Use a PNG, JPEG or WebP"),
        (SimpleUploadedFile("logo.png", b"x" * (1024 * 1024 + 1)), "too big"),
        (SimpleUploadedFile("logo.png", b""), "empty"),
        ("", "Choose a picture first."),
    ],
)
def test_what_is_no_proper_picture_is_refused_beside_the_field(team_client, live, upload, message):
    response = team_client.post(address(live, "branding/"), {"logo": upload, "action": "upload-logo"})

    assert response.status_code == 400
    assert message in text_of(response)


def test_redirect_urls_are_saved_one_a_line(save_redirects, live, team_client):
    response = save_redirects(live, f"{REGISTERED}\r\n\r\n  https://penni.example/second \r\n")

    live.refresh_from_db()
    assert response.redirect_chain
    assert live.redirect_uri_list == [REGISTERED, "https://penni.example/second"]
    assert "Added:</span> https://penni.example/second" in text_of(team_client.get(address(live)))


def test_each_wrong_redirect_url_is_named_with_its_reason_and_all_are_kept(save_redirects, live):
    typed = "http://penni.example/\nhttps://penni.example/#x\nhttps://*.penni.example/\njavascript:alert(1)"
    response = save_redirects(live, typed)

    errors = response.context["form"].errors["redirect_uris"]
    live.refresh_from_db()
    assert response.status_code == 400
    assert len(errors) == 4
    for uri in typed.split():
        assert any(uri in error for error in errors)
    assert typed in response.content.decode()
    assert live.redirect_uri_list == [REGISTERED]


@pytest.mark.parametrize(
    "uri",
    [
        "https://penni.example@evil.example/",
        "https://evil.example\\@penni.example/",
        "https://penni.example/callback?code=1",
        "//penni.example/callback",
        "https:penni.example",
        "data:text/html,x",
        "https://penni.example:0/",
        "https://pénni.example/",
        "https://penni.example/\x01",
    ],
)
def test_a_tricky_redirect_url_is_refused(save_redirects, live, uri):
    """RFC 9700 4.1."""
    assert save_redirects(live, uri).status_code == 400
    live.refresh_from_db()
    assert live.redirect_uri_list == [REGISTERED]


def test_at_least_one_redirect_url_stays(save_redirects, live):
    response = save_redirects(live, "")

    assert response.status_code == 400
    assert "at least one redirect URL" in text_of(response)


def test_somebody_else_s_change_is_not_overwritten(save_redirects, live):
    save_redirects(live, f"{REGISTERED}\nhttps://penni.example/theirs")

    response = save_redirects(live, f"{REGISTERED}\nhttps://penni.example/mine")

    live.refresh_from_db()
    assert response.status_code == 409
    assert live.redirect_uri_list == [REGISTERED, "https://penni.example/theirs"]
    assert "<code>https://penni.example/theirs</code>" in response.content.decode()
    assert "https://penni.example/mine" in response.content.decode()
    # Pressing the button again is a choice, made in sight of what is there.
    seen = response.context["form"]["seen"].value()
    assert save_redirects(live, f"{REGISTERED}\nhttps://penni.example/mine", seen=seen).redirect_chain


def test_a_request_that_did_not_match_is_shown_to_the_team_with_what_differs(team_client, live, browser):
    for _attempt in range(3):
        browser.client.get("/auth", {"client_id": live.client_id, "redirect_uri": f"{REGISTERED}/"})
    recorder.flush()

    page = text_of(team_client.get(address(live, "redirects/")))

    assert f"<code>{REGISTERED}/</code>" in page
    assert "the slash at the end" in page
    assert "3 times" in page
    assert browser.client.get(address(live, "redirects/")).status_code == 404


def test_adding_what_did_not_match_fills_in_the_form_and_saves_nothing(team_client, live):
    row = mismatch(live, "https://penni.example/other")

    page = team_client.get(f"{address(live, 'redirects/')}?add={row.pk}")

    assert page.context["form"]["redirect_uris"].value() == f"{REGISTERED}\nhttps://penni.example/other"
    live.refresh_from_db()
    assert live.redirect_uri_list == [REGISTERED]


@pytest.mark.parametrize("wanted", ["https://evil.example/", "0", "-1", "99999999999999999999", "x"])
def test_a_link_cannot_choose_what_is_filled_in(team_client, live, wanted):
    mismatch(live, "https://penni.example/other")

    page = team_client.get(address(live, "redirects/"), {"add": wanted})

    assert page.context["form"]["redirect_uris"].value() == REGISTERED


def test_another_application_s_mismatch_cannot_be_filled_in(team_client, live, register):
    row = mismatch(register(name="Other")[0], "https://penni.example/other")

    page = team_client.get(f"{address(live, 'redirects/')}?add={row.pk}")

    assert page.context["form"]["redirect_uris"].value() == REGISTERED


def test_what_strangers_send_is_shown_as_text_and_never_as_a_link(team_client, live):
    mismatch(live, "javascript:alert(1)//<script>alert(1)</script>")

    page = team_client.get(address(live, "redirects/")).content.decode()

    assert "<script>alert(1)" not in page
    assert 'href="javascript:' not in page


def test_a_viewer_changes_neither(live, join):
    client = Client()
    client.force_login(join(live, role=Role.VIEWER).user)

    assert client.post(address(live, "branding/"), BRANDING).status_code == 403
    assert client.post(address(live, "redirects/"), {"redirect_uris": REGISTERED}).status_code == 403


def mismatch(application, presented):
    now = timezone.now()
    return RedirectMismatch.objects.create(
        application=application,
        presented=presented,
        differs="path",
        closest=REGISTERED,
        count=1,
        first_seen_at=now,
        last_seen_at=now,
    )
