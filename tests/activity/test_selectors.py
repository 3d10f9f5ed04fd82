"""What the dashboard reads, and how long it is kept."""

from datetime import timedelta

import pytest
from django.utils import timezone

from apps.activity import recorder, tasks
from apps.activity.models import ActivityCount, Kind
from apps.activity.selectors import CodeCount, Counts, activity_of, redirect_mismatches_of
from tests.conftest import CALLBACK


@pytest.fixture
def count_on(application):
    """Store a count of some days ago."""

    def add(days_ago: int, kind: Kind, count: int, code: str = "", row=application.row) -> None:
        day = timezone.now().date() - timedelta(days=days_ago)
        ActivityCount.objects.create(application=row, day=day, kind=kind, code=code, count=count)

    return add


def test_every_day_has_its_numbers_and_days_without_any_have_zeros(application, count_on):
    count_on(0, Kind.AUTHORISATION, 3)
    count_on(0, Kind.TOKEN, 2, "authorization_code")
    count_on(0, Kind.TOKEN, 5, "refresh_token")
    count_on(29, Kind.DENIAL, 1)
    count_on(30, Kind.DENIAL, 100)

    activity = activity_of(application.row)

    today = timezone.now().date()
    assert [entry.day for entry in activity.days] == [today - timedelta(days=days) for days in range(29, -1, -1)]
    assert activity.days[0].counts == Counts(denials=1)
    assert activity.days[-1].counts == Counts(authorisations=3, tokens=7)
    assert all(entry.counts.is_empty for entry in activity.days[1:-1])
    assert activity.totals == Counts(authorisations=3, denials=1, tokens=7)
    assert activity.tokens_by_grant_type == [CodeCount("refresh_token", 5), CodeCount("authorization_code", 2)]


def test_errors_are_summed_by_code_and_the_most_frequent_comes_first(application, count_on):
    count_on(0, Kind.ERROR, 2, "invalid_grant")
    count_on(1, Kind.ERROR, 1, "invalid_client")
    count_on(2, Kind.ERROR, 9, "invalid_scope")
    count_on(3, Kind.ERROR, 3, "invalid_grant")
    count_on(3, Kind.ERROR, 1, "access_denied")

    assert activity_of(application.row, days=10).errors_by_code == [
        CodeCount("invalid_scope", 9),
        CodeCount("invalid_grant", 5),
        CodeCount("access_denied", 1),
        CodeCount("invalid_client", 1),
    ]


def test_an_application_without_activity_has_zeros(application):
    activity = activity_of(application.row, days=7)

    assert len(activity.days) == 7
    assert activity.totals.is_empty
    assert activity.errors_by_code == []


def test_another_application_s_activity_is_not_shown(make_application, count_on, application):
    count_on(0, Kind.AUTHORISATION, 3, row=make_application("portal").row)

    assert activity_of(application.row).totals.is_empty


def test_one_query_whatever_the_number_of_events(application, count_on, django_assert_num_queries):
    for days_ago in range(30):
        count_on(days_ago, Kind.AUTHORISATION, 10**12)
        for code in recorder.CODES[Kind.ERROR]:
            count_on(days_ago, Kind.ERROR, 10**9, code)

    with django_assert_num_queries(1):
        assert activity_of(application.row).totals.authorisations == 30 * 10**12


def test_mismatches_come_newest_first_and_are_the_application_s_own(application, make_application):
    other = make_application("portal").row
    for number in range(3):
        recorder.note_redirect_mismatch(application.row.pk, f"https://evil.example/{number}", [CALLBACK])
        recorder.flush()
    recorder.note_redirect_mismatch(other.pk, "https://other.example/", [CALLBACK])
    recorder.flush()

    assert [row.presented for row in redirect_mismatches_of(application.row)] == [
        "https://evil.example/2",
        "https://evil.example/1",
        "https://evil.example/0",
    ]


def test_counts_go_after_400_days(count_on):
    for days_ago in (0, 399, 400, 401, 402):
        count_on(days_ago, Kind.AUTHORISATION, 1)

    assert tasks.delete_old_activity_counts(timestamp=0) == 2

    assert ActivityCount.objects.count() == 3
    assert tasks.delete_old_activity_counts(timestamp=0) == 0


def test_counts_go_with_their_application(application):
    recorder.record(application.row.pk, Kind.AUTHORISATION)
    recorder.note_redirect_mismatch(application.row.pk, "https://evil.example/", [CALLBACK])
    recorder.flush()

    application.row.delete()

    assert not ActivityCount.objects.exists()
