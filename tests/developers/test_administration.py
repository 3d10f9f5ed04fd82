"""The administration's pages of applications: the same rules as everywhere."""

import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import Permission
from django.test import Client

from apps.developers.history import note
from apps.developers.models import Application, HistoryKind, Role, Status, Submission, TeamMember, TermsVersion
from apps.developers.services import review
from apps.developers.services.terms import current_terms
from tests.developers.conftest import DESCRIPTION, kinds, waiting

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


def form_of(page):
    """What a browser would send of the page's form if nothing were typed into it."""
    bound = list(page.context["adminform"].form)
    for inline in page.context["inline_admin_formsets"]:
        bound += [field for form in [inline.formset.management_form, *inline.formset.forms] for field in form]
    data = {}
    for field in bound:
        value = field.value()
        if isinstance(value, bool):
            value = "on" if value else None
        elif value is None:
            value = ""
        if value is not None and field.name != "logo":
            data[field.html_name] = value
    return data


def change(client, row, **fields):
    """Press Save on the application's page with some fields changed; "team.0.role" is of the first of the team."""
    path = f"/admin/developers/application/{row.pk}/change/"
    changes = {name.replace(".", "-"): value for name, value in fields.items()}
    data = {**form_of(client.get(path)), **changes}
    return client.post(path, {name: value for name, value in data.items() if value is not None})


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


def test_reinstating_ends_a_suspension_and_only_that(administrator, live, pending):
    act(administrator, live, "suspend")
    page = administrator.post(
        "/admin/developers/application/", {"action": "reinstate", "_selected_action": [str(live.pk)]}, follow=True
    )

    assert "1 application reinstated." in page.content.decode()
    assert kinds(live)[-2:] == ["suspended", "reinstated"]
    act(administrator, live, "reinstate")
    assert kinds(live)[-2:] == ["suspended", "reinstated"]


def test_administrator_on_the_team_is_refused_with_the_reason(administrator, live):
    TeamMember.objects.create(application=live, user=user_of(administrator), role=Role.DEVELOPER)

    page = administrator.post(
        "/admin/developers/application/", {"action": "suspend", "_selected_action": [str(live.pk)]}, follow=True
    )
    assert "Penni Budget: You are on the team of this application" in page.content.decode()
    assert Application.objects.get(pk=live.pk).status == Status.APPROVED

    page = change(administrator, live, is_trusted="on", name="Renamed")
    assert page.status_code == 302
    row = Application.objects.get(pk=live.pk)
    # All or nothing.
    assert (row.is_trusted, row.name) == (False, "Penni Budget")
    assert change(administrator, live, name="Renamed").status_code == 302
    assert Application.objects.get(pk=live.pk).name == "Renamed"


def user_of(client):
    return client.get("/").wsgi_request.user


def path_of(row, what="change"):
    return f"/admin/developers/application/{row.pk}/{what}/"


# --- the rules, and what changes the live version ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"description": "Too short."}, "Use at least 127 words (you wrote 2)."),
        ({"website_url": "http://plain.example/"}, "Use an address that starts with https://."),
        ({"website_url": ""}, "Give the address of the page."),
        ({"privacy_policy_url": ""}, "Give the address of the page."),
        ({"requested_scopes.0.reason": "Because."}, "Say why in 10 to 280 characters."),
    ],
)
def test_description_pages_and_reasons_follow_the_rules(administrator, live, wrong, message):
    page = change(administrator, live, **wrong)

    assert page.status_code == 200
    assert message in page.content.decode()
    assert kinds(live) == ["registered", "approved"]


def test_description_and_reasons_of_a_new_application_follow_the_rules(administrator, fields):
    page = administrator.post(ADD, {**fields, "description": "word " * 126})

    assert "Use at least 127 words (you wrote 126)." in page.content.decode()
    assert not Application.objects.exists()


def test_page_that_has_no_address_may_go_without_one_and_terms_may_go(administrator, live):
    Application.objects.filter(pk=live.pk).update(website_url="", terms_url="https://penni.example/terms")

    assert change(administrator, live, name="Penni 2", terms_url="").status_code == 302
    row = Application.objects.get(pk=live.pk)
    assert (row.name, row.website_url, row.terms_url) == ("Penni 2", "", "")


