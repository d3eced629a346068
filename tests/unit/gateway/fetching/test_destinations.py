import pytest

from gateway.errors import FetchRefusedError
from gateway.fetching.destinations import Destinations, ascii_url

REFUSED_URLS = [
    "",
    " ",
    "picture.png",
    "//host.example/x",
    "http:",
    "http:/",
    "http://",
    "http:///x",
    "http://:80/x",
    "http://?x",
    "http://#x",
    "HTTPS:host.example",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "ftp://host.example/x",
    "ftps://host.example/x",
    "gopher://host.example/x",
    "dict://host.example:11211/stat",
    "ldap://host.example/x",
    "sftp://host.example/x",
    "tftp://host.example/x",
    "smb://host.example/x",
    "jar:http://host.example/x!/",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "data:image/png;base64,AAAA",
    "javascript:alert(1)",
    "view-source:http://host.example/",
    "http://user@host.example/x",
    "http://user:password@host.example/x",
    "http://:password@host.example/x",
    "http://@host.example/x",
    "http://host.example@127.0.0.1/x",
    "http://host.example:80@127.0.0.1/x",
    "http://[::1/x",
    "http://::1]/x",
    "http://host.example:99999/x",
    "http://host.example:-1/x",
    "http://host.example:abc/x",
    "http://host.example:80:80/x",
    "http://host.example/\ud800",
    "http://\ud800/",
]


ACCEPTED_URLS = [
    "http://host.example",
    "https://host.example/x.png?size=1#top",
    "HTTP://HOST.EXAMPLE/x",
    "http://host.example:8080/x",
    "http://1.1.1.1/x",
    "http://[2606:4700:4700::1111]:443/x",
    "http://bücher.example/größe.png",
]


def is_accepted(url: str) -> bool:
    try:
        Destinations().check_url(url)
    except FetchRefusedError:
        return False
    return True


def test_only_plain_http_urls_are_accepted():
    assert [url for url in REFUSED_URLS if is_accepted(url)] == []
    assert [url for url in ACCEPTED_URLS if not is_accepted(url)] == []


def test_only_the_configured_schemes_are_accepted():
    https = Destinations(schemes=("https",))
    https.check_url("https://host.example/")
    with pytest.raises(FetchRefusedError, match=r"must begin with https://\."):
        https.check_url("http://host.example/")
    with pytest.raises(FetchRefusedError, match=r"must begin with http:// or https://\."):
        Destinations().check_url("ftp://host.example/")


def test_only_the_usual_ports_are_accepted_by_default():
    for port in (80, 443):
        Destinations().check_host("host.example", port)

    for port in (0, 1, 22, 25, 53, 81, 110, 2375, 3306, 5432, 6379, 8080, 8443, 9200, 11211, 27017):
        with pytest.raises(FetchRefusedError, match=rf"port {port} of host\.example; allowed ports: 80, 443\."):
            Destinations().check_host("host.example", port)
        Destinations(ports=(port,)).check_host("host.example", port)


def test_a_host_is_allowed_by_name_on_every_port_or_on_one():
    destinations = Destinations(allowed_hosts=("Camera.example", "store.example:9000", "[::1]:8000"))
    for host, port in (("camera.example", 1), ("camera.example.", 80), ("store.example", 9000), ("::1", 8000)):
        destinations.check_host(host, port)
        assert destinations.is_allowed(host, port)
    for host, port in (("store.example", 90), ("store.example", 80), ("::1", 80), ("a.camera.example", 80)):
        assert not destinations.is_allowed(host, port)
    with pytest.raises(FetchRefusedError):
        destinations.check_host("store.example", 9001)


def test_only_public_hosts_and_allowed_hosts_are_accepted():
    destinations = Destinations(allowed_hosts=("camera.lan",), public_hosts=("photos.example", "*.cdn.example"))
    for host in ("photos.example", "PHOTOS.example", "photos.example.", "a.cdn.example", "b.a.cdn.example"):
        destinations.check_host(host, 443)
    destinations.check_host("camera.lan", 8080)
    for host in ("a.photos.example", "cdn.example", "notcdn.example", "xcdn.example", "photos.example.evil.example"):
        with pytest.raises(FetchRefusedError, match="is not one of the hosts that images are fetched from"):
            destinations.check_host(host, 443)


def test_denied_hosts_are_refused_even_if_allowed():
    lists = {"allowed_hosts": ("bad.example",), "public_hosts": ("*.example",)}
    destinations = Destinations(denied_hosts=("Bad.example", "*.worse.example"), **lists)
    for host in ("bad.example", "BAD.example", "bad.example.", "a.worse.example", "b.a.worse.example"):
        with pytest.raises(FetchRefusedError, match="not fetched from the host"):
            destinations.check_host(host, 443)
    for host in ("a.bad.example", "worse.example", "notbad.example"):
        destinations.check_host(host, 443)


def test_denied_ipv4_networks_apply_to_ipv6_addresses_that_lead_to_them():
    destinations = Destinations(denied_hosts=("8.8.8.0/24",))
    for address in ("64:ff9b::8.8.8.8", "::8.8.8.9", "2002:808:8ff::1", "2001:0:1::f7f7:f7f7", "2a00::5efe:8.8.8.1"):
        assert destinations.is_denied_address(address)
    for address in ("64:ff9b::8.8.9.8", "2002:808:9ff::1", "2a00::808:808"):
        assert not destinations.is_denied_address(address)


def test_denied_networks_apply_to_ipv4_ipv6_and_mapped_addresses():
    destinations = Destinations(
        denied_hosts=("203.0.113.0/24", "198.51.100.7", "2001:db8::/32", "[::1]", "name.example")
    )
    for address in ("203.0.113.255", "198.51.100.7", "2001:db8::5", "::1", "::ffff:203.0.113.1"):
        assert destinations.is_denied_address(address)
    for address in ("203.0.114.0", "198.51.100.8", "2001:db9::", "::ffff:198.51.100.8"):
        assert not destinations.is_denied_address(address)


@pytest.mark.parametrize(
    ("host", "in_ascii"),
    [
        ("host.example", "host.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("i❤.ws", "xn--i-7iq.ws"),
        ("i❤️.ws", "xn--i-7iq.ws"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("[2606:4700:4700::1111]", "[2606:4700:4700::1111]"),
    ],
)
def test_a_host_becomes_ascii_as_browsers_make_it(host: str, in_ascii: str):
    assert ascii_url(f"http://{host}:8080/ö?ö#ö") == f"http://{in_ascii}:8080/ö?ö#ö"


@pytest.mark.parametrize("host", ["ö" * 64 + ".example", "a\u2028b.example"])
def test_a_host_that_cannot_be_ascii_stays(host: str):
    assert ascii_url(f"http://{host}/") == f"http://{host}/"


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("photo.jpg", "The URL begins with 'photo.jpg'; it must begin with http:// or https://."),
        ("s3://bucket/photo.jpg", "The URL begins with s3:; it must begin with http:// or https://."),
        ("http://host:abc/", "The URL is not valid: its port must be a number from 0 to 65535."),
        ("http://[::1/x", "The URL is not valid: check its host, and the brackets of an IPv6 address."),
    ],
)
def test_a_url_that_is_refused_is_told_what_is_wrong(url: str, detail: str):
    with pytest.raises(FetchRefusedError) as caught:
        Destinations().check_url(url)

    assert caught.value.detail == detail
