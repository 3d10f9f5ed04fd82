"""What a reviewer reads about one application before deciding."""

import re
from time import thread_time

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from apps.console.reviewing.destinations import find_destination
from apps.console.wording import Piece, compare_words
from apps.developers.models import Application, Role, Status, TeamMember
from apps.developers.services import review
from apps.developers.services.applications import set_redirect_uris
from apps.developers.services.terms import publish_terms
from apps.organisations.models import Reviewer
from tests.developers.conftest import DESCRIPTION, REASONS, waiting

pytestmark = pytest.mark.spec("CONTRACT", "9 (review)")


@pytest.fixture
def desk(reviewer):
    """The reviewer's browser."""
    client = Client()
    client.force_login(reviewer)
    return client


@pytest.fixture
def read(desk):
    """Open the review page and return its context and its text."""

    def call(application):
        page = desk.get(f"/review/apps/{application.pk}/")
        assert page.status_code == 200
        return page.context, " ".join(strip_tags(page.content.decode()).split())

    return call


def html_of(desk, application):
    return " ".join(desk.get(f"/review/apps/{application.pk}/").content.decode().split())


def test_page_has_all_that_a_reviewer_needs(read, pending, join):
    join(pending, Role.VIEWER, "vera@example.com")

    _context, text = read(pending)

    for words in (
        "Penni Budget",
        "Pending",
        "Connection (receipts)",
        "127 words",
        "Sending receipts",
        "We send receipts.",
        "There is no comparable application yet.",
        "penni.example",
        "https://penni.example/privacy",
        "Olive Owner Owner owner@example.com",
        "Vera Viewer vera@example.com",
        "Version 1 was agreed to by whoever sent this.",
        "Version 1 is in force.",
        "All owners have agreed to it.",
        "Confidential",
        pending.client_id,
        "None: this is the first.",
        "Approve",
        "Request changes",
        "Reject",
    ):
        assert words in text, words


def test_description_is_shown_in_its_paragraphs_and_escaped(desk, register):
    description = "One <script>alert(1)</script>.\n\nTwo & three. " + DESCRIPTION
    application = register(description=description)[0]

    page = html_of(desk, application)

    assert "<p> One &lt;script&gt;alert(1)&lt;/script&gt;. </p>" in page
    assert "<p> Two &amp; three. word" in page


def test_comparable_applications_are_counted_without_this_one(read, register, other_organisation):
    application = register(name="This", scopes=["receipt:write", "receipt:read"])[0]
    register(name="Another", scopes=["receipt:read"])
    register(name="Third", scopes=["receipt:read"])
    register(name="Elsewhere", organisation=other_organisation, scopes=["receipt:write"])

    context, text = read(application)

    assert [(scope.name, scope.alike) for scope in context["scopes"]] == [("receipt:write", 0), ("receipt:read", 2)]
    assert "0 of 2 comparable applications ask for this." in text
    assert "2 of 2 comparable applications ask for this." in text


def test_update_is_compared_with_the_live_version(desk, live, submit):
    submit(
        live,
        description=DESCRIPTION.replace("end", "<b>finish</b>"),
        scopes=["receipt:write", "receipt:read"],
        reasons={**REASONS, "receipt:write": "We file receipts."},
        optional_scopes=["receipt:read"],
    )

    page = desk.get(f"/review/apps/{live.pk}/")
    html = " ".join(page.content.decode().split())

    assert "Compared with the live version." in html
    assert [(scope.name, scope.change) for scope in page.context["scopes"]] == [
        ("receipt:write", "changed"),
        ("receipt:read", "added"),
    ]
    # Seen and heard: the marks are words too.
    close = '<span class="visually-hidden"> ]</span>'
    assert f'<del><span class="visually-hidden">[removed: </span>end{close}</del>' in html
    assert f'<ins><span class="visually-hidden">[added: </span>&lt;b&gt;finish&lt;/b&gt;{close}</ins>' in html
    assert re.search(r"<del>.*We send receipts\..*</del>.*<ins>.*We file receipts\..*</ins>", html)
    assert "The live version goes on, whatever you decide." in html


def test_what_has_not_changed_is_said_to_be_the_same(read, live, submit):
    submit(live, reasons={"receipt:write": "We file receipts."})
    assert "The description is the same." in read(live)[1]

    submit(live, description=DESCRIPTION + " more")
    _context, text = read(live)
    assert "The scopes and their reasons are the same as before." in text
    assert "New words are underlined" in text


