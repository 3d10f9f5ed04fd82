"""The page where administrators search the trail, and its exports."""

import csv
import io
import json

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.audit import trail
from apps.audit.models import AuditEvent, AuditPerson
from apps.audit.selectors import PAGE_SIZE
from apps.organisations.models import Reviewer


def logged_in(user):
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def people(organisation, make_user):
    """A browser of everybody who might come by."""
    reviewer = make_user("reviewer@example.com")
    Reviewer.objects.create(user=reviewer, organisation=organisation)
    auditor = make_user("auditor@example.com", is_staff=True, first_name="Grace", last_name="Hopper")
    auditor.user_permissions.add(Permission.objects.get(codename="view_auditevent"))
    return {
        "anonymous": Client(),
        "user": logged_in(make_user("user@example.com")),
        "reviewer": logged_in(reviewer),
        "staff": logged_in(make_user("staff@example.com", is_staff=True)),
        "auditor": logged_in(auditor),
    }


@pytest.fixture
def auditor(people):
    return people["auditor"]


PAGES = ["/audit/", "/audit/events.csv", "/audit/events.jsonl"]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize(
    ("who", "status"), [("anonymous", 302), ("user", 403), ("reviewer", 403), ("staff", 403), ("auditor", 200)]
)
def test_only_administrators_with_the_permission_see_the_trail(people, page, who, status):
    assert people[who].get(page).status_code == status


def test_administration_leads_to_the_page(auditor):
    assert "/admin/audit/auditevent/" in auditor.get("/admin/").content.decode()
    assert auditor.get("/admin/audit/auditevent/")["Location"] == "/audit/"
    assert auditor.get("/admin/audit/auditevent/add/").status_code == 403
    assert auditor.post("/admin/audit/auditevent/1/delete/").status_code == 403


def found(client, **query):
    response = client.get("/audit/", query)
    assert response.status_code == 200, response.context["form"].errors
    return [shown.event.tag for shown in response.context["page"].events]


@pytest.fixture
def events(auditor, application, member, other_organisation):
    """Three events that differ in everything that can be searched for."""
    trail.record("user:thing:first", actor=member, application=application.row)
    trail.record("user:thing:second", organisation=other_organisation)
    auditor.get("/", REMOTE_ADDR="192.0.2.7")
    trail.record("server:thing:third", about=member)
    AuditPerson.objects.bulk_create(
        [AuditPerson(event=AuditEvent.objects.latest("pk"), part="actor", salt=b"-", address="192.0.2.7")]
    )


@pytest.mark.parametrize(
    ("query", "tags"),
    [
        ({"tag": "user:thing:first"}, ["user:thing:first"]),
        ({"tag": "user:thing"}, ["user:thing:second", "user:thing:first"]),
        ({"application": "{application.client_id}"}, ["user:thing:first"]),
        ({"application": "{application.row.pk}"}, ["user:thing:first"]),
        ({"application": "EXAMPLE connection"}, ["user:thing:first"]),
        ({"user": "ADA@example.com"}, ["server:thing:third", "user:thing:first"]),
        ({"user": "{member.pk}"}, ["server:thing:third", "user:thing:first"]),
        ({"organisation": "{other_organisation.pk}"}, ["user:thing:second"]),
        ({"address": "192.0.2.7"}, ["server:thing:third"]),
        ({"since": "2000-01-01T00:00", "until": "2000-01-02T00:00"}, []),
        ({"since": "2000-01-01T00:00", "tag": "user:thing:first"}, ["user:thing:first"]),
        ({"user": "ada@example.com", "tag": "server:"}, ["server:thing:third"]),
    ],
)
def test_events_are_found(auditor, events, application, member, other_organisation, query, tags):
    values = {"application": application, "member": member, "other_organisation": other_organisation}
    assert found(auditor, **{name: value.format(**values) for name, value in query.items()}) == tags


@pytest.mark.parametrize(
    "query",
    [
        {"user": "nobody@example.com"},
        {"application": "unknown"},
        {"application": "\x00"},
        {"address": "here"},
        {"tag": "' OR 1=1"},
        {"organisation": "x"},
        {"since": "yesterday"},
    ],
)
@pytest.mark.parametrize("page", PAGES)
def test_search_for_what_cannot_be_says_so(auditor, query, page):
    response = auditor.get(page, query)

    assert response.status_code == 400
    assert response.context["form"].errors.keys() == query.keys()


