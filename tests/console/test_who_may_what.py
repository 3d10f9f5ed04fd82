"""Who may see and do what: every address of the portal and of the review desk, asked by everybody there is.

The addresses are taken from the URL map itself: one that has no line in `ADDRESSES` fails here. Nobody outside the
team, no reviewer of another organisation and no anonymous visitor sees or changes anything (CONTRACT section 9).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from apps.accounts.models import User
from apps.console.urls import developer, review
from apps.developers.models import (
    Application,
    Draft,
    HistoryEntry,
    Invitation,
    RequestedScope,
    Role,
    Submission,
    TeamMember,
    TermsAgreement,
    TermsVersion,
)
from apps.developers.services import review as reviews
from apps.developers.services import secrets, team, versions
from apps.developers.services.applications import mark_deleted
from apps.developers.services.terms import current_terms
from apps.organisations.models import Reviewer
from apps.webhooks import services as webhooks
from apps.webhooks.models import EndpointKey, KeyKind, Notification, State
from tests.developers.conftest import DESCRIPTION, REASONS, waiting

pytestmark = pytest.mark.spec("CONTRACT", "9 (who sees what)")

NAME = "Quillfeather Ledger"
#: What everybody's form for the next version carries.
FORM_KEY = "a-form-that-is-open"
ROLES = {
    "viewer": Role.VIEWER,
    "developer": Role.DEVELOPER,
    "owner": Role.OWNER,
    "reviewer on the team": Role.DEVELOPER,
}
REVIEWERS = {"reviewer", "reviewer on the team"}
PEOPLE = [
    "anonymous",
    "stranger",
    "viewer",
    "developer",
    "owner",
    "reviewer",
    "reviewer on the team",
    "reviewer elsewhere",
    "former member",
    "administrator",
    "invited",
    "suspended owner",
]
SIGNED_OUT = {"anonymous", "suspended owner"}


class Answers:
    """What an address may answer."""

    LOG_IN = "is sent to log in"
    MISSING = "finds nothing (404)"
    FORBIDDEN = "is refused (403)"
    OWN = "is told that another reviewer decides (409)"
    LET_IN = "is let in"


@dataclass(frozen=True)
class Scene:
    """An application with everything that an address may be about."""

    application: Application
    people: dict[str, User]
    target: TeamMember
    invitation: Invitation


Data = Callable[[Scene], dict[str, Any]]
Rule = Callable[[str, str], str]


def anybody(person: str, method: str) -> str:
    """Public; what is sent belongs to somebody who is logged in."""
    return Answers.LOG_IN if method == "POST" and person in SIGNED_OUT else Answers.LET_IN


def really_anybody(person: str, method: str) -> str:
    return Answers.LET_IN


def whoever_is_logged_in(person: str, method: str) -> str:
    return Answers.LOG_IN if person in SIGNED_OUT else Answers.LET_IN


def the_invited(person: str, method: str) -> str:
    if person in SIGNED_OUT:
        return Answers.LOG_IN
    return Answers.LET_IN if person == "invited" else Answers.MISSING


def team_of(read: Role, write: Role) -> Rule:
    """The team, from these roles on."""
    order = [Role.VIEWER, Role.DEVELOPER, Role.OWNER]

    def rule(person: str, method: str) -> str:
        if person in SIGNED_OUT:
            return Answers.LOG_IN
        if person not in ROLES:
            return Answers.MISSING
        needed = read if method == "GET" else write
        return Answers.LET_IN if order.index(ROLES[person]) >= order.index(needed) else Answers.FORBIDDEN

    return rule


def any_reviewer(person: str, method: str) -> str:
    if person in SIGNED_OUT:
        return Answers.LOG_IN
    return Answers.LET_IN if person in REVIEWERS | {"reviewer elsewhere"} else Answers.MISSING


def its_reviewers(person: str, method: str) -> str:
    if person in SIGNED_OUT:
        return Answers.LOG_IN
    return Answers.LET_IN if person in REVIEWERS else Answers.MISSING


def its_reviewers_for_others(person: str, method: str) -> str:
    if person == "reviewer on the team" and method == "POST":
        return Answers.OWN
    return its_reviewers(person, method)


@dataclass(frozen=True)
class Address:
    """Who may go there, and a form that would change something."""

    rule: Rule
    data: Data | None = None
    #: What has to be so before the form can change something.
    arrange: Callable[[Scene], object] | None = None


READ_ALL_WRITE_DEVELOPERS = team_of(Role.VIEWER, Role.DEVELOPER)
READ_ALL_WRITE_OWNERS = team_of(Role.VIEWER, Role.OWNER)
DEVELOPERS = team_of(Role.DEVELOPER, Role.DEVELOPER)


def version_of(scene: Scene) -> dict[str, Any]:
    return {
        "seen": versions.mark_of(Application.objects.get(pk=scene.application.pk)),
        "form_key": FORM_KEY,
        "description": f"Newer {DESCRIPTION}",
        "scopes": ["receipt:write", "receipt:read"],
        **{f"reason-{scope}": reason for scope, reason in REASONS.items()},
    }


def branding_of(scene: Scene) -> dict[str, Any]:
    pages = {"website_url": "https://other.example/", "privacy_policy_url": "https://other.example/", "terms_url": ""}
    return {"action": "save", "name": f"{NAME} Two", "brand_colour": "#1d4ed8", **pages}


def redirects_of(scene: Scene) -> dict[str, Any]:
    return {
        "redirect_uris": "https://other.example/callback",
        "seen": "\n".join(scene.application.redirect_uri_list),
    }


def mark_of(scene: Scene) -> str:
    return secrets.mark_of(Application.objects.get(pk=scene.application.pk))


def decision_of(scene: Scene) -> dict[str, Any]:
    return {
        "submission": waiting(scene.application).pk,
        "redirect_uris": " ".join(scene.application.redirect_uri_list),
        "decision": "approve",
        "reason": "",
    }


def trust_of(scene: Scene) -> dict[str, Any]:
    return {"is_trusted": "yes", "redirect_uris": " ".join(scene.application.redirect_uri_list)}


def suspend(scene: Scene) -> None:
    reviews.suspend_application(application=scene.application, actor=None)


def set_webhook(scene: Scene) -> None:
    webhooks.set_endpoint(application=scene.application, actor=None, url="https://partner.example/hooks")
    webhooks.send_test(application=scene.application)


def set_webhook_tested_long_ago(scene: Scene) -> None:
    set_webhook(scene)
    Notification.objects.update(state=State.FAILED, created_at=timezone.now() - timedelta(hours=1))


def webhook_key_of(scene: Scene) -> dict[str, Any]:
    key = EndpointKey.objects.get(kind=KeyKind.API_KEY)
    return {"kind": KeyKind.API_KEY.value, "seen": webhooks.mark_of(key), "overlap": 3600}


ADDRESSES: dict[str, Address] = {
    "developer:applications": Address(whoever_is_logged_in),
    "developer:application-create": Address(whoever_is_logged_in),
    "developer:draft": Address(whoever_is_logged_in, lambda scene: {"name": "Penni"}),
    "developer:terms": Address(really_anybody),
    "developer:terms-version": Address(anybody),
    "developer:invitation": Address(the_invited, lambda scene: {}),
    # Without a run of one's own there is nothing to come back to.
    "developer:try-callback": Address(really_anybody),
    "developer:application": Address(READ_ALL_WRITE_DEVELOPERS),
    "developer:comment": Address(READ_ALL_WRITE_DEVELOPERS, lambda scene: {"text": "Is it clear now?"}),
    "developer:version": Address(READ_ALL_WRITE_DEVELOPERS, version_of),
    "developer:version-draft": Address(READ_ALL_WRITE_DEVELOPERS, version_of),
    "developer:version-live": Address(DEVELOPERS, lambda scene: {}),
    "developer:versions": Address(READ_ALL_WRITE_DEVELOPERS),
    "developer:version-sent": Address(READ_ALL_WRITE_DEVELOPERS),
    "developer:version-withdraw": Address(
        READ_ALL_WRITE_DEVELOPERS, lambda scene: {"number": waiting(scene.application).number}
    ),
    "developer:credentials": Address(READ_ALL_WRITE_DEVELOPERS),
    "developer:secret-create": Address(
        READ_ALL_WRITE_DEVELOPERS, lambda scene: {"overlap": 24 * 60 * 60, "seen": mark_of(scene)}
    ),
    "developer:secret-end": Address(READ_ALL_WRITE_DEVELOPERS, lambda scene: {"seen": mark_of(scene)}),
    "developer:branding": Address(READ_ALL_WRITE_DEVELOPERS, branding_of),
    "developer:redirects": Address(READ_ALL_WRITE_DEVELOPERS, redirects_of),
    "developer:team": Address(READ_ALL_WRITE_OWNERS),
    "developer:member-invite": Address(
        READ_ALL_WRITE_OWNERS, lambda scene: {"email": "new@example.com", "role": "viewer"}
    ),
    "developer:member-role": Address(READ_ALL_WRITE_OWNERS, lambda scene: {"role": "developer"}),
    # Of somebody else; everybody may leave by themselves, see below.
    "developer:member-remove": Address(team_of(Role.OWNER, Role.OWNER), lambda scene: {}),
    "developer:invitation-cancel": Address(READ_ALL_WRITE_OWNERS, lambda scene: {}),
    "developer:ownership-transfer": Address(
        READ_ALL_WRITE_OWNERS, lambda scene: {"to": scene.target.pk, "is_sure": "on"}
    ),
    "developer:webhook": Address(READ_ALL_WRITE_DEVELOPERS, lambda scene: {"url": "https://partner.example/hooks"}),
    "developer:webhook-key": Address(READ_ALL_WRITE_DEVELOPERS, webhook_key_of, set_webhook),
    "developer:webhook-act": Address(READ_ALL_WRITE_DEVELOPERS, lambda scene: {"action": "pause"}, set_webhook),
    "developer:webhook-again": Address(
        READ_ALL_WRITE_DEVELOPERS,
        lambda scene: {"notification": Notification.objects.get().pk},
        set_webhook_tested_long_ago,
    ),
    "developer:activity": Address(READ_ALL_WRITE_DEVELOPERS),
    "developer:delete": Address(READ_ALL_WRITE_OWNERS, lambda scene: {"name": NAME}),
    "developer:integrate": Address(READ_ALL_WRITE_DEVELOPERS),
    "developer:try": Address(DEVELOPERS),
    "developer:try-start": Address(DEVELOPERS),
    "developer:try-over": Address(DEVELOPERS),
    "developer:try-redirect": Address(DEVELOPERS, lambda scene: {"action": "add"}),
    "developer:try-step": Address(DEVELOPERS),
    "review:queue": Address(any_reviewer),
    "review:terms": Address(any_reviewer),
    "review:application": Address(its_reviewers),
    "review:decide": Address(its_reviewers_for_others, decision_of),
    "review:comment": Address(its_reviewers, lambda scene: {"text": "It is."}),
    "review:suspend": Address(its_reviewers_for_others, lambda scene: {"reason": "Sends too much."}),
    "review:reinstate": Address(its_reviewers_for_others, lambda scene: {"reason": "All is well."}, suspend),
    "review:trust": Address(its_reviewers_for_others, trust_of),
}
PATTERNS = {
    f"{module.app_name}:{pattern.name}": pattern for module in (developer, review) for pattern in module.urlpatterns
}
WATCHED = (
    Application,
    RequestedScope,
    TeamMember,
    Invitation,
    Submission,
    HistoryEntry,
    TermsVersion,
    TermsAgreement,
    Draft,
)
#: The addresses that are about one application.
OF_ONE = [
    name for name, pattern in PATTERNS.items() if "pk" in pattern.pattern.converters and name != "developer:invitation"
]


@pytest.fixture
def scene(register, reviewer, owner, make_user, organisation, other_organisation, join, submit) -> Scene:
    """A live application with another version waiting, two secrets, a team, an open invitation and comments."""
    application, _secret = register(name=NAME)
    reviews.approve_submission(submission=waiting(application), actor=reviewer)
    application.refresh_from_db()
    people = {
        "stranger": make_user("stranger@example.com"),
        "viewer": join(application, Role.VIEWER, "vera@example.com").user,
        "developer": join(application, Role.DEVELOPER, "dora@example.com").user,
        "owner": owner,
        "reviewer": reviewer,
        "reviewer on the team": join(application, Role.DEVELOPER, "rob@example.com").user,
        "reviewer elsewhere": make_user("oscar@example.com"),
        "former member": make_user("fred@example.com"),
        "administrator": make_user("root@example.com", is_staff=True, is_superuser=True),
        "invited": make_user("ivan@example.com"),
        "suspended owner": join(application, Role.OWNER, "sam@example.com").user,
    }
    for member in application.team.filter(role=Role.OWNER):
        current_terms(organisation).agreements.get_or_create(user=member.user)
    current_terms(other_organisation)
    people["suspended owner"].is_active = False
    people["suspended owner"].save()
    Reviewer.objects.create(user=people["reviewer on the team"], organisation=organisation)
    Reviewer.objects.create(user=people["reviewer elsewhere"], organisation=other_organisation)
    former = TeamMember.objects.create(application=application, user=people["former member"], role=Role.OWNER)
    team.remove_member(member=former, actor=owner)
    invitation = team.invite_member(application=application, actor=owner, email="ivan@example.com", role=Role.VIEWER)
    reviews.add_comment(application=application, actor=owner, text="Is it clear?", is_by_reviewer=False)
    secrets.create_secret(application=application, actor=owner)
    submit(application, scopes=["receipt:write", "receipt:read"])
    application.refresh_from_db()
    target = join(application, Role.VIEWER, "target@example.com")
    application.team.update(form_key=FORM_KEY)
    return Scene(application, people, target, invitation)


def url_of(name: str, scene: Scene, application_id: object = None) -> str:
    """Return the address, about the scene's application or about another id."""
    arguments = {
        "pk": scene.invitation.pk if name == "developer:invitation" else scene.application.pk,
        "member_id": scene.target.pk,
        "invitation_id": scene.invitation.pk,
        "slug": scene.application.organisation.slug,
        "number": 1,
        "step": "request",
    }
    if application_id is not None:
        arguments["pk"] = application_id
    return reverse(name, kwargs={key: arguments[key] for key in PATTERNS[name].pattern.converters})


