"""Which URLs may be set, and which addresses are connected to."""

from ipaddress import ip_address

import pytest
from django.core.exceptions import ValidationError

from apps.webhooks.addresses import clean_url, is_public, may_connect_to

pytestmark = pytest.mark.spec("CONTRACT", "10")


@pytest.fixture
def production(settings):
    settings.INSECURE_HTTP = False


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.0",
        "172.15.0.1",
        "172.32.0.1",
        "192.169.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2a00:1450:4001::1",
        "2001:4860:4860::8888",
        "64:ff9b::8.8.8.8",
    ],
)
def test_public_address(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254"),
        *("169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1"),
        *("198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "100::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:8.8.8.8", "::127.0.0.1", "::8.8.8.8"),
        *("2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "2001::1", "2001:0:7f00:1::", "2001:db8::1"),
        *("64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::8.8.8.8"),
        *("3fff::1", "5f00::1"),
    ],
)
def test_address_that_is_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_this_machine_is_for_a_first_look_only(address, settings):
    assert may_connect_to(ip_address(address))
    settings.INSECURE_HTTP = False
    assert not may_connect_to(ip_address(address))


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "127.0.0.2", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"]
)
def test_the_network_around_it_is_never(address):
    assert not may_connect_to(ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "https://partner.example",
        "https://hooks.partner.example/a/b?c=d&e=%20f",
        "https://hooks.partner.example:8443/",
        "https://8.8.8.8/hooks",
        "https://[2606:4700::1111]/hooks",
        "https://xn--kvij-load.example/",
        "HTTPS://Partner.Example/Hooks",
    ],
)
@pytest.mark.usefixtures("production")
def test_url_that_may_be_set(url):
    assert clean_url(f" {url} ") == url


@pytest.mark.usefixtures("production")
def test_international_name_is_kept_in_its_ascii_form():
    assert clean_url("https://kävijä.example:8443/a?b") == "https://xn--kvij-load.example:8443/a?b"


@pytest.mark.parametrize(
    "url",
    [
        *("", "partner.example", "//partner.example/", "ftp://partner.example/", "javascript:alert(1)", "https://"),
        *("http://partner.example/", "http://8.8.8.8/", "https:/partner.example", "https:///partner.example"),
        *("https://localhost/", "http://localhost/", "https://a.localhost/", "https://127.0.0.1/", "http://127.0.0.1/"),
        *("https://[::1]/", "https://10.1.2.3/", "https://169.254.169.254/latest/", "https://[fd00::1]/"),
        *("https://[::ffff:10.0.0.1]/", "https://[::ffff:8.8.8.8]/", "https://[64:ff9b::10.0.0.1]/"),
        *("https://2130706433/", "https://0x7f000001/", "https://017700000001/", "https://0177.0.0.1/"),
        *("https://127.1/", "https://10.1/", "https://0x7f.0.0.1/", "https://08.8.8.8/", "https://1.2.3.4.5/"),
        *("https://256.1.1.1/", "https://a.0x/", "https://partner.1/"),
        *("https://１２７.0.0.1/", "https://①②⑦.0.0.1/", "https://ｌocalhost/", "https://partner.example。/"),
        *("https://partner.example./", "https://partner..example/", "https://-partner.example/", "https://.example/"),
        *("https://intranet/", "https://db.internal/", "https://printer.local/", "https://router.lan/"),
        *("https://user@partner.example/", "https://user:pass@partner.example/", "https://@partner.example/"),
        *("https://8.8.8.8@10.0.0.1/", "https://partner.example\\@10.0.0.1/", "https://partner.example#@10.0.0.1/"),
        *("https://partner.example/#fragment", "https://partner.example/a b", "https://partner.example/\n"),
        *("https://partner.example:0/", "https://partner.example:99999/", "https://partner.example:a/"),
        *(
            "https://[fe80::1%25eth0]/",
            "https://[not-an-address]/",
            "https://partner.example/%zz",
            "https://a_.b\x00.c/",
        ),
        "https://partner.example/" + "a" * 2000,
        "https://" + "a" * 64 + ".example/",
    ],
)
@pytest.mark.usefixtures("production")
def test_url_that_may_not_be_set(url):
    with pytest.raises(ValidationError) as refused:
        # What is typed loses the blanks around it, and nothing else.
        clean_url(url if not url.endswith("\n") else url + "x")
    assert refused.value.messages[0]


@pytest.mark.parametrize(
    "url", ["http://localhost:9000/", "http://127.0.0.1:9000/", "http://[::1]/", "http://a.localhost/"]
)
def test_plain_http_to_this_machine_is_for_a_first_look(url):
    assert clean_url(url) == url


@pytest.mark.parametrize("url", ["http://partner.example/", "http://192.168.1.1/", "https://192.168.1.1/"])
def test_not_even_then_to_another(url):
    with pytest.raises(ValidationError):
        clean_url(url)
