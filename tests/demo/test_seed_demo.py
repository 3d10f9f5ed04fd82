"""manage.py seed_demo (CONTRACT sections 11 and 13)."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from PIL import Image

from apps.accounts.data_points import BY_KEY
from apps.accounts.models import ProfileValue, User
from apps.accounts.values import check_value
from apps.demo.seeding import demo_client_secret, seed
from apps.developers import rules
from apps.developers.models import Application, HistoryEntry, Outcome, Submission, TeamMember
from apps.organisations.models import Membership, Organisation

pytestmark = [pytest.mark.spec("CONTRACT", "13 (seed_demo)"), pytest.mark.django_db]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _quick(settings, tmp_path):
    settings.DEMO_MODE = True
    settings.MEDIA_ROOT = tmp_path
    # Nine people and a slow hash: a second for every test.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher", *settings.PASSWORD_HASHERS[1:]]


def rows():
    models = [Organisation, User, EmailAddress, Membership, ProfileValue, Application, TeamMember, Submission]
    models += [HistoryEntry]
    return [list(model.objects.order_by("pk").values()) for model in models]


def test_answer_has_the_shape_that_programs_read(manage):
    answer = manage("seed_demo")

    assert set(answer) == {"organisations", "users", "applications"}
    assert [set(row) for row in answer["organisations"]] == [{"slug", "name", "domain"}] * 3
    assert {frozenset(row) for row in answer["users"]} == {frozenset({"email", "password", "organisation", "reviewer"})}
    keys = {"name", "profile", "organisation", "client_id", "client_secret", "redirect_uris", "scopes", "approved"}
    assert {frozenset(row) for row in answer["applications"]} == {frozenset(keys)}


def test_second_run_changes_nothing_and_answers_the_same(manage):
    first, before = manage("seed_demo"), rows()

    assert manage("seed_demo") == first
    assert rows() == before


def test_second_run_only_looks(manage):
    seed()

    with CaptureQueriesContext(
        connection,
    ) as queries:
        seed()

    assert len(queries) < 10
    assert not any(query["sql"].startswith(("INSERT", "UPDATE", "DELETE")) for query in queries)


def test_what_is_missing_is_made_again_and_what_was_changed_stays(manage):
    manage("seed_demo")
    User.objects.filter(email="leo@example.com").delete()
    Application.objects.filter(client_id="demo-pending").delete()
    Organisation.objects.filter(slug="campus").update(name="Renamed")

    answer = manage("seed_demo")

    assert User.objects.filter(email="leo@example.com").exists()
    assert Application.objects.filter(client_id="demo-pending").exists()
    assert [row["name"] for row in answer["organisations"] if row["slug"] == "campus"] == ["Renamed"]


@pytest.mark.parametrize("app", ["demo-receipts", "demo-loyalty", "demo-campus", "demo-service"])
def test_printed_secret_works(manage, partner, app):
    answer = {row["client_id"]: row for row in manage("seed_demo")["applications"]}[app]

    response = partner.post(
        "/oauth/introspect",
        {"token": "x", "client_id": app, "client_secret": answer["client_secret"]},
        headers={"host": "127.0.0.1"},
    )
    assert (response.status_code, response.json()) == (200, {"active": False})


def test_secrets_are_long_letters_and_digits_and_differ():
    secrets = {demo_client_secret(f"demo-{n}") for n in range(20)}

    assert len(secrets) == 20
    assert all(len(secret) == 128 and secret.isalnum() and secret.isascii() for secret in secrets)


def test_secret_follows_a_new_deployment_secret(manage, settings, partner):
    from apps.sealing import derive_secret

    old = manage("seed_demo")["applications"][0]["client_secret"]
    try:
        derive_secret.cache_clear()
        settings.SECRET_KEY = "another deployment secret of this installation"
        answer = manage("seed_demo")["applications"][0]
    finally:
        derive_secret.cache_clear()

    credentials = {"token": "x", "client_id": answer["client_id"], "client_secret": answer["client_secret"]}
    assert answer["client_secret"] != old
    assert partner.post("/oauth/introspect", credentials, headers={"host": "127.0.0.1"}).status_code == 200


@pytest.mark.spec("CONTRACT", "11 (demo data)")
def test_default_organisation_has_an_application_of_every_profile(manage):
    answer = manage("seed_demo")

    assert Organisation.objects.get(is_default=True).slug == "receipts"
    own = [row for row in answer["applications"] if row["organisation"] == "receipts"]
    assert {row["profile"] for row in own if row["approved"]} == {"connection", "customer", "portal", "service"}
    assert [row["client_id"] for row in own if not row["approved"]] == ["demo-pending"]


@pytest.mark.spec("CONTRACT", "11 (demo data)")
def test_other_organisations_live_at_their_own_localhost_with_an_application(manage):
    answer = manage("seed_demo")

    assert [row["domain"] for row in answer["organisations"]] == [
        "receipts.localhost",
        "loyalty.localhost",
        "campus.localhost",
    ]
    others = {row["organisation"]: row for row in answer["applications"] if row["organisation"] != "receipts"}
    assert {slug: (row["profile"], row["approved"]) for slug, row in others.items()} == {
        "loyalty": ("customer", True),
        "campus": ("portal", True),
    }
    assert Application.objects.get(is_trusted=True).client_id == others["loyalty"]["client_id"]


def test_demo_partners_come_first_among_the_redirect_uris(manage):
    first = {row["client_id"]: row["redirect_uris"][:1] for row in manage("seed_demo")["applications"]}

    for programme in ("receipts", "loyalty", "campus"):
        assert first[f"demo-{programme}"] == [f"http://127.0.0.1/demo/{programme}/callback"]


def test_everybody_can_log_in_and_each_organisation_has_a_reviewer(manage, client):
    answer = manage("seed_demo")

    assert len(answer["users"]) >= 4
    assert {row["organisation"] for row in answer["users"] if row["reviewer"]} == {"receipts", "loyalty", "campus"}
    for row in answer["users"]:
        response = client.post(
            "/account/login/", {"login": row["email"], "password": row["password"]}, headers={"host": "127.0.0.1"}
        )
        assert response.status_code == 302, row["email"]
        client.logout()


def test_registrations_would_pass_the_review():
    seed()

    for row in Application.objects.prefetch_related("requested_scopes").exclude(profile="service"):
        rules.check_description(row.description)
        assert {asked.scope for asked in row.requested_scopes.all()} == set(row.scopes)
        for asked in row.requested_scopes.all():
            rules.check_reason(asked.reason)
        assert row.website_url
        assert row.privacy_policy_url
        assert row.terms_url


def test_applications_that_people_made_have_owners_who_can_log_in(manage):
    users = {row["email"] for row in manage("seed_demo")["users"]}

    for row in Application.objects.exclude(profile="service"):
        assert "developer@example.com" in set(row.team.filter(role="owner").values_list("user__email", flat=True))
        assert set(row.team.values_list("user__email", flat=True)) <= users
    assert not TeamMember.objects.filter(application__profile="service").exists()


def test_review_desk_has_a_first_registration_and_an_update_that_differs():
    seed()

    waiting = Submission.objects.filter(outcome=Outcome.WAITING).order_by("submitted_at")
    assert [(row.application.name, row.number) for row in waiting] == [("Harvest Ledger", 1), ("Study Circle", 2)]
    assert all(row.terms is not None for row in waiting)
    update = waiting[1]
    rules.check_version(
        profile=update.application.profile,
        description=update.description,
        scopes=update.scope_names,
        reasons={entry["scope"]: entry["reason"] for entry in update.scopes},
    )
    assert set(update.scope_names) - set(update.application.scopes) == {"person.display_picture"}
    assert update.description != update.application.description


def test_applications_of_an_older_installation_get_their_owners():
    seed()
    TeamMember.objects.all().delete()

    seed()

    assert TeamMember.objects.filter(user__email="developer@example.com", role="owner").count() == 6
    assert Submission.objects.filter(outcome=Outcome.WAITING).count() == 2


def test_data_points_are_of_their_kind():
    seed()

    stored = ProfileValue.objects.values_list("key", "value")
    assert {key for key, _value in stored} == set(BY_KEY), "somebody has each data point"
    for key, value in stored:
        check_value(BY_KEY[key], value)


def test_memberships_are_shown_at_the_default_and_the_loyalty_organisation():
    seed()

    assert set(Membership.objects.values_list("organisation__slug", flat=True)) == {"receipts", "loyalty"}


def test_logos_are_served(client):
    seed()
    pictures = [*Organisation.objects.all(), *Application.objects.all()]

    for row in pictures:
        response = client.get(f"/media/{row.logo.name}", headers={"host": "127.0.0.1"})
        assert response["Content-Type"] == "image/png"
        picture = Image.open(io.BytesIO(b"".join(response.streaming_content))).convert("RGBA")
        assert picture.size == (512, 512)
        assert picture.getpixel((0, 0))[3] == 0, "the corner is transparent"
        response.close()


def test_demo_is_refused_where_it_is_not_meant_to_be(manage, settings):
    settings.DEMO_MODE = False

    with pytest.raises(CommandError, match="DEMO_MODE is off") as refusal:
        call_command("seed_demo")

    assert "\n" not in str(refusal.value)
    assert not Organisation.objects.exists()
    assert manage("seed_demo", "--force")["users"]


def test_demo_leaves_an_existing_default_organisation_alone(organisation):
    Organisation.objects.filter(pk=organisation.pk).update(slug="own")
    seed()

    assert Organisation.objects.get(is_default=True).slug == "own"


def test_refusal_is_one_line_on_standard_error_and_exit_status_one():
    environment = {**os.environ, "DEMO_MODE": "0"}
    process = subprocess.run(
        [sys.executable, "manage.py", "seed_demo", "--json"], cwd=ROOT, env=environment, capture_output=True, text=True
    )

    assert process.returncode == 1
    assert process.stdout == ""
    assert process.stderr.count("\n") == 1
    assert "Traceback" not in process.stderr


def test_answer_is_json_and_nothing_else(capsys):
    call_command("seed_demo", "--json")

    assert json.loads(capsys.readouterr().out)["organisations"]
