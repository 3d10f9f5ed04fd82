"""Many events: an export and a page take what one chunk takes."""

import tracemalloc

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit.export import as_csv, as_json_lines
from apps.audit.selectors import Search, find_page, walk

COUNT = 50_000


@pytest.fixture
def many(db):
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH events AS (
                INSERT INTO audit_auditevent (tag, details, person_commitment)
                SELECT 'user:session:started', jsonb_build_object('number', n), '' FROM generate_series(1, %s) AS n
                RETURNING id
            )
            INSERT INTO audit_auditperson (event_id, part, salt, name, user_agent)
            SELECT id, 'actor', '', 'Ada Byron', repeat('x', 300) FROM events
            """,
            [COUNT],
        )
        cursor.execute("ANALYZE audit_auditevent")


@pytest.mark.parametrize("write", [as_csv, as_json_lines])
def test_export_streams(many, write):
    """50 000 events: read in 51 chunks, held in memory one chunk at a time."""
    tracemalloc.start()
    try:
        with CaptureQueriesContext(connection) as captured:
            lines = sum(1 for _ in write(walk(Search())))
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert lines == COUNT + (write is as_csv)
    assert len(captured) <= 51 * 4
    assert peak < 25_000_000, peak  # the queries that the test captures among it


def test_page_far_back_is_read_by_index(many):
    page = find_page(Search())
    for _ in range(3):
        with CaptureQueriesContext(connection) as captured:
            page = find_page(Search(), older_than=page.older)
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + captured.captured_queries[0]["sql"])
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "audit_by_time" in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan
