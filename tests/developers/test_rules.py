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


REGISTRATION = {
    "name": "Penni Budget",
    "profile": "connection",
    "redirect_uris": ["https://partner.example/callback"],
    "scopes": ["receipt:write"],
    "reasons": {"receipt:write": "We send receipts."},
    "description": "word " * 127,
    "client_type": "confidential",
    "website_url": "https://partner.example/",
    "privacy_policy_url": "https://partner.example/privacy",
    "terms_url": "",
}


def problems_of_registration(**fields):
    """Return the messages by field, {} for what a developer may register."""
    try:
        rules.check_registration(**{**REGISTRATION, **fields})
    except ValidationError as error:
        return error.message_dict
    return {}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"profile": "customer", "scopes": [], "reasons": {}},
        {"profile": "portal", "scopes": ["person.full_name"], "reasons": {"person.full_name": "We greet you."}},
        {"client_type": "public", "redirect_uris": ["com.example.app:/callback"]},
        {"terms_url": "https://partner.example/terms"},
        {"reasons": {"receipt:write": "We send receipts.", "receipt:read": "x"}},
        {"name": "<script>alert(1)</script>", "description": "<script>alert(1)</script> " + "word " * 126},
    ],
)
def test_good_registration_is_accepted(fields):
    assert problems_of_registration(**fields) == {}


@pytest.mark.parametrize(
    ("fields", "field", "reason"),
    [
        ({"profile": "service", "redirect_uris": [], "scopes": [], "reasons": {}}, "profile", "Choose a profile"),
        ({"profile": ""}, "profile", "Choose a profile"),
        ({"description": "word " * 126}, "description", "at least 127 words (you wrote 126)"),
        ({"description": ""}, "description", "at least 127 words (you wrote 0)"),
        ({"description": "word " * 126 + "\x00word"}, "description", "cannot be kept"),
        ({"description": "word " * 126 + "\ud800word"}, "description", "cannot be kept"),
        ({"description": "word " * 126 + "w" * 20_000}, "description", "at most 20000 characters"),
        ({"reasons": {}}, "reason-receipt:write", "10 to 280"),
        ({"reasons": {"receipt:write": "Because."}}, "reason-receipt:write", "10 to 280"),
        ({"reasons": {"receipt:write": "x" * 281}}, "reason-receipt:write", "10 to 280"),
        ({"reasons": {"receipt:write": "We need it.\x00"}}, "reason-receipt:write", "cannot be kept"),
        ({"website_url": ""}, "website_url", "Give the address"),
        ({"privacy_policy_url": ""}, "privacy_policy_url", "Give the address"),
        ({"terms_url": "javascript:alert(1)"}, "terms_url", "not the address of a web page"),
        ({"name": "Penni\u202eteduB"}, "name", "cannot be shown"),
        ({"name": "Penni\u200b"}, "name", "cannot be shown"),
        ({"name": "Penni\x00"}, "name", "cannot be shown"),
        ({"name": "Win at https://evil.example"}, "name", "Leave the address out"),
        ({"name": "Win at WWW.evil.example"}, "name", "Leave the address out"),
    ],
)
def test_bad_registration_is_refused_at_the_field(fields, field, reason):
    problems = problems_of_registration(**fields)

    assert list(problems) == [field]
    assert reason in problems[field][0]


def test_every_problem_of_a_registration_is_told_at_once():
    problems = problems_of_registration(
        name="",
        redirect_uris=[],
        scopes=["receipt:write", "receipt:read"],
        reasons={},
        description="short",
        website_url="partner.example",
        privacy_policy_url="http://partner.example/",
        terms_url="data:,x",
    )

    assert set(problems) == {
        "name",
        "redirect_uris",
        "reason-receipt:write",
        "reason-receipt:read",
        "description",
        "website_url",
        "privacy_policy_url",
        "terms_url",
    }


def test_version_is_checked_as_a_whole():
    with pytest.raises(ValidationError) as refusal:
        rules.check_version(profile="connection", description="short", scopes=["introspect"], reasons={})

    assert set(refusal.value.message_dict) == {"description", "scopes", "reason-introspect"}


def test_good_version_is_accepted():
    rules.check_version(
        profile="connection",
        description="word " * 511,
        scopes=["receipt:read"],
        reasons={"receipt:read": "We show receipts."},
    )


def test_line_ends_that_browsers_add_do_not_count_in_a_reason():
    rules.check_reason("a" * 139 + "\r\n" + "b" * 140)