def client_of(person: str, scene: Scene, host: str = "localhost") -> Client:
    client = Client(SERVER_NAME=host)
    if person != "anonymous":
        client.force_login(scene.people[person])
    return client


def rows() -> dict[str, Any]:
    """Everything that is known about applications, and how many mails and other jobs are queued."""
    found: dict[str, Any] = {model.__name__: list(model.objects.order_by("pk").values()) for model in WATCHED}
    found["jobs"] = ProcrastinateJob.objects.count()
    return found


def answer_of(response: HttpResponse) -> str:
    """Say which of the answers that is."""
    location = response.headers.get("Location", "")
    is_login = response.status_code == 302 and location.startswith(reverse("account_login"))
    # A long text is given back to whoever was logged out while they wrote it; the script is told by 401.
    is_given_back = response.status_code == 403 and "You are not logged in any more" in response.content.decode()
    if is_login or is_given_back or response.status_code == 401:
        return Answers.LOG_IN
    by_status = {404: Answers.MISSING, 403: Answers.FORBIDDEN, 409: Answers.OWN}
    return by_status.get(response.status_code, Answers.LET_IN)


def walk(person: str, scene: Scene) -> Iterator[tuple[str, str, HttpResponse, bool]]:
    """Ask every address by GET and POST, and say whether that changed anything; then all is as it was before."""
    client = client_of(person, scene)
    before = rows()
    for name, address in ADDRESSES.items():
        for method in ("GET", "POST"):
            with transaction.atomic():
                if address.arrange is not None:
                    address.arrange(scene)
                data = address.data(scene) if address.data is not None and method == "POST" else {}
                start = rows() if address.arrange is not None else before
                response = getattr(client, method.lower())(url_of(name, scene), data)
                is_changed = rows() != start
                transaction.set_rollback(True)
            if address.arrange is not None:
                scene.application.refresh_from_db()
            yield name, method, response, is_changed


