"""Which registered redirect URI a presented one is closest to, and which part differs."""

import pytest

from apps.activity.mismatches import describe_mismatch
from apps.activity.models import Difference

REGISTERED = "https://partner.example/callback?tenant=1"


@pytest.mark.parametrize(
    ("presented", "differs"),
    [
        ("http://partner.example/callback?tenant=1", "scheme"),
        ("https://www.partner.example/callback?tenant=1", "host"),
        ("https://partner.example.evil.example/callback?tenant=1", "host"),
        ("https://partner.example@evil.example/callback?tenant=1", "host"),
        ("https://partner.example:443/callback?tenant=1", "port"),
        ("https://partner.example/call?tenant=1", "path"),
        ("https://partner.example//callback?tenant=1", "path"),
        ("https://partner.example/%63allback?tenant=1", "path"),
        ("https://partner.example/callback/?tenant=1", "trailing_slash"),
        ("https://partner.example/Callback?tenant=1", "case"),
        ("HTTPS://Partner.Example/callback?tenant=1", "case"),
        ("https://partner.example/callback?tenant=2", "query"),
        ("https://partner.example/callback", "query"),
        ("https://partner.example/callback?tenant=1#top", "fragment"),
        ("https://ada@partner.example/callback?tenant=1", "other"),
    ],
)
def test_the_part_that_differs_is_named(presented, differs):
    assert describe_mismatch(presented, [REGISTERED]) == (REGISTERED, differs)


def test_an_empty_query_is_not_the_same_as_none():
    assert describe_mismatch("https://a.example/cb?", ["https://a.example/cb"]) == ("https://a.example/cb", "query")


def test_of_several_differences_the_first_to_put_right_is_named():
    closest, differs = describe_mismatch("http://partner.example:8080/other", ["https://partner.example/callback"])

    assert (closest, differs) == ("https://partner.example/callback", "scheme")


@pytest.mark.parametrize(
    ("presented", "closest", "differs"),
    [
        ("https://b.example/callback/", "https://b.example/callback", "trailing_slash"),
        ("https://a.example/calback", "https://a.example/callback", "path"),
        ("https://b.example/Login", "https://b.example/login", "case"),
        # Another host and the same path: nearer than the same path at a host that shares nothing.
        ("https://b.exampl/callback", "https://b.example/callback", "host"),
    ],
)
def test_the_closest_registered_one_is_found(presented, closest, differs):
    registered = ["https://a.example/callback", "https://b.example/callback", "https://b.example/login"]

    assert describe_mismatch(presented, registered) == (closest, differs)


@pytest.mark.spec("RFC 8252", "7.3")
@pytest.mark.parametrize("loopback", ["127.0.0.1", "[::1]"])
def test_the_port_of_a_loopback_ip_is_no_difference(loopback):
    registered = f"http://{loopback}:3000/callback"

    assert describe_mismatch(f"http://{loopback}:9999/other", [registered]) == (registered, "path")


def test_the_port_of_localhost_is_one():
    assert describe_mismatch("http://localhost:9/cb", ["http://localhost:3000/cb"]) == (
        "http://localhost:3000/cb",
        "port",
    )


def test_nothing_registered_has_no_closest():
    assert describe_mismatch("https://partner.example/callback", []) == ("", Difference.OTHER)


@pytest.mark.parametrize(
    "hostile",
    [
        "",
        " ",
        "\x00\n\r",
        "//",
        "https://[::1",
        "https://[::1]evil:80@x:y:z/",
        "https://℀.example/",
        "javascript:alert(1)",
        "@" * 5000,
        ":" * 5000,
        "https://" + "[" * 5000,
        "https://partner.example/" + "a" * 60_000,
    ],
)
def test_any_text_is_described(hostile):
    closest, differs = describe_mismatch(hostile, [REGISTERED])

    assert closest == REGISTERED
    assert differs in Difference.values