def test_second_try_is_compared_with_the_version_that_was_sent_back(read, pending, submit, reviewer):
    review.request_changes(submission=waiting(pending), actor=reviewer, reason="Say what for.")
    submit(pending, scopes=["receipt:read"])

    context, text = read(pending)

    assert "Compared with version 1, which was sent back." in text
    assert [(scope.name, scope.change) for scope in context["scopes"]] == [
        ("receipt:write", "removed"),
        ("receipt:read", "added"),
    ]
    assert "Version 1 Changes requested Rita Reviewer" in text
    assert "Say what for." in text


def test_live_version_is_shown_where_nothing_waits(read, live):
    context, text = read(live)

    assert "Nothing waits for a decision." in text
    assert context["word_count"] == 127
    assert "Request changes" not in text
    assert "Suspend…" in text


def test_redirect_hosts_are_shown_so_that_look_alikes_are_seen(read, register):
    application = register(
        client_type="public",
        redirect_uris=[
            "https://xn--pypal-4ve.com/callback",
            "http://127.0.0.1/callback",
            "com.example.app:/callback",
        ],
    )[0]
    # As an older application may have it.
    Application.objects.filter(pk=application.pk).update(website_url="https://www.аpple.com/")

    context, text = read(application)

    kinds = [(destination.kind, destination.host) for destination in context["destinations"]]
    assert kinds == [("web", "xn--pypal-4ve.com"), ("loopback", "127.0.0.1"), ("scheme", "com.example.app:")]
    assert "International name" in text
    assert "pаypal.com" in text
    assert "It mixes alphabets: Cyrillic, Latin." in text
    assert "The user’s own machine" in text
    assert "Opens an app" in text
    assert "www.xn--pple-43d.com" in text


@pytest.mark.parametrize(
    ("address", "kind", "host", "shown"),
    [
        ("https://EXAMPLE.com:8443/a?b=c", "web", "example.com", ""),
        ("https://bücher.example/", "web", "xn--bcher-kva.example", "bücher.example"),
        ("https://xn--bcher-kva.example/", "web", "xn--bcher-kva.example", "bücher.example"),
        ("https://xn--zzzzzzzzz.example/", "web", "xn--zzzzzzzzz.example", ""),
        ("http://app.localhost:3000/", "loopback", "app.localhost", ""),
        ("http://[::1]:8000/cb", "loopback", "::1", ""),
        ("javascript:alert(1)", "scheme", "javascript:", ""),
        ("https://[nonsense/", "scheme", "https://[nonsense/", ""),
        ("", "scheme", ":", ""),
    ],
)
def test_destination_is_read_like_a_browser_does(address, kind, host, shown):
    destination = find_destination(address)

    assert (destination.kind, destination.host, destination.shown_host) == (kind, host, shown)


def test_other_peoples_pages_are_linked_with_care_and_scripts_never(desk, pending):
    Application.objects.filter(pk=pending.pk).update(terms_url="javascript:alert(1)")

    page = html_of(desk, pending)

    assert '<a href="https://penni.example/" rel="noopener noreferrer nofollow">' in page
    assert 'href="javascript' not in page


def test_owners_who_have_not_agreed_to_the_latest_terms_are_named(read, pending, organisation):
    publish_terms(organisation=organisation, text="New ones.")

    _context, text = read(pending)

    assert "Version 2 is in force. These owners have not agreed to it: Olive Owner" in text


def test_application_of_administrators_has_neither_team_nor_description(read, make_application, organisation):
    row = make_application("connection", status=Status.PENDING).row

    _context, text = read(row)

    assert "an administrator made this application" in text
    assert "Nobody is on the team" in text


def test_history_tells_who_said_what(read, pending, owner, reviewer):
    review.add_comment(application=pending, actor=owner, text="Soon <b>more</b>.", is_by_reviewer=False)
    review.add_comment(application=pending, actor=reviewer, text="Take your time.", is_by_reviewer=True)
    set_redirect_uris(application=pending, actor=owner, redirect_uris=["https://penni.example/new"])

    context, text = read(pending)

    assert [entry.kind for entry in context["entries"]] == [
        "redirect_uris_changed",
        "commented",
        "commented",
        "registered",
    ]
    assert "Comment Rita Reviewer, reviewer" in text
    assert "Added: https://penni.example/new Removed: https://penni.example/callback" in text
    assert "Soon &lt;b&gt;more&lt;/b&gt;." in text


def test_earlier_versions_say_what_they_said(desk, live, submit, owner):
    submit(
        live,
        description=f"We <b>bake</b>. {DESCRIPTION}",
        scopes=["receipt:write", "receipt:read"],
        reasons={**REASONS, "receipt:read": "We count rolls."},
        optional_scopes=["receipt:read"],
    )
    review.withdraw_submission(submission=waiting(live), actor=owner)

    earlier = html_of(desk, live).partition("What version 2 said")[2].partition("</details>")[0]

    assert "We &lt;b&gt;bake&lt;/b&gt;." in earlier
    assert 'Reading receipts <span class="badge">Optional</span>' in earlier
    assert "We count rolls." in earlier


def test_number_of_queries_is_constant(desk, live, submit, owner, join):
    def count():
        with CaptureQueriesContext(connection) as queries:
            assert desk.get(f"/review/apps/{live.pk}/").status_code == 200
        return len(queries)

    submit(live, scopes=["receipt:write", "receipt:read"])
    few = count()
    for number in range(12):
        submit(live, description=f"{DESCRIPTION} {number}")
        review.add_comment(application=live, actor=owner, text=f"Number {number}.", is_by_reviewer=False)
        join(live, Role.OWNER, f"o{number}@example.com")

    assert count() == few
    assert len(desk.get(f"/review/apps/{live.pk}/").context["earlier"]) == 10
    assert few <= 20


def test_reviewers_of_others_and_outsiders_see_nothing(pending, make_user, other_organisation):
    client = Client()
    client.force_login(make_user("elsewhere@example.com"))
    assert client.get(f"/review/apps/{pending.pk}/").status_code == 404
    Reviewer.objects.create(user=client.get("/").wsgi_request.user, organisation=other_organisation)
    assert client.get(f"/review/apps/{pending.pk}/").status_code == 404


@pytest.mark.parametrize("change", [{"status": Status.DELETED}, {"profile": "service"}])
def test_what_is_deleted_or_the_hosts_own_is_not_there(desk, pending, change):
    Application.objects.filter(pk=pending.pk).update(**change)

    assert desk.get(f"/review/apps/{pending.pk}/").status_code == 404


def test_reviewer_on_the_team_reads_why_they_do_not_decide(read, pending, reviewer):
    TeamMember.objects.create(application=pending, user=reviewer, role=Role.VIEWER)

    _context, text = read(pending)

    assert "You are on the team of this application, or have sent it for review: another reviewer has to" in text
    for button in ("Approve", "Request changes", "Reject", "Suspend…", "Mark as trusted…"):
        assert f" {button} " not in text


def flat(paragraphs):
    return [[(piece.change, piece.text) for piece in paragraph] for paragraph in paragraphs]


def test_words_are_compared():
    assert flat(compare_words("we read your receipts", "we also read all receipts")) == [
        [
            ("", "we"),
            ("added", "also"),
            ("", "read"),
            ("removed", "your"),
            ("added", "all"),
            ("", "receipts"),
        ]
    ]
    assert compare_words("same  words\nhere", "same words here") == [[Piece("same words here")]]
    assert flat(compare_words("", "new")) == [[("added", "new")]]
    assert flat(compare_words("gone", "")) == [[("removed", "gone")]]


def test_paragraphs_stay_paragraphs():
    assert flat(compare_words("one\n\ntwo", "one\n\ntwo\n\nthree")) == [
        [("", "one")],
        [("", "two")],
        [("added", "three")],
    ]
    assert flat(compare_words("one\n\ntwo", "one two")) == [[("", "one"), ("removed", "¶"), ("", "two")]]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (" ".join(["."] * 10_000), " ".join([".", ","] * 5_000)),
        (" ".join(["a", "b"] * 250), " ".join(["b", "a", "c"] * 170)),
        (" ".join(f"w{number}" for number in range(511)), " ".join(f"w{number}" for number in range(511, 0, -1))),
    ],
)
def test_comparing_what_is_made_to_take_long_does_not(before, after):
    start = thread_time()
    compare_words(before, after)

    assert thread_time() - start < 2