def test_what_was_there_before_the_rules_may_stay(administrator, live):
    Application.objects.filter(pk=live.pk).update(description="Short.", website_url="http://plain.example/")

    assert change(administrator, live, redirect_uris="https://penni.example/new").status_code == 302
    row = Application.objects.get(pk=live.pk)
    assert (row.redirect_uris, row.description) == ("https://penni.example/new", "Short.")


def test_what_changes_the_live_version_is_on_record(administrator, live):
    description = f"{DESCRIPTION} more"
    change(
        administrator,
        live,
        scopes=["receipt:write", "receipt:read"],
        redirect_uris="https://penni.example/new",
        description=description,
        name="Renamed",
        is_trusted="on",
        **{"requested_scopes.0.reason": "To file receipts.", "requested_scopes.0.is_optional": "on"},
    )

    row = Application.objects.get(pk=live.pk)
    assert (row.name, row.description, row.is_trusted) == ("Renamed", description, True)
    assert row.scopes == ["receipt:write", "receipt:read"]
    first, second = row.requested_scopes.order_by("pk")
    assert (first.reason, first.is_optional) == ("To file receipts.", True)
    assert (second.scope, second.reason) == ("receipt:read", "")
    assert kinds(live)[2:] == ["branding_changed", "redirect_uris_changed", "trusted", "version_changed"]
    entry = live.history.get(kind="version_changed")
    assert entry.actor == user_of(administrator)
    assert entry.details == {
        "added": ["receipt:read"],
        "removed": [],
        "changed": ["receipt:write"],
        "description": True,
    }


def test_saving_without_a_change_notes_nothing(administrator, live):
    assert change(administrator, live).status_code == 302

    assert kinds(live) == ["registered", "approved"]


def test_version_that_waits_is_replaced_by_what_an_administrator_writes(administrator, pending, reviewer):
    seen = waiting(pending)

    change(administrator, pending, scopes=["receipt:read"])

    now = waiting(pending)
    assert (now.number, now.scope_names, now.submitted_at) == (2, ["receipt:read"], seen.submitted_at)
    assert now.submitted_by == seen.submitted_by
    review.approve_submission(submission=now, actor=reviewer)
    assert Application.objects.get(pk=pending.pk).scopes == ["receipt:read"]


def test_scope_that_is_taken_away_does_not_come_back_with_an_update(administrator, live, submit, reviewer):
    change(administrator, live, scopes=["receipt:write", "receipt:read"])
    submit(live, scopes=["receipt:write", "receipt:read"], description=f"{DESCRIPTION} more")

    change(administrator, live, scopes=["receipt:read"])

    assert waiting(live).scope_names == ["receipt:read"]
    review.approve_submission(submission=waiting(live), actor=reviewer)
    assert Application.objects.get(pk=live.pk).scopes == ["receipt:read"]


def test_deleted_application_is_shown_and_not_changed(administrator, live):
    Application.objects.filter(pk=live.pk).update(status=Status.DELETED)

    assert "Penni Budget" in administrator.get("/admin/developers/application/").content.decode()
    assert 'name="_save"' not in administrator.get(path_of(live)).content.decode()
    assert administrator.post(path_of(live), {"name": "Renamed"}).status_code == 403
    assert administrator.get(path_of(live, "secret")).status_code == 403


# --- the team ------------------------------------------------------------------------------------------------------


def test_team_is_changed_by_the_services(administrator, live, make_user, mails):
    newcomer = make_user("nora@example.com", first_name="Nora", last_name="New")
    mails()
    change(
        administrator,
        live,
        **{
            "team.TOTAL_FORMS": 2,
            "team.1.user": str(newcomer.pk),
            "team.1.role": "owner",
            "team.1.application": live.pk,
        },
    )
    assert live.team.get(user=newcomer).role == "owner"
    assert kinds(live)[-1] == "member_added"
    assert {message.to[0] for message in mails()} == {"owner@example.com", "nora@example.com"}

    # The old owner goes and the new one stays, whoever that is made to be in the form.
    change(administrator, live, **{"team.0.DELETE": "on"})
    assert [place.user for place in live.team.all()] == [newcomer]
    assert kinds(live)[-1] == "member_left"

    change(administrator, live, **{"team.0.user": str(user_of(administrator).pk)})
    assert [place.user for place in live.team.all()] == [newcomer]


def test_owner_can_be_exchanged_in_one_go(administrator, live, join):
    join(live)

    change(administrator, live, **{"team.0.role": "viewer", "team.1.role": "owner"})

    assert sorted(live.team.values_list("user__email", "role")) == [
        ("dora@example.com", "owner"),
        ("owner@example.com", "viewer"),
    ]


@pytest.mark.parametrize("fields", [{"team.0.role": "viewer"}, {"team.0.DELETE": "on"}])
def test_last_owner_stays(administrator, live, join, fields):
    join(live)

    page = change(administrator, live, **fields)

    assert page.status_code == 200
    assert "The last owner cannot go." in page.content.decode()
    assert live.team.filter(role="owner").count() == 1


def test_nobody_is_on_a_team_twice(administrator, live, owner):
    page = change(
        administrator,
        live,
        **{"team.TOTAL_FORMS": 2, "team.1.user": str(owner.pk), "team.1.role": "viewer", "team.1.application": live.pk},
    )

    assert page.status_code == 200
    assert live.team.count() == 1


# --- history -------------------------------------------------------------------------------------------------------


def test_history_is_shown_and_cannot_be_changed(administrator, live, owner):
    for number in range(60):
        note(live, HistoryKind.COMMENTED, actor=owner, text=f"Number {number}.")

    page = administrator.get(path_of(live))

    history = next(
        inline for inline in page.context["inline_admin_formsets"] if inline.formset.prefix == "history"
    ).formset
    assert len(history.forms) == 50
    assert "Number 59." in page.content.decode()
    entry = live.history.latest("pk")
    change(administrator, live, **{"history.0.id": entry.pk, "history.0.text": "Forged.", "history.0.DELETE": "on"})
    entry.refresh_from_db()
    assert entry.text == "Number 59."


# --- a new secret --------------------------------------------------------------------------------------------------


def new_secret(client, row, hours=24):
    page = client.get(path_of(row, "secret"))
    return client.post(path_of(row, "secret"), {"overlap": hours * 3600, "seen": page.context["form"]["seen"].value()})


def test_new_secret_is_asked_for_shown_once_and_noted(administrator, application):
    row = application.row
    assert path_of(row, "secret") in administrator.get(path_of(row)).content.decode()

    page = new_secret(administrator, row)

    secret = re.search(r'id="client-secret"[^>]*>([^<]+)<', page.content.decode())[1]
    stored = Application.objects.get(pk=row.pk)
    assert check_password(secret, stored.client_secret)
    assert check_password(application.secret, stored.previous_client_secret)
    assert stored.has_previous_secret
    assert "no-store" in page["Cache-Control"]
    assert secret not in str(page.cookies)
    assert secret not in str(list(LogEntry.objects.values()))
    assert secret not in administrator.get(path_of(row)).content.decode()
    assert kinds(row) == ["secret_created"]


def test_old_secret_can_end_at_once(administrator, application):
    new_secret(administrator, application.row, hours=0)

    assert not Application.objects.get().has_previous_secret


def test_form_for_a_secret_that_comes_twice_makes_one(administrator, application):
    seen = administrator.get(path_of(application.row, "secret")).context["form"]["seen"].value()
    sent = {"overlap": 24 * 3600, "seen": seen}
    administrator.post(path_of(application.row, "secret"), sent)
    stored = Application.objects.get().client_secret

    page = administrator.post(path_of(application.row, "secret"), sent, follow=True)

    assert 'id="client-secret"' not in page.content.decode()
    assert Application.objects.get().client_secret == stored


@pytest.mark.parametrize("sent", [{}, {"overlap": 24 * 3600}, {"overlap": 9999 * 3600, "seen": "x"}])
def test_form_for_a_secret_that_makes_no_sense_is_shown_again(administrator, application, sent):
    page = administrator.post(path_of(application.row, "secret"), sent)

    assert "errorlist" in page.content.decode()
    assert kinds(application.row) == []


