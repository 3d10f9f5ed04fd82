"""The administration's pages of applications: the same rules as everywhere."""

import re

import pytest
from django.contrib.auth.hashers import check_password

from apps.developers.models import Application

ADD = "/admin/developers/application/add/"


@pytest.fixture
def fields(organisation):
    return {
        "name": "Penni",
        "profile": "connection",
        "organisation": str(organisation.pk),
        "client_type": "confidential",
        "redirect_uris": "https://partner.example/callback\r\nhttp://127.0.0.1/cb",
        "scopes": ["receipt:write"],
    }


def change(client, row, **fields):
    """Press Save on the application's page with some fields changed."""
    path = f"/admin/developers/application/{row.pk}/change/"
    form = client.get(path).context["adminform"].form
    data = {name: form.initial.get(name) or "" for name in form.fields if name != "logo"}
    for name in ("is_trusted", "is_approved"):
        data.pop(name, None)
    requested = list(row.requested_scopes.order_by("pk"))
    data |= {"requested_scopes-TOTAL_FORMS": len(requested), "requested_scopes-INITIAL_FORMS": len(requested)}
    for index, asked in enumerate(requested):
        prefix = f"requested_scopes-{index}-"
        data |= {f"{prefix}id": asked.pk, f"{prefix}application": row.pk, f"{prefix}reason": asked.reason}
    return client.post(path, {**data, **fields})


def test_new_application_shows_its_secret_once(administrator, fields):
    page = administrator.post(ADD, fields)

    row = Application.objects.get()
    secret = re.search(r'id="client-secret"[^>]*>([^<]+)<', page.content.decode())[1]
    assert check_password(secret, row.client_secret)
    assert "no-store" in page["Cache-Control"]
    assert secret not in str(page.cookies)
    assert secret not in administrator.get(f"/admin/developers/application/{row.pk}/change/").content.decode()


def test_new_application_is_made_by_the_service(administrator, fields):
    administrator.post(ADD, {**fields, "is_approved": "on", "is_trusted": "on"})

    row = Application.objects.get()
    assert row.redirect_uri_list == ["https://partner.example/callback", "http://127.0.0.1/cb"]
    assert row.scopes == ["receipt:write"]
    assert row.requested_scopes.get().scope == "receipt:write"
    assert (row.is_approved, row.is_trusted) == (True, True)


def test_public_client_is_shown_without_a_secret(administrator, fields):
    page = administrator.post(ADD, {**fields, "client_type": "public"}).content.decode()

    assert "A public client has no secret." in page
    assert 'id="client-secret"' not in page


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"redirect_uris": "http://evil.example/"}, "must start with https"),
        ({"redirect_uris": ""}, "at least one redirect URL"),
        ({"scopes": ["person.full_name"]}, "Not a scope of this profile"),
        ({"scopes": []}, "at least one scope"),
        ({"profile": "service"}, "it has no redirect URLs"),
        ({"name": ""}, "This field is required"),
    ],
)
def test_rules_are_enforced(administrator, fields, wrong, message):
    page = administrator.post(ADD, {**fields, **wrong})

    assert page.status_code == 200
    assert message in page.content.decode()
    assert not Application.objects.exists()


def test_removed_scope_is_gone_and_an_added_one_asked_for(administrator, application):
    assert change(administrator, application.row, scopes=["receipt:read"]).status_code == 302

    row = Application.objects.get()
    assert row.scopes == ["receipt:read"]
    assert [asked.scope for asked in row.requested_scopes.all()] == ["receipt:read"]


def test_change_keeps_the_secret(administrator, application):
    assert change(administrator, application.row, name="Renamed").status_code == 302

    row = Application.objects.get()
    assert row.name == "Renamed"
    assert check_password(application.secret, row.client_secret)


def test_rules_hold_for_a_change_too(administrator, application):
    page = change(administrator, application.row, redirect_uris="http://evil.example/")

    assert "must start with https" in page.content.decode()
    assert Application.objects.get().redirect_uris == application.row.redirect_uris


def test_profile_organisation_and_client_type_are_fixed(administrator, application, other_organisation):
    change(
        administrator,
        application.row,
        profile="service",
        client_type="public",
        organisation=str(other_organisation.pk),
        client_id="x",
        status="suspended",
    )

    row = Application.objects.get()
    assert (row.profile, row.client_type, row.client_id) == ("connection", "confidential", application.client_id)
    assert (row.organisation, row.status) == (application.row.organisation, "approved")


def act(client, row, action):
    return client.post("/admin/developers/application/", {"action": action, "_selected_action": [str(row.pk)]})


def test_suspended_application_loses_its_tokens_until_it_is_approved(
    administrator, application, make_application, connect, introspect
):
    token, service = connect(application)["access_token"], make_application("service")

    act(administrator, application.row, "suspend")
    assert introspect(service, token) == {"active": False}

    act(administrator, application.row, "approve")
    assert introspect(service, token)["active"] is True


def test_application_is_not_deleted(administrator, application):
    path = f"/admin/developers/application/{application.row.pk}/delete/"

    assert administrator.post(path, {"post": "yes"}).status_code == 403
    act(administrator, application.row, "delete_selected")
    assert Application.objects.exists()
