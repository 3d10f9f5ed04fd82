"""The administration's pages of connections and keys."""

import pytest
from django.contrib import admin

from apps.accounts.models import User
from apps.connections.models import Connection, EndReason
from apps.tokens.keys import ensure_signing_keys
from apps.tokens.models import SigningKey


@pytest.fixture
def connection(application, connect):
    connect(application)
    return Connection.objects.get()


def end(client, connection):
    data = {"action": "end", "_selected_action": [str(connection.pk)]}
    return client.post("/admin/connections/connection/", data, follow=True)


def test_administrator_ends_a_connection_with_its_tokens(administrator, application, connect, introspect):
    token = connect(application)["access_token"]
    page = end(administrator, Connection.objects.get())

    connection = Connection.objects.get()
    assert "1 connection ended." in page.content.decode()
    assert connection.end_reason == EndReason.ADMINISTRATOR
    assert introspect(application, token) == {"active": False}


def test_ended_connection_keeps_its_reason(administrator, connection):
    Connection.objects.update(ended_at=connection.created_at, end_reason=EndReason.USER)

    assert "0 connections ended." in end(administrator, connection).content.decode()
    assert Connection.objects.get().end_reason == EndReason.USER


def test_staff_without_the_permission_cannot_end_a_connection(client, make_user, connection):
    from django.contrib.auth.models import Permission

    staff = make_user("staff@example.com", is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_connection"))
    client.force_login(staff)
    end(client, connection)

    assert Connection.objects.get().is_active


def test_connections_and_keys_are_only_looked_at(administrator, connection):
    ensure_signing_keys()
    for path in (f"connections/connection/{connection.pk}", f"tokens/signingkey/{SigningKey.objects.all()[0].pk}"):
        assert administrator.get(f"/admin/{path}/change/").status_code == 200
        assert administrator.post(f"/admin/{path}/change/", {}).status_code == 403
        assert administrator.post(f"/admin/{path}/delete/", {"post": "yes"}).status_code == 403


def test_private_part_of_a_key_is_not_shown(administrator, db):
    ensure_signing_keys()
    for key in SigningKey.objects.all():
        page = administrator.get(f"/admin/tokens/signingkey/{key.pk}/change/").content.decode()
        assert key.kid in page
        assert "encrypted" not in page
        assert bytes(key.encrypted_private_key).decode()[:40] not in page


def test_pages_that_pass_by_our_services_are_not_there(administrator):
    registered = {model._meta.label for model in admin.site._registry}

    assert not registered & {
        "oauth2_provider.AccessToken",
        "oauth2_provider.RefreshToken",
        "oauth2_provider.IDToken",
        "tokens.Grant",
        "usersessions.UserSession",
    }
    assert administrator.get("/admin/oauth2_provider/accesstoken/").status_code == 404


def test_every_page_of_the_administration_can_be_opened(administrator, connection, member):
    for model, page in admin.site._registry.items():
        path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        # The audit trail's leads to a page of its own.
        assert administrator.get(path, follow=True).status_code == 200, path
        assert administrator.get(path, {"q": "x"}, follow=True).status_code == 200, path
        may_add = page.has_add_permission(type("Request", (), {"user": User.objects.get(is_superuser=True)})())
        assert administrator.get(f"{path}add/").status_code == (200 if may_add else 403), path
        if row := model._default_manager.first():
            assert administrator.get(f"{path}{row.pk}/change/", follow=True).status_code == 200, path
