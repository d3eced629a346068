import pytest

from gateway.errors import FetchRefusedError
from gateway.fetching.destinations import Destinations

REFUSED_FORMS = [
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
    "http://host.example/" + "x" * 2048,
]


@pytest.mark.parametrize("url", REFUSED_FORMS)
def test_what_is_no_plain_url_is_refused(url: str):
    with pytest.raises(FetchRefusedError):
        Destinations().check_form(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://host.example",
        "https://host.example/x.png?size=1#top",
        "HTTP://HOST.EXAMPLE/x",
        "http://host.example:8080/x",
        "http://1.1.1.1/x",
        "http://[2606:4700:4700::1111]:443/x",
        "http://bücher.example/größe.png",
        "http://host.example/" + "x" * 2028,
    ],
)
def test_plain_urls_pass(url: str):
    Destinations().check_form(url)


def test_only_the_schemes_that_are_set_pass():
    https = Destinations(schemes=("https",))
    https.check_form("https://host.example/")
    with pytest.raises(FetchRefusedError, match=r"must begin with https://\."):
        https.check_form("http://host.example/")
    with pytest.raises(FetchRefusedError, match=r"must begin with http:// or https://\."):
        Destinations().check_form("ftp://host.example/")


@pytest.mark.parametrize("port", [80, 443])
def test_the_usual_ports_pass_by_default(port: int):
    Destinations().check_host("host.example", port)


@pytest.mark.parametrize("port", [0, 1, 22, 25, 53, 81, 110, 2375, 3306, 5432, 6379, 8080, 8443, 9200, 11211, 27017])
def test_other_ports_are_refused_by_default_and_may_be_opened(port: int):
    with pytest.raises(FetchRefusedError, match=rf"port {port} of host\.example; ports allowed: 80, 443\."):
        Destinations().check_host("host.example", port)
    Destinations(ports=(port,)).check_host("host.example", port)


def test_a_host_allowed_by_name_is_allowed_on_every_port_or_on_the_one_named():
    destinations = Destinations(allowed_hosts=("Camera.example", "store.example:9000", "[::1]:8000"))
    for host, port in (("camera.example", 1), ("camera.example.", 80), ("store.example", 9000), ("::1", 8000)):
        destinations.check_host(host, port)
        assert destinations.is_allowed(host, port)
    for host, port in (("store.example", 90), ("store.example", 80), ("::1", 80), ("a.camera.example", 80)):
        assert not destinations.is_allowed(host, port)
    with pytest.raises(FetchRefusedError):
        destinations.check_host("store.example", 9001)


def test_public_hosts_are_the_only_ones_beside_those_allowed():
    destinations = Destinations(allowed_hosts=("camera.lan",), public_hosts=("photos.example", "*.cdn.example"))
    for host in ("photos.example", "PHOTOS.example", "photos.example.", "a.cdn.example", "b.a.cdn.example"):
        destinations.check_host(host, 443)
    destinations.check_host("camera.lan", 8080)
    for host in ("a.photos.example", "cdn.example", "notcdn.example", "xcdn.example", "photos.example.evil.example"):
        with pytest.raises(FetchRefusedError, match="is not among those that images are fetched from"):
            destinations.check_host(host, 443)


def test_denied_hosts_are_refused_whatever_else_is_set():
    lists = {"allowed_hosts": ("bad.example",), "public_hosts": ("*.example",)}
    destinations = Destinations(denied_hosts=("Bad.example", "*.worse.example"), **lists)
    for host in ("bad.example", "BAD.example", "bad.example.", "a.worse.example", "b.a.worse.example"):
        with pytest.raises(FetchRefusedError, match="Nothing is fetched from the host"):
            destinations.check_host(host, 443)
    for host in ("a.bad.example", "worse.example", "notbad.example"):
        destinations.check_host(host, 443)


def test_denied_networks_hold_for_addresses_of_both_kinds():
    destinations = Destinations(
        denied_hosts=("203.0.113.0/24", "198.51.100.7", "2001:db8::/32", "[::1]", "name.example")
    )
    for address in ("203.0.113.255", "198.51.100.7", "2001:db8::5", "::1", "::ffff:203.0.113.1"):
        assert destinations.is_denied_address(address)
    for address in ("203.0.114.0", "198.51.100.8", "2001:db9::", "::ffff:198.51.100.8"):
        assert not destinations.is_denied_address(address)
