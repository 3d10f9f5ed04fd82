"""What the value of a data point may be (apps/accounts/values.py)."""

import pytest
from django.core.exceptions import ValidationError

from apps.accounts.data_points import BY_KEY, CATALOGUE
from apps.accounts.values import check_value, read_value, write_value

LINKS = [{"site": "Code", "url": "https://code.example/ada"}, {"site": "Blog", "url": "https://ada.example/"}]
KINDS = {
    "text": "person.full_name",
    "date": "student.start_date",
    "number": "student.current_year",
    "flag": "contact_information.email_address_verified",
    "texts": "person.roles",
    "links": "social_information.links",
}


@pytest.mark.parametrize(
    ("kind", "cell", "value"),
    [
        ("text", " Ada Byron ", "Ada Byron"),
        ("text", "42", "42"),
        ("date", "2024-02-29", "2024-02-29"),
        ("number", "4", 4),
        ("number", "-1.5", -1.5),
        ("flag", "yes", True),
        ("flag", "FALSE", False),
        ("texts", "student; library assistant;", ["student", "library assistant"]),
        ("texts", '["a;b"]', ["a;b"]),
        ("links", "Code=https://code.example/ada; Blog=https://ada.example/", LINKS),
    ],
)
def test_cell_is_read_as_its_kind(kind, cell, value):
    point = BY_KEY[KINDS[kind]]

    assert read_value(point, cell) == value
    assert read_value(point, write_value(point, value)) == value


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("text", " "),
        ("text", "a\x00b"),
        ("text", "\udcff"),
        ("text", "a" * 2001),
        ("date", "2023-02-29"),
        ("date", "29.02.2024"),
        ("date", "20240229"),
        ("number", "four"),
        ("number", "1e400"),
        ("number", "9" * 400),
        ("number", "٣"),
        ("flag", "maybe"),
        ("texts", ";"),
        ("texts", "[1]"),
        ("texts", "[oops"),
        ("texts", "[" * 100_000),
        ("links", "https://code.example/ada"),
        ("links", "Code=javascript:alert(1)"),
        ("links", '[{"site": "Code"}]'),
    ],
)
def test_cell_of_another_kind_is_refused(kind, cell):
    with pytest.raises(ValidationError):
        read_value(BY_KEY[KINDS[kind]], cell)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", 1),
        ("number", True),
        ("number", "4"),
        ("number", float("inf")),
        ("flag", 1),
        ("texts", "a"),
        ("date", 5),
    ],
)
def test_json_value_of_another_kind_is_refused(kind, value):
    with pytest.raises(ValidationError):
        check_value(BY_KEY[KINDS[kind]], value)


def test_every_kind_of_the_catalogue_is_known():
    assert {point.kind for point in CATALOGUE} <= set(KINDS)
