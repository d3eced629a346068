import ipaddress

from gateway.host_patterns import is_host_pattern, matches_any, parse_network


def test_names_wildcards_addresses_and_networks_are_host_patterns():
    for text in (
        "photos.example",
        "PHOTOS.example",
        "*.cdn.example",
        "my_host",
        "203.0.113.7",
        "2001:db8::/32",
        "[::1]",
    ):
        assert is_host_pattern(text), text

    for text in ("", "*", "*.", "https://photos.example", "photos.example:443", "a/b", "-a.example", "bücher.example"):
        assert not is_host_pattern(text), text


def test_a_network_is_an_address_or_a_prefix():
    assert parse_network("203.0.113.7") == ipaddress.ip_network("203.0.113.7/32")
    assert parse_network("203.0.113.9/24") == ipaddress.ip_network("203.0.113.0/24")
    assert parse_network("[::1]") == ipaddress.ip_network("::1/128")
    assert parse_network("photos.example") is None


def test_a_wildcard_matches_names_below_it_and_not_the_name_itself():
    patterns = ("photos.example", "*.cdn.example")

    for host in ("photos.example", "a.cdn.example", "b.a.cdn.example"):
        assert matches_any(host, patterns), host
    for host in ("a.photos.example", "cdn.example", "notcdn.example"):
        assert not matches_any(host, patterns), host