def test_public_client_gets_no_secret(administrator, make_application):
    row = make_application("customer", client_type="public").row

    assert path_of(row, "secret") not in administrator.get(path_of(row)).content.decode()
    page = administrator.post(
        path_of(row, "secret"),
        {"overlap": 24 * 3600, "seen": administrator.get(path_of(row, "secret")).context["form"]["seen"].value()},
        follow=True,
    )
    assert "A public client has no secret" in page.content.decode()


# --- staff who may do some of it -----------------------------------------------------------------------------------


@pytest.fixture
def staff(make_user):
    """The browser of an administrator with only the permissions that are named."""

    def make(*permissions):
        user = make_user("some@example.com", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    return make


def test_staff_who_may_look_change_nothing(staff, live):
    client = staff("view_application", "view_teammember", "view_historyentry", "view_requestedscope")

    page = client.get(path_of(live))
    assert page.status_code == 200
    assert "Make a new secret" not in page.content.decode()
    assert client.post(path_of(live), {"name": "Renamed"}).status_code == 403
    assert client.get(path_of(live, "secret")).status_code == 403
    assert client.post(path_of(live, "secret"), {"overlap": 0, "seen": "x"}).status_code == 403
    act(client, live, "suspend")
    row = Application.objects.get(pk=live.pk)
    assert (row.name, row.status) == ("Penni Budget", Status.APPROVED)


def test_staff_who_may_change_applications_only_leave_team_and_reasons_alone(staff, live):
    client = staff("view_application", "change_application")

    assert change(client, live, name="Renamed", **{"team.0.role": "viewer", "team.0.DELETE": "on"}).status_code == 302

    row = Application.objects.get(pk=live.pk)
    assert row.name == "Renamed"
    assert row.team.get().role == "owner"
    assert row.requested_scopes.get().reason == "We send receipts."
    assert kinds(live)[2:] == ["branding_changed"]


def test_staff_who_may_see_the_team_do_not_change_it(staff, live):
    client = staff("view_application", "change_application", "view_teammember")

    assert change(client, live, **{"team.0.role": "viewer"}).status_code == 302
    assert live.team.get().role == "owner"


def test_staff_without_permission_see_nothing(staff, live):
    client = staff("view_user")

    for path in (path_of(live), path_of(live, "secret"), "/admin/developers/submission/", TERMS):
        assert client.get(path).status_code == 403


# --- submissions and terms -----------------------------------------------------------------------------------------

TERMS = "/admin/developers/termsversion/"


def test_submissions_are_to_look_at(administrator, live, submit):
    submit(live, description=f"{DESCRIPTION} more")
    row = Submission.objects.get(number=2)
    path = f"/admin/developers/submission/{row.pk}/change/"

    page = administrator.get("/admin/developers/submission/", {"q": "Penni"})
    assert [each.number for each in page.context["cl"].result_list] == [2, 1]
    assert 'name="_save"' not in administrator.get(path).content.decode()
    assert administrator.post(path, {"outcome": "approved"}).status_code == 403
    assert administrator.get("/admin/developers/submission/add/").status_code == 403
    assert administrator.post(f"/admin/developers/submission/{row.pk}/delete/", {"post": "yes"}).status_code == 403
    row.refresh_from_db()
    assert row.is_waiting


def test_adding_terms_publishes_the_next_version(administrator, organisation):
    current_terms(organisation)

    page = administrator.post(
        f"{TERMS}add/",
        {"organisation": str(organisation.pk), "text": "New ones.", "changes": "More about tokens.", "number": "77"},
    )

    assert page.status_code == 302
    latest = TermsVersion.objects.latest("number")
    assert (latest.number, latest.text, latest.changes) == (2, "New ones.", "More about tokens.")
    assert LogEntry.objects.get().object_id == str(latest.pk)


def test_published_terms_never_change(administrator, organisation):
    terms = current_terms(organisation)
    path = f"{TERMS}{terms.pk}/"

    assert 'name="_save"' not in administrator.get(f"{path}change/").content.decode()
    assert administrator.post(f"{path}change/", {"text": "Other ones."}).status_code == 403
    assert administrator.post(f"{path}delete/", {"post": "yes"}).status_code == 403
    assert administrator.post(f"{TERMS}add/", {"organisation": str(organisation.pk), "text": ""}).status_code == 200
    assert TermsVersion.objects.get().text == terms.text