@pytest.mark.parametrize("place", ["x", "1_1", "2026-01-01_1", "2026-01-01T00:00:00+00:00_0", "\x00", "9" * 400])
def test_malformed_place_is_the_first_page(auditor, place):
    assert auditor.get("/audit/", {"before": place, "after": place}).status_code == 200


def test_pages_lead_on_and_back_and_leave_nothing_out(auditor):
    for number in range(2 * PAGE_SIZE + 10):
        trail.record("server:thing:done", number=number)
    numbers, address = [], "/audit/?tag=server:thing:done"
    pages = [address]
    while True:
        response = auditor.get(address)
        numbers += [shown.event.details["number"] for shown in response.context["page"].events]
        if not response.context["older"]:
            break
        address = f"/audit/?{response.context['older']}"
        pages.append(address)

    assert numbers == list(reversed(range(2 * PAGE_SIZE + 10)))
    assert len(pages) == 3
    back = auditor.get(f"/audit/?{response.context['newer']}")
    assert [shown.event.details["number"] for shown in back.context["page"].events] == numbers[
        PAGE_SIZE : 2 * PAGE_SIZE
    ]


def test_number_of_queries_does_not_grow(auditor, application, member, django_assert_num_queries):
    def ask():
        with CaptureQueriesContext(connection) as captured:
            auditor.get("/audit/?tag=user:thing")
        return len(captured)

    trail.record("user:thing:done", actor=member, application=application.row)
    few = ask()
    for _ in range(40):
        trail.record("user:thing:done", about=member.pk, application=application.row)

    assert ask() <= few + 1  # the names of users that no event keeps
    assert few <= 12


def test_times_to_search_by_are_said_to_be_utc(auditor):
    """As the times of the events are."""
    form = auditor.get("/audit/").context["form"]

    assert all("UTC" in str(form.fields[name].help_text) for name in ("since", "until"))


@pytest.mark.parametrize("page", ["/audit/events.csv", "/audit/events.jsonl"])
def test_export_asks_as_often_for_many_events_as_for_one(auditor, application, member, page):
    def ask():
        with CaptureQueriesContext(connection) as captured:
            text = auditor.get(page, {"tag": "user:thing"}).getvalue().decode()
        return len(captured), text.count("user:thing:done")

    trail.record("user:thing:done", actor=member, about=member.pk, application=application.row)
    few, _ = ask()
    for _ in range(40):
        trail.record("user:thing:done", actor=member, about=member.pk, application=application.row)

    assert ask() == (few, 41)


def test_what_a_browser_sends_as_its_name_is_text(auditor, member, client):
    client.post(
        "/account/login/", {"login": member.email, "password": "x"}, headers={"User-Agent": "<script>x</script>"}
    )

    page = auditor.get("/audit/").content.decode()

    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert "<script>x" not in page


# --- export ------------------------------------------------------------------------------------------------


def test_json_lines_tell_everything(auditor, application, member):
    trail.record("user:thing:done", actor=member, application=application.row, scopes=["a"])

    response = auditor.get("/audit/events.jsonl", {"user": member.email})
    lines = [json.loads(line) for line in response.getvalue().splitlines()]

    assert response["Content-Disposition"].startswith('attachment; filename="audit-')
    assert len(lines) == 1
    assert lines[0]["tag"] == "user:thing:done"
    assert (lines[0]["user_id"], lines[0]["name"]) == (str(member.pk), "Ada Byron")
    assert (lines[0]["application_id"], lines[0]["application"]) == (str(application.row.pk), "Example connection")
    assert lines[0]["details"] == {"scopes": ["a"]}


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_csv_has_no_formulas(auditor, member, name):
    member.first_name, member.last_name = name, ""
    trail.record("user:thing:done", actor=member)

    text = auditor.get("/audit/events.csv", {"tag": "user:thing:done"}).getvalue().decode("utf-8-sig")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))

    assert row["name"].startswith("'")
    assert all(not value.startswith(("=", "+", "-", "@", "\t", "\r", "＝")) for value in row.values())


def test_export_is_an_event_without_what_was_searched_for(auditor, member):
    auditor.get("/audit/events.csv", {"user": member.email}).getvalue()

    event = AuditEvent.objects.get(tag="administrator:audit:exported")
    assert event.details == {"format": "csv", "searched_by": ["user"]}
    assert event.people.get().name == "Grace Hopper"