def test_every_address_has_its_line():
    assert set(PATTERNS) == set(ADDRESSES)


@pytest.mark.parametrize("person", PEOPLE)
def test_address_answers_as_the_table_says_and_who_is_refused_changes_nothing(scene, person):
    found, expected, changed = {}, {}, {}
    for name, method, response, is_changed in walk(person, scene):
        address = ADDRESSES[name]
        found[name, method] = answer_of(response)
        expected[name, method] = answer = address.rule(person, method)
        if answer in {Answers.LOG_IN, Answers.MISSING}:
            assert NAME not in response.content.decode(), name
        has_effect = answer == Answers.LET_IN and method == "POST" and address.data is not None
        if is_changed != has_effect:
            changed[name, method] = (is_changed, response.status_code)

    assert found == expected
    assert changed == {}


def test_no_address_is_a_dead_end_for_who_had_to_log_in_on_the_way(scene):
    """Log-in leads back to where the form went, by GET; reloading a refused form from the address bar does, too."""
    for person in ("owner", "reviewer"):
        client = client_of(person, scene)
        for name, address in ADDRESSES.items():
            if address.rule(person, "GET") == Answers.LET_IN:
                assert client.get(url_of(name, scene)).status_code != 405, name


def test_application_that_is_not_for_them_is_one_that_does_not_exist(scene):
    """The answer does not tell a stranger that there is an application with that id."""
    for person in PEOPLE:
        client = client_of(person, scene)
        for name in OF_ONE:
            of_nothing, of_theirs = client.get(url_of(name, scene, uuid4())), client.get(url_of(name, scene))
            assert answer_of(of_nothing) == (Answers.LOG_IN if person in SIGNED_OUT else Answers.MISSING), name
            if ADDRESSES[name].rule(person, "GET") in {Answers.MISSING, Answers.LOG_IN}:
                assert shape_of(of_theirs) == shape_of(of_nothing), name


