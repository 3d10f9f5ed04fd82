"""The rules of registration (CONTRACT section 9)."""

import pytest
from django.core.exceptions import ValidationError

from apps.developers import rules

pytestmark = pytest.mark.spec("CONTRACT", "9 (rules)")

GOOD = {
    "name": "Penni Budget",
    "profile": "connection",
    "redirect_uris": ["https://partner.example/callback"],
    "scopes": ["receipt:write"],
    "client_type": "confidential",
    "is_trusted": False,
}
SERVICE = {**GOOD, "profile": "service", "redirect_uris": [], "scopes": ["introspect"]}


def problems_of(**fields):
    """Return the messages by field, {} for an application that may be."""
    try:
        rules.check_application(**{**GOOD, **fields})
    except ValidationError as error:
        return error.message_dict
    return {}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": "n" * 255},
        {"scopes": ["receipt:write", "receipt:read"]},
        {"profile": "customer", "scopes": []},
        {"profile": "portal", "scopes": ["person.full_name"]},
        {"client_type": "public"},
        {"client_type": "public", "redirect_uris": ["com.example.app:/callback"]},
        {"is_trusted": True},
        {"is_trusted": True, "client_type": "public"},
        SERVICE,
        {**SERVICE, "scopes": []},
    ],
)
def test_good_application_is_accepted(fields):
    assert problems_of(**fields) == {}


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"name": ""}, "name", "Give the application a name"),
        ({"name": "  "}, "name", "Give the application a name"),
        ({"name": "n" * 256}, "name", "at most 255"),
        ({"name": "Two\nlines"}, "name", "cannot be shown"),
        ({"profile": "wizard"}, "profile", "not a profile"),
        ({"client_type": "secret"}, "client_type", "confidential or public"),
        ({"scopes": []}, "scopes", "at least one scope"),
        ({"scopes": ["person.full_name"]}, "scopes", "Not a scope of this profile: person.full_name"),
        ({"profile": "portal", "scopes": []}, "scopes", "at least one scope"),
        ({"profile": "customer", "scopes": ["receipt:read"]}, "scopes", "have no scopes"),
        ({"redirect_uris": []}, "redirect_uris", "at least one redirect URL"),
        ({"redirect_uris": ["http://partner.example/"]}, "redirect_uris", "must start with https"),
        ({"redirect_uris": [f"https://p{n}.example/" for n in range(21)]}, "redirect_uris", "at most 20"),
        ({**SERVICE, "client_type": "public"}, "client_type", "cannot be a public client"),
        ({**SERVICE, "redirect_uris": GOOD["redirect_uris"]}, "redirect_uris", "has no redirect URLs"),
    ],
)
def test_bad_application_is_refused_at_the_field(fields, field, reason):
    problems = problems_of(**fields)

    assert list(problems) == [field]
    assert reason in problems[field][0]


def test_every_problem_is_told_at_once():
    problems = problems_of(name="", scopes=[], redirect_uris=["http://a.example/", "b"])

    assert set(problems) == {"name", "scopes", "redirect_uris"}
    assert len(problems["redirect_uris"]) == 2


@pytest.mark.spec("RFC 8252", "8.6")
@pytest.mark.parametrize("uri", ["com.example.app:/callback", "http://127.0.0.1/callback"])
def test_public_client_that_anybody_can_pretend_to_be_is_not_trusted(uri):
    assert list(problems_of(is_trusted=True, client_type="public", redirect_uris=[uri])) == ["is_trusted"]


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), ("one", 1), (" a  b\n\tc ", 3), ("- – … !", 0), ("it's e-mail 42 ä", 4), ("naïve—so", 1)],
)
def test_word_is_a_run_with_a_letter_or_digit(text, count):
    assert rules.count_words(text) == count


@pytest.mark.parametrize("count", [127, 128, 511])
def test_description_within_the_limits_is_accepted(count):
    rules.check_description("word " * count)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "Use at least 127 words (you wrote 0)."),
        (126, "Use at least 127 words (you wrote 126)."),
        (512, "Use at most 511 words (you wrote 512)."),
    ],
)
def test_description_outside_the_limits_is_refused_with_the_count(count, message):
    with pytest.raises(ValidationError) as refusal:
        rules.check_description("word " * count + " - ")

    assert refusal.value.messages == [message]


@pytest.mark.parametrize("length", [10, 280])
def test_reason_within_the_limits_is_accepted(length):
    rules.check_reason("r" * length)


@pytest.mark.parametrize("reason", ["", "r" * 9, "r" * 9 + "  ", "r" * 281])
def test_reason_outside_the_limits_is_refused(reason):
    with pytest.raises(ValidationError, match="10 to 280"):
        rules.check_reason(reason)
