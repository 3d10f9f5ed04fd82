"""manage.py create_application and the service behind it (CONTRACT section 13)."""

import pytest
from django.contrib.auth.hashers import check_password
from django.core.exceptions import ValidationError
from django.core.management import CommandError

from apps.developers.models import Application
from apps.developers.services.applications import create_application
from apps.developers.services.secrets import replace_secret
from apps.developers.services.versions import set_requested_scopes

pytestmark = pytest.mark.spec("CONTRACT", "13 (create_application)")

CALLBACK = "https://partner.example/callback"


@pytest.fixture
def create(manage, organisation):
    """Run the command with a name, a profile and a redirect URI, and what else is given."""

    def call(*arguments, profile="connection", redirect_uri=CALLBACK):
        where = ["--redirect-uri", redirect_uri] if redirect_uri else []
        return manage("create_application", "--name", "Penni", "--profile", profile, *where, *arguments)

    return call


def test_answer_is_everything_a_partner_needs(create):
    answer = create("--redirect-uri", "http://127.0.0.1/cb", "--scope", "receipt:read", "--approve", "--trusted")

    row = Application.objects.get()
    assert answer == {
        "client_id": row.client_id,
        "client_secret": answer["client_secret"],
        "name": "Penni",
        "profile": "connection",
        "organisation": "receipts",
        "redirect_uris": [CALLBACK, "http://127.0.0.1/cb"],
        "scopes": ["receipt:read"],
        "approved": True,
        "trusted": True,
        "client_type": "confidential",
    }


def test_secret_is_told_once_and_kept_as_a_hash(create):
    secret = create()["client_secret"]

    stored = Application.objects.get().client_secret
    assert len(secret) == 128
    assert secret not in stored
    assert check_password(secret, stored)


def test_application_awaits_its_review_unless_it_is_approved(create):
    assert create()["approved"] is False
    assert create("--approve")["approved"] is True


def test_public_client_has_no_secret_and_an_empty_one_does_not_match(create):
    answer = create("--public")

    assert answer["client_secret"] is None
    assert answer["client_type"] == "public"
    assert not check_password("", Application.objects.get().client_secret)


def test_connection_gets_every_scope_of_its_profile_unless_some_are_named(create):
    assert create()["scopes"] == ["receipt:write", "receipt:read"]
    assert create("--scope", "receipt:read")["scopes"] == ["receipt:read"]


def test_portal_must_name_its_scopes(create):
    with pytest.raises(CommandError, match="at least one scope"):
        create(profile="portal")


def test_service_has_neither_redirect_uris_nor_scopes_of_itself(create):
    answer = create(profile="service", redirect_uri=None)

    assert (answer["redirect_uris"], answer["scopes"]) == ([], [])


def test_reasons_and_optional_scopes_are_kept_by_scope(create):
    arguments = ["--scope", "person.full_name", "--scope", "person.roles", "--optional-scope", "person.roles"]
    create(*arguments, "--reason", "person.roles=Teachers see more.", profile="portal")

    rows = {row.scope: row for row in Application.objects.get().requested_scopes.all()}
    assert set(rows) == {"person.full_name", "person.roles"}
    assert rows["person.roles"].reason == "Teachers see more."
    assert [rows[name].is_optional for name in sorted(rows)] == [False, True]


def test_organisation_is_the_default_one_or_the_one_named(create, other_organisation):
    assert create()["organisation"] == "receipts"
    assert create("--organisation", "campus")["organisation"] == "campus"