def shape_of(response: HttpResponse) -> tuple[Any, ...]:
    """What a stranger can tell two answers apart by."""
    request = response.wsgi_request
    content = response.content.decode().replace(request.get_full_path(), "PATH")
    token = request.META.get("CSRF_COOKIE")
    return response.status_code, len(content), sorted(response.headers), bool(token)


def test_deleted_application_is_nobody_s(scene):
    mark_deleted(application=scene.application, actor=None)
    for person in PEOPLE:
        client = client_of(person, scene)
        found = {answer_of(client.get(url_of(name, scene))) for name in OF_ONE}
        found |= {answer_of(client.post(url_of(name, scene))) for name in OF_ONE}
        assert found == {Answers.LOG_IN if person in SIGNED_OUT else Answers.MISSING}, person


@pytest.mark.parametrize("person", ["viewer", "developer", "reviewer on the team"])
def test_everybody_may_leave_and_nobody_else_is_made_to(scene, person):
    member = scene.application.team.get(user=scene.people[person])
    url = reverse("developer:member-remove", args=[scene.application.pk, member.pk])
    client = client_of(person, scene)

    assert client.get(url).status_code == 200
    assert client.post(url).status_code == 302
    assert not TeamMember.objects.filter(pk=member.pk).exists()
    assert client.get(url_of("developer:application", scene)).status_code == 404


