"""Many events: an export and a page take what one chunk takes."""

import tracemalloc

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.audit import selectors
from apps.audit.export import as_csv, as_json_lines
from apps.audit.selectors import Search, find_page, walk


def add_events(count):
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
            [count],
        )
        cursor.execute("ANALYZE audit_auditevent")


@pytest.fixture
def many(db):
    add_events(50_000)


@pytest.mark.parametrize("write", [as_csv, as_json_lines])
def test_export_streams(db, monkeypatch, write):
    """Read in 51 chunks, held in memory one chunk at a time. They are small: noting each allocation takes long."""
    monkeypatch.setattr(selectors, "EXPORT_CHUNK", 100)
    add_events(5_000)
    tracemalloc.start()
    try:
        with CaptureQueriesContext(connection) as captured:
            lines = sum(1 for _ in write(walk(Search())))
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert lines == 5_000 + (write is as_csv)
    assert len(captured) <= 51 * 4
    assert peak < 3_000_000, peak  # the queries that the test captures among it; all at once would take 12 MB


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
