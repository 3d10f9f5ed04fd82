"""The review desk's queue and its page of terms."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.console.reviewing.queue import list_queue
from apps.developers.models import Application, Outcome, Role, Status, Submission, TeamMember
from apps.developers.services import review
from apps.developers.services.terms import agree_to_terms, current_terms, publish_terms
from apps.organisations.models import Reviewer
from tests.developers.conftest import waiting

pytestmark = pytest.mark.spec("CONTRACT", "9 (review)")

QUEUE = "/review/"
TERMS = "/review/terms/"


@pytest.fixture
def desk(reviewer):
    """The reviewer's browser."""
    client = Client()
    client.force_login(reviewer)
    return client


def names(page):
    assert page.status_code == 200
    return [application.name for application in page.context["page"].object_list]


def age_submission(application, **age):
    application.submissions.update(submitted_at=timezone.now() - timedelta(**age))


def test_who_reviews_nothing_has_no_review_desk(member, pending):
    client = Client()
    client.force_login(member)

    assert client.get(QUEUE).status_code == 404
    assert client.get(TERMS).status_code == 404
    assert Client().get(QUEUE)["Location"] == f"/account/login/?next={QUEUE}"


def test_what_waits_longest_comes_first(desk, register):
    for name, days in [("Second", 3), ("First", 40), ("Third", 0)]:
        age_submission(register(name=name)[0], days=days)

    assert names(desk.get(QUEUE)) == ["First", "Second", "Third"]


@pytest.mark.parametrize(
    ("age", "words"),
    [
        ({"seconds": 5}, "less than a minute"),
        ({"minutes": 2}, "2\xa0minutes"),
        ({"days": 3, "hours": 5}, "3\xa0days"),
        ({"days": 15}, "2\xa0weeks"),
    ],
)
def test_age_is_told_in_its_largest_unit(desk, pending, age, words):
    age_submission(pending, **age)

    assert f">waits {words}<" in desk.get(QUEUE).content.decode()


def test_row_says_what_it_is_and_whose(desk, pending):
    page = desk.get(QUEUE).content.decode()

    for words in ("Penni Budget", "New", "1 scope", "Connection (receipts)", "Olive Owner", "owner@example.com"):
        assert words in page


def test_first_registration_second_try_and_update_are_told_apart(desk, pending, submit, reviewer):
    review.request_changes(submission=waiting(pending), actor=reviewer, reason="Say more.")
    submit(pending)
    assert "New, version 2" in desk.get(QUEUE).content.decode()

    review.approve_submission(submission=waiting(pending), actor=reviewer)
    assert "Nothing waits for a decision" in desk.get(QUEUE).content.decode()

    submit(pending, scopes=["receipt:write", "receipt:read"])
    page = desk.get(QUEUE).content.decode()
    assert ">Update<" in "".join(page.split())
    # The scopes of what waits, not of what is live.
    assert "2 scopes" in page


def test_only_the_organisations_that_one_reviews_are_shown(
    desk, register, reviewer, organisation, other_organisation, make_application
):
    register(name="Ours")
    foreign = register(name="Theirs", organisation=other_organisation, terms=current_terms(other_organisation))[0]
    make_application("service", name="Backend", status=Status.PENDING)

    assert names(desk.get(QUEUE, {"status": "all"})) == ["Ours"]
    assert 'name="organisation"' not in desk.get(QUEUE).content.decode()

    Reviewer.objects.create(user=reviewer, organisation=other_organisation)
    assert names(desk.get(QUEUE)) == ["Ours", "Theirs"]
    assert names(desk.get(QUEUE, {"organisation": "campus"})) == ["Theirs"]
    Application.objects.filter(pk=foreign.pk).update(status=Status.DELETED)
    assert names(desk.get(QUEUE)) == ["Ours"]


def test_filters_by_status(desk, register, reviewer, submit):
    _waits, changes, approved, rejected, suspended = [
        register(name=name)[0] for name in ("Waits", "Changes", "Approved", "Rejected", "Suspended")
    ]
    review.request_changes(submission=waiting(changes), actor=reviewer, reason="Say more.")
    review.reject_submission(submission=waiting(rejected), actor=reviewer, reason="Not for us.")
    for application in (approved, suspended):
        review.approve_submission(submission=waiting(application), actor=reviewer)
    review.suspend_application(application=suspended, actor=reviewer, reason="It sends spam.")
    submit(approved, scopes=["receipt:read", "receipt:write"])

    # An approved application of which an update waits is under both.
    assert names(desk.get(QUEUE)) == ["Waits", "Approved"]
    assert names(desk.get(QUEUE, {"status": "waiting"})) == ["Waits", "Approved"]
    assert names(desk.get(QUEUE, {"status": "changes_requested"})) == ["Changes"]
    assert names(desk.get(QUEUE, {"status": "approved"})) == ["Approved"]
    assert names(desk.get(QUEUE, {"status": "rejected"})) == ["Rejected"]
    assert names(desk.get(QUEUE, {"status": "suspended"})) == ["Suspended"]
    assert sorted(names(desk.get(QUEUE, {"status": "all"}))) == sorted(
        ["Waits", "Changes", "Approved", "Rejected", "Suspended"]
    )


def test_filters_by_profile(desk, register):
    register(name="Receipts")
    register(name="Loyalty", profile="customer", scopes=[], reasons={})

    assert names(desk.get(QUEUE, {"profile": "customer"})) == ["Loyalty"]


@pytest.mark.parametrize("text", ["penni", "BUDGET penni", "olive", "Olive Owner", "owner@example", " penni  owner "])
def test_search_finds_by_name_and_by_owner(desk, register, pending, make_user, text):
    register(name="Torilla", actor=make_user("zoe@shop.example", first_name="Zoe", last_name="Shopkeeper"))

    assert names(desk.get(QUEUE, {"q": text})) == ["Penni Budget"]


def test_search_finds_by_client_id_and_not_by_who_is_no_owner(desk, pending, join):
    join(pending, Role.VIEWER, "vera@example.com")

    assert names(desk.get(QUEUE, {"q": pending.client_id})) == ["Penni Budget"]
    assert names(desk.get(QUEUE, {"q": "vera"})) == []
    assert names(desk.get(QUEUE, {"q": "%"})) == []
    assert "Clear the filters" in desk.get(QUEUE, {"q": "vera"}).content.decode()


@pytest.mark.parametrize(
    "query", [{"status": "nonsense"}, {"profile": "service"}, {"q": "a\x00b"}, {"q": "x" * 101}, {"page": "-7"}]
)
def test_filter_that_makes_no_sense_is_told_or_left_out(desk, pending, query):
    assert names(desk.get(QUEUE, query)) == ["Penni Budget"]


def test_filters_keep_what_was_chosen_and_pages_keep_the_filters(desk, make_application):
    for number in range(30):
        make_application("customer", name=f"Number {number}")

    page = desk.get(QUEUE, {"status": "approved", "profile": "customer", "q": "number"})
    text = page.content.decode()

    assert len(names(page)) == 25
    assert "30 applications." in text
    assert 'value="number"' in text
    assert '<option value="approved" selected>' in text
    assert "?status=approved&amp;profile=customer&amp;q=number&amp;page=2" in text
    assert len(names(desk.get(QUEUE, {"status": "approved", "q": "number", "page": "2"}))) == 5


def test_search_is_shown_escaped(desk, pending):
    Application.objects.filter(pk=pending.pk).update(name="<script>alert(1)</script>")

    page = desk.get(QUEUE, {"q": "<script>"}).content.decode()

    assert names(desk.get(QUEUE, {"q": "<script>"})) == ["<script>alert(1)</script>"]
    assert "<script>alert" not in page


def test_number_of_queries_does_not_grow(desk, register):
    def count():
        with CaptureQueriesContext(connection) as queries:
            page = desk.get(QUEUE)
        return len(names(page)), len(queries)

    register()
    one, queries = count()
    for number in range(8):
        register(name=f"Number {number}")

    assert one == 1
    assert count() == (9, queries)
    assert queries <= 12


def test_indexes_carry_the_queue(register, organisation):
    register()
    rows = [
        Application(
            name=f"Number {number}",
            organisation=organisation,
            profile="customer",
            status=Status.REJECTED if number % 100 else Status.APPROVED,
            client_id=f"number-{number}",
        )
        for number in range(3000)
    ]
    Application.objects.bulk_create(rows, batch_size=1000)
    decided = [Submission(application=row, number=1, outcome=Outcome.REJECTED) for row in rows]
    Submission.objects.bulk_create(decided, batch_size=1000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE developers_application, developers_submission")
    plans = {
        status: list_queue(organisation_ids=[organisation.pk], status=status, profile="", organisation="", text="")[
            :25
        ].explain()
        for status in ("waiting", "rejected")
    }

    assert "waiting_submissions" in plans["waiting"] or "one_waiting_submission" in plans["waiting"]
    assert "applications_by_status" in plans["rejected"]
    assert "Seq Scan on developers" not in "".join(plans.values())


def test_terms_say_who_has_not_agreed(desk, pending, owner, organisation):
    page = desk.get(TERMS).content.decode()
    assert "Version 1 is in force" in page
    assert "All owners have agreed." in page

    publish_terms(organisation=organisation, text="New ones.", changes="More about tokens.")
    page = desk.get(TERMS).content.decode()
    assert "Version 2 is in force" in page
    assert "1 owner has not agreed to it" in page
    for words in (
        "More about tokens.",
        "Olive Owner",
        "owner@example.com",
        "Penni Budget",
        f"/review/apps/{pending.pk}/",
    ):
        assert words in page

    agree_to_terms(user=owner, terms=current_terms(organisation))
    assert "All owners have agreed." in desk.get(TERMS).content.decode()


def test_terms_are_shown_of_the_organisations_that_one_reviews(desk, reviewer, pending, other_organisation):
    assert "Aldermoor" not in desk.get(TERMS, {"organisation": "campus"}).content.decode()

    Reviewer.objects.create(user=reviewer, organisation=other_organisation)
    assert desk.get(TERMS, {"organisation": "campus"}).context["shown"] == other_organisation


def test_owners_who_have_not_agreed_are_shown_in_pages(desk, organisation, make_application, owner):
    for number in range(30):
        row = make_application("customer", name=f"Number {number:02}").row
        TeamMember.objects.create(application=row, user=owner, role=Role.OWNER)

    first, second = desk.get(TERMS), desk.get(TERMS, {"page": 2})

    assert (len(first.context["page"].object_list), len(second.context["page"].object_list)) == (25, 5)
    assert "30 owners have not agreed to it" in first.content.decode()