def test_member_of_another_team_is_not_found_through_one_s_own(scene, register, make_user):
    """An owner of one application reaches into another by its members' and invitations' ids."""
    eve = make_user("eve@example.com")
    own, _secret = register(name="Eve's", actor=eve)
    client = Client()
    client.force_login(eve)
    before = rows()

    for name in ("developer:member-role", "developer:member-remove", "developer:invitation-cancel"):
        response = client.post(url_of(name, scene, own.pk), {"role": "owner"})
        assert response.status_code in {404, 409}, name
        assert NAME not in response.content.decode()
    response = client.post(
        reverse("developer:ownership-transfer", args=[own.pk]), {"to": scene.target.pk, "is_sure": "on"}
    )
    assert response.status_code == 400
    response = client.post(
        reverse("developer:version-withdraw", args=[own.pk]), {"number": waiting(scene.application).number}
    )
    assert response.status_code == 404
    assert rows() == before


def test_submission_of_another_application_is_not_decided_on(scene, register):
    other, _secret = register(name="Other")
    before = rows()
    data = {**decision_of(scene), "submission": waiting(scene.application).pk}
    response = client_of("reviewer", scene).post(reverse("review:decide", args=[other.pk]), data)

    assert response.status_code == 404
    assert rows() == before


def test_service_is_none_of_the_reviewers_business(scene, make_application):
    service = make_application("service")
    client = client_of("reviewer", scene)

    found = {client.get(url_of(name, scene, service.row.pk)).status_code for name in OF_ONE if "review:" in name}
    assert found == {404}


