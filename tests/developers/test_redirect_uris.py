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
        # Odd, and harmless: whoever may register it owns it, and only the very same string matches.
        "https://partner.example.other.example/callback",
        "https://xn--bcher-kva.example/callback",
        "https://partner.example:443/callback",
        "https://127.0.0.1/callback",
        "https://10.0.0.7/callback",
        "https://[2001:db8::1]/callback",
        "https://partner.example//callback",
        "https://partner.example/.well-known/callback",
        "https://partner.example/a..b/...",
        "https://partner.example/callback?next=/../%2F%2Fother.example&x=a%25b",
        "https://partner.example/caf%C3%A9/100%25",
        "HTTPS://partner.example/callback",
        "http://LOCALHOST:3000/callback",
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
        # User names, so that the eye reads another host.
        ("https://partner.example:443@evil.example/", "user name"),
        ("https://partner.example%40evil.example/", "host name"),
        ("https://@partner.example/", "user name"),
        ("https://partner.example/@evil.example/..", "“..”"),
        # Backslashes, which browsers read as slashes.
        ("https:\\\\partner.example/callback", "character"),
        ("https://evil.example\\.partner.example/", "character"),
        ("https://partner.example/a\\..\\b", "character"),
        ("https://partner.example/a%5C..%5Cb", "backslash"),
        ("https://partner.example/a%255cb", "backslash"),
        # Another path than the one that is written.
        ("https://partner.example/callback/../evil", "“..”"),
        ("https://partner.example/callback/./evil", "“..”"),
        ("https://partner.example/..", "“..”"),
        ("https://partner.example/callback/%2e%2e/evil", "“..”"),
        ("https://partner.example/callback/.%2E/evil", "“..”"),
        ("https://partner.example/callback/%252e%252e/evil", "“..”"),
        ("https://partner.example/callback/..;/evil", "“..”"),
        ("https://partner.example/callback/%2e%2e%3bx=1/evil", "“..”"),
        ("https://partner.example/callback%2f..%2fevil", "encoded slash"),
        ("https://partner.example/callback%2Fevil", "encoded slash"),
        ("https://partner.example/callback%252fevil", "encoded slash"),
        ("https://partner.example/%c0%ae%c0%ae/evil", "character"),
        ("https://partner.example/%ff", "character"),
        # Line ends and other characters that cannot be seen.
        ("https://partner.example/%0d%0aSet-Cookie:x=1", "line break"),
        ("https://partner.example/?x=%0D%0ALocation:%20//evil.example", "line break"),
        ("https://partner.example/?x=%250a", "line break"),
        ("https://partner.example/%00.example", "line break"),
        ("https://partner.example/%7F", "line break"),
        ("https://partner.example/a\tb", "character"),
        ("https://part\nner.example/", "character"),
        ("\nhttps://partner.example/", "character"),
        ("https://partner.example/\u200b", "character"),
        ("https://partner\u200b.example/", "character"),
        ("https://partner.example/\u202e", "character"),
        ("https://partner.example/\x00", "character"),
        ("https://partner.example/\ud800", "character"),
        # Hosts that look like another, or are read as another.
        ("https://p\u0430rtner.example/", "character"),
        ("https://partner\u3002example/", "character"),
        ("https://partner\uff0eexample/", "character"),
        ("https://partner.example./callback", "host name"),
        ("http://localhost./callback", "host name"),
        ("https://.partner.example/", "host name"),
        ("https://-partner.example/", "host name"),
        ("https://" + "a" * 64 + ".example/", "host name"),
        ("https://" + "a." * 127 + "example/", "host name"),
        ("https://partner.example:/callback", "host name"),
        ("https://2130706433/", "host name"),
        ("https://0x7f000001/", "host name"),
        ("https://0x7f.1/", "host name"),
        ("https://0177.0.0.1/", "host name"),
        ("https://127.1/", "host name"),
        ("https://127.0.0.0x1/", "host name"),
        ("https://256.256.256.256/", "host name"),
        ("https://partner.example.0x/", "host name"),
        ("http://127.1/callback", "host name"),
        ("http://0.0.0.0/callback", "must start with https"),
        ("http://127.0.0.2/callback", "must start with https"),
        ("http://[::ffff:127.0.0.1]/callback", "must start with https"),
        ("http://localhost.evil.example/", "must start with https"),
        ("https://[fe80::1%25eth0]/", "host name"),
        ("https://[v1.x]/", "host name|not a URL"),
        ("https://[::1]evil.example/", "host name|not a URL"),
        ("http://[::1].evil.example/", "host name|not a URL"),
        ("http://[::1]@evil.example/", "user name|not a URL"),
        ("http://a[::1]/", "host name|not a URL"),
        ("http://[127.0.0.1]/", "host name|not a URL"),
        ("http://[::1%25.evil.example]/", "host name|not a URL"),
        ("https://partner.example:80:90/", "not a URL"),
        ("https://partner.example:-1/", "not a URL"),
        ("https://partner.example:0x50/", "not a URL"),
        ("https://", "no host"),
        ("https:/partner.example/callback", "no host"),
        ("https:////partner.example/callback", "no host"),
        ("https://?x=1", "no host"),
        # What a browser runs or opens itself, in whatever letters.
        ("JavaScript:alert(1)", "whole URL"),
        ("javascript://partner.example/%0aalert(1)", "whole URL|line break"),
        ("JAVASCRIPT:/callback", "whole URL"),
        ("vbscript:/callback", "whole URL"),
        ("blob:https://partner.example/1", "whole URL"),
        ("view-source:https://partner.example/", "whole URL"),
        ("about:blank", "whole URL"),
        (" https://partner.example/", "character"),
        ("://partner.example/", "whole URL"),
        ("", "character"),
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


@pytest.mark.spec("RFC 8252", "7.1")
def test_private_use_scheme_with_two_slashes_is_told_to_write_one():
    with pytest.raises(ValidationError) as refused:
        validate_redirect_uri("com.example.app://cb?a=b://c", is_public=True)
    assert refused.value.messages == [
        "“com.example.app://cb?a=b://c”: write it with one slash: com.example.app:/cb?a=b://c"
    ]

    validate_redirect_uri("com.example.app:/cb?a=b://c", is_public=True)
    with pytest.raises(ValidationError, match="whole URL"):
        validate_redirect_uri("com.example.app://cb", is_public=False)


@pytest.mark.spec("RFC 8252", "7.1")
@pytest.mark.parametrize(
    "uri",
    [
        "com.example.app:callback",
        "com.example.app:/callback/../evil",
        "com.example.app:/%2e%2e/evil",
        "com.example.app:/a%5cb",
        "com.example.app:/%0a",
        "com.example.app://user@host/callback",
        "com.ex_ample.app:/callback",
        ".com.example:/callback",
        "1.example:/callback",
    ],
)
def test_private_use_scheme_follows_the_same_rules(uri):
    with pytest.raises(ValidationError):
        validate_redirect_uri(uri, is_public=True)


@pytest.mark.spec("RFC 9700", "2.1")
@pytest.mark.parametrize(
    "presented",
    [
        "https://partner.example/callback/../callback",
        "https://partner.example/./callback",
        "https://partner.example/%63allback",
        "https://partner.example/callback%00",
        "https://partner.example/callback#",
        "https://partner.example./callback",
        "https://partner.example@evil.example/callback",
        "https://partner.example\\@evil.example/callback",
        "https://partner.example.evil.example/callback",
        "HTTPS://partner.example/callback",
        "http://partner.example/callback",
        " https://partner.example/callback",
        "https://partner.example/callback https://evil.example/",
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
