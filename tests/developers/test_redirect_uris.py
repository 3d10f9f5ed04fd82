"""Which redirect URIs may be registered (CONTRACT section 9, RFC 9700 2.1 and 4.1, RFC 8252 section 7)."""

import pytest
from django.core.exceptions import ValidationError

from apps.developers.redirect_uris import is_registered, validate_redirect_uri

pytestmark = pytest.mark.spec("CONTRACT", "9 (redirect URLs)")


@pytest.mark.parametrize(
    "uri",
    [
        "https://partner.example/callback",
        "https://partner.example:8443/callback?tenant=1",
        "https://partner.example",
        "https://PARTNER.example/%C3%A4",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:3000/callback",
        "http://[::1]/callback",
        "http://localhost:3000/callback",
        "http://receipts.localhost/callback",
    ],
)
def test_web_address_is_accepted_from_everyone(uri):
    validate_redirect_uri(uri, is_public=False)
    validate_redirect_uri(uri, is_public=True)


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("http://partner.example/callback", "must start with https"),
        ("http://127.0.0.1.partner.example/", "must start with https"),
        ("http://notlocalhost/", "must start with https"),
        ("https://partner.example/callback#top", "fragment"),
        ("https://partner.example/callback#", "fragment"),
        ("https://*.partner.example/callback", "wildcard"),
        ("https://partner.example/*", "wildcard"),
        ("https://partner.example@evil.example/", "user name"),
        ("https:///callback", "no host"),
        ("https:partner.example", "no host"),
        ("https://part ner.example/", "character"),
        ("https://partner.example/cb\n", "character"),
        ("https://partner.example\\@evil.example/", "character"),
        ("https://partner.example/%zz", "character"),
        ("https://bücher.example/", "character"),
        ("https://partner..example/", "host name"),
        ("https://%70artner.example/", "host name"),
        ("https://partner.example:99999/", "not a URL"),
        ("https://partner.example:0/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("/callback", "whole URL"),
        ("//partner.example/callback", "whole URL"),
        ("www.partner.example/callback", "whole URL"),
        ("partner.example:8080/callback", "whole URL"),
        ("javascript:alert(1)", "whole URL"),
        ("data:text/html,x", "whole URL"),
        ("file:///etc/passwd", "whole URL"),
        ("myapp:/callback", "whole URL"),
        ("https://partner.example/?code=1", "“code”"),
        ("https://partner.example/?a=1&state", "“state”"),
        ("https://partner.example/" + "a" * 2000, "too long"),
    ],
)
@pytest.mark.parametrize("is_public", [False, True])
def test_unsafe_address_is_refused_with_the_reason(uri, reason, is_public):
    with pytest.raises(ValidationError, match=reason):
        validate_redirect_uri(uri, is_public=is_public)


@pytest.mark.spec("RFC 8252", "7.1")
def test_private_use_scheme_is_for_public_clients():
    validate_redirect_uri("com.example.app:/callback", is_public=True)

    with pytest.raises(ValidationError, match="public clients"):
        validate_redirect_uri("com.example.app:/callback", is_public=False)


@pytest.mark.spec("RFC 9700", "2.1")
@pytest.mark.parametrize(
    "presented",
    [
        "https://partner.example/callback/",
        "https://partner.example/callback?x=1",
        "https://partner.example:443/callback",
        "https://PARTNER.example/callback",
        "https://partner.example/callbac",
        "https://partner.example/callback\n",
        "",
    ],
)
def test_presented_uri_must_equal_a_registered_one(presented):
    registered = ["https://other.example/", "https://partner.example/callback"]

    assert is_registered("https://partner.example/callback", registered)
    assert not is_registered(presented, registered)


@pytest.mark.spec("RFC 8252", "7.3")
def test_only_the_port_of_a_loopback_ip_is_free():
    registered = ["http://127.0.0.1/callback", "http://[::1]:1/callback", "http://localhost/callback"]

    for uri in ("http://127.0.0.1:51004/callback", "http://[::1]:9/callback", "http://[::1]/callback"):
        assert is_registered(uri, registered)
    for uri in (
        "http://localhost:51004/callback",
        "http://127.0.0.1:51004/other",
        "http://127.0.0.1:51004/callback?x",
        "http://127.0.0.1:5100400/callback",
        "http://127.0.0.1:51004@evil.example/callback",
        "https://127.0.0.1:51004/callback",
        "http://127.0.0.2/callback",
    ):
        assert not is_registered(uri, registered), uri


@pytest.mark.spec("RFC 8252", "7.3")
def test_line_break_behind_a_loopback_uri_is_not_overlooked():
    assert not is_registered("http://127.0.0.1:80\n", ["http://127.0.0.1"])