def test_the_application_works(create, browser, exchange):
    from tests.conftest import RegisteredApplication

    answer = create("--approve")
    application = RegisteredApplication(Application.objects.get(), answer["client_secret"])

    assert exchange(application, browser.authorize(application)).status_code == 200


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--organisation", "nowhere"], "no organisation 'nowhere'; there are: receipts"),
        (["--redirect-uri", "http://evil.example/"], "--redirect-uri: .*must start with https"),
        (["--scope", "person.full_name"], "--scope: Not a scope of this profile"),
        (["--reason", "receipt:read"], "SCOPE=TEXT"),
        (["--reason", "person.roles=Because."], "does not ask for person.roles"),
        (["--optional-scope", "introspect"], "does not ask for introspect"),
        (["--owner", "nobody@example.com"], "nobody has an account"),
        (["--website", "not a url"], "--website: “not a url” is not the address"),
        (["--privacy-policy", "http://plain.example/"], "--privacy-policy: Use an address that starts with https"),
        (["--terms", "https://user@partner.example/"], "--terms: The address must not have a user name"),
        (["--description", "word " * 126], r"--description: Use at least 127 words \(you wrote 126\)\."),
        (["--description", "word " * 512], r"--description: Use at most 511 words \(you wrote 512\)\."),
        (["--reason", "receipt:read=Because."], "--reason receipt:read: Say why in 10 to 280 characters"),
        (["--public", "--trusted", "--redirect-uri", "com.example.app:/cb"], "--trusted: A public client can be"),
        (["--description", "caf\udce9"], "--description is not UTF-8"),
    ],
)
def test_what_is_wrong_is_told_in_one_line_and_nothing_is_made(create, arguments, reason):
    with pytest.raises(CommandError, match=reason) as refusal:
        create(*arguments)

    assert "\n" not in str(refusal.value)
    assert not Application.objects.exists()


def test_everything_that_is_wrong_is_told_at_once(create):
    with pytest.raises(CommandError) as refusal:
        create("--description", "Short.", "--reason", "receipt:read=Because.", redirect_uri="http://evil.example/")

    for option in ("--description: ", "--reason receipt:read: ", "--redirect-uri: "):
        assert option in str(refusal.value)


def test_description_and_reasons_that_follow_the_rules_are_kept_and_wait_for_the_review(create, member):
    create("--description", "word " * 127, "--reason", "receipt:read=To sort them.", "--owner", member.email)

    row = Application.objects.get()
    submission = row.submissions.get()
    assert row.description == submission.description == " ".join(["word"] * 127)
    assert {entry["scope"]: entry["reason"] for entry in submission.scopes}["receipt:read"] == "To sort them."
    assert [(place.user, place.role) for place in row.team.all()] == [(member, "owner")]


def test_unknown_profile_is_told_with_those_there_are(create):
    with pytest.raises(CommandError, match="choose one of connection, customer, portal, service"):
        create(profile="wizard")


def test_without_an_organisation_the_operator_is_told_what_to_do(manage):
    with pytest.raises(CommandError, match="create_organisation first"):
        manage("create_application", "--name", "x", "--profile", "service")


def test_client_id_that_is_taken_is_refused(organisation):
    fields = {"name": "x", "profile": "service", "organisation": organisation, "client_id": "taken"}
    create_application(**fields)

    with pytest.raises(ValidationError, match="Client ID already exists"):
        create_application(**fields)


def test_repeated_redirect_uris_and_scopes_count_once(organisation):
    application, _secret = create_application(
        name="x",
        profile="connection",
        organisation=organisation,
        redirect_uris=[CALLBACK, f" {CALLBACK}"],
        scopes=["receipt:read", "receipt:read"],
    )

    assert application.redirect_uri_list == [CALLBACK]
    assert application.scopes == ["receipt:read"]
    assert application.requested_scopes.count() == 1


def test_reasons_survive_a_change_of_scopes(make_application):
    row = make_application("connection", optional_scopes=["receipt:read"]).row

    set_requested_scopes(application=row, scopes=["receipt:read"])

    kept = row.requested_scopes.get()
    assert (kept.scope, kept.reason, kept.is_optional) == ("receipt:read", "We need receipt:read.", True)


def test_replacing_a_secret_by_itself_changes_nothing(application):
    assert not replace_secret(application=application.row, client_secret=application.secret)
    assert replace_secret(application=application.row, client_secret="n" * 128)
    assert not check_password(application.secret, Application.objects.get().client_secret)