def test_lists_show_only_one_s_own(scene):
    for person in PEOPLE:
        client = client_of(person, scene)
        portal = client.get(reverse("developer:applications")).content.decode()
        desk = client.get(reverse("review:queue")).content.decode()
        assert (NAME in portal) == (person in {*ROLES, "invited"}), person
        assert (NAME in desk) == (person in REVIEWERS), person


@pytest.mark.parametrize("host", ["testserver", "campus.localhost"])
def test_host_makes_no_difference_to_who_may_look(scene, host):
    """The portal shows the applications of one's teams, whatever the organisation whose site it is."""
    for person in PEOPLE:
        client = client_of(person, scene, host=host)
        for name in ("developer:application", "developer:credentials", "review:application"):
            response = client.get(url_of(name, scene))
            assert answer_of(response) == ADDRESSES[name].rule(person, "GET"), (person, name)


def test_every_form_needs_its_token(scene):
    """A page of another site cannot send any of these forms (CSRF)."""
    before = rows()
    for person in ("owner", "reviewer", "invited"):
        client = Client(enforce_csrf_checks=True)
        client.force_login(scene.people[person])
        for name, address in ADDRESSES.items():
            if address.rule(person, "POST") == Answers.LET_IN:
                assert client.post(url_of(name, scene), {}).status_code == 403, name

    assert rows() == before


def test_removed_member_is_out_at_once(scene):
    client = client_of("developer", scene)
    assert client.get(url_of("developer:application", scene)).status_code == 200

    team.remove_member(member=scene.application.team.get(user=scene.people["developer"]), actor=scene.people["owner"])
    assert client.get(url_of("developer:application", scene)).status_code == 404


def test_former_reviewer_is_out_at_once(scene):
    client = client_of("reviewer", scene)
    assert client.get(url_of("review:application", scene)).status_code == 200

    Reviewer.objects.filter(user=scene.people["reviewer"]).delete()
    assert client.get(url_of("review:application", scene)).status_code == 404