@pytest.mark.parametrize(
    "url",
    [
        "https://partner.example",
        "https://partner.example:8443/privacy?lang=fi#top",
        "https://partner.example/@ada",
        "https://partner.example/yksityisyys/\u00e4\u00e4ni",
        "https://xn--bcher-kva.example/",
        "http://localhost:3000/privacy",
        "http://127.0.0.1/",
        "HTTPS://partner.example/",
    ],
)
def test_address_of_a_page_is_accepted(url):
    rules.check_page_url(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "Give the address"),
        ("partner.example", "not the address"),
        ("//partner.example/", "not the address"),
        ("/privacy", "not the address"),
        ("javascript:alert(1)", "not the address"),
        ("JaVaScRiPt://partner.example/%0aalert(1)", "not the address"),
        ("data:text/html,<script>alert(1)</script>", "not the address"),
        ("vbscript:x", "not the address"),
        ("file:///etc/passwd", "not the address"),
        ("ftp://partner.example/", "not the address"),
        ("https://", "not the address"),
        ("https:///privacy", "not the address"),
        ("https://partner", "not the address"),
        ("https://[::1", "not the address"),
        ("https://[::1].evil.example/", "not the address"),
        ("https://partner.example:99999/", "not the address"),
        ("https://partner.example/a b", "not the address"),
        ("https://partner.example/\n", "not the address"),
        ("https://partner.example/\r\nX: y", "not the address"),
        ("https://partner.example/\t", "not the address"),
        ("https://partner.example/\x00", "not the address"),
        ("https://partner.example/\x7f", "not the address"),
        ("https://partner.example/\u200b", "not the address"),
        ("https://partner.example/\u202egro.live", "not the address"),
        ("https://partner.example/\ud800", "not the address"),
        ("https://evil.example\\.partner.example/", "not the address"),
        ("https://evil.example/\\partner.example", "not the address"),
        ("https://partner.example@evil.example/", "user name"),
        ("https://partner.example:x@evil.example/", "user name"),
        ("https://partner.example\\@evil.example/", "not the address"),
        ("https://p\u0430rtner.example/", "xn--"),
        ("https://b\u00fccher.example/", "xn--"),
        ("http://partner.example/", "starts with https"),
        ("http://127.0.0.1.partner.example/", "starts with https"),
        ("http://10.0.0.7/", "starts with https"),
        ("https://partner.example/" + "a" * 177, "at most 200 characters \\(you wrote 201\\)"),
        ("https://partner.example/" + "a" * 1_000_000, "at most 200"),
    ],
)
def test_address_that_is_no_page_is_refused_with_the_reason(url, reason):
    with pytest.raises(ValidationError, match=reason):
        rules.check_page_url(url)


GOOD_BRANDING = {
    "name": "Penni",
    "website_url": "https://partner.example/",
    "privacy_policy_url": "",
    "terms_url": "",
    "brand_colour": "#1d4ed8",
}


def test_branding_may_leave_out_all_but_the_name():
    rules.check_branding(**GOOD_BRANDING)
    rules.check_branding(**{**GOOD_BRANDING, "website_url": "", "brand_colour": ""})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("website_url", "javascript:alert(1)"),
        ("privacy_policy_url", "http://partner.example/"),
        ("terms_url", "x"),
        ("brand_colour", "red; background: url(https://evil.example)"),
    ],
)
def test_bad_branding_is_refused_at_the_field(field, value):
    with pytest.raises(ValidationError) as refusal:
        rules.check_branding(**{**GOOD_BRANDING, field: value})

    assert list(refusal.value.message_dict) == [field]


@pytest.mark.parametrize("text", ["x", "<script>alert(1)</script>", "\U0001f642", "x" * 5000])
def test_comment_is_accepted(text):
    rules.check_comment(text)
    rules.check_decision_reason(text)
    rules.check_note(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a\x00b", "cannot be kept"), ("\udfff", "cannot be kept"), ("x" * 5001, "at most 5000 characters")],
)
@pytest.mark.parametrize("rule", [rules.check_comment, rules.check_decision_reason, rules.check_note])
def test_comment_that_cannot_be_kept_is_refused(rule, text, reason):
    with pytest.raises(ValidationError, match=reason):
        rule(text)


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_empty_comment_is_refused_and_an_empty_note_is_none(text):
    with pytest.raises(ValidationError, match="Write something"):
        rules.check_comment(text)
    with pytest.raises(ValidationError, match="Say why"):
        rules.check_decision_reason(text)
    rules.check_note(text)
