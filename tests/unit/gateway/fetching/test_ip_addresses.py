from ipaddress import ip_address

import pytest

from gateway.fetching.ip_addresses import embedded_addresses, is_public, subscriber

PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2a00:1450:4001:80b::200e",
    "2003::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2a00::5efe:8.8.8.8",
]

NOT_PUBLIC = [
    # IPv4: this host, private, shared (CGNAT), loopback, link-local, protocols, documentation, benchmarks
    "0.0.0.0",  # noqa: S104  # nothing binds to it here
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.171",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    # multicast, reserved, broadcast
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    # clouds' metadata
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "fe80::a9fe:a9fe",
    # IPv6: unspecified, loopback, unique-local, link-local with and without its interface, site-local
    "::",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "fe80::1%eth0",
    "febf::1",
    "fec0::1",
    # multicast, discard, documentation, benchmarks, identifiers, segment routing, unassigned
    "ff02::1",
    "ff0e::1",
    "100::1",
    "2001:db8::1",
    "3fff::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "5f00::1",
    "4000::1",
    "e000::1",
    # IPv4 inside: compatible, mapped, translated, NAT64 of both kinds
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:192.0.0.192",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.1.2.3",
    "64:ff9b:1::10.1.2.3",
    "64:ff9b:1::8.8.8.8",
    # tunnels: 6to4 and Teredo, whatever is at their end
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:808:808::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    # ISATAP within a public network, and the former 6bone
    "2a00::5efe:10.0.0.1",
    "2a00::200:5efe:169.254.169.254",
    "3ffe::1",
]


def test_addresses_of_the_public_internet_are_public():
    assert [address for address in PUBLIC if not is_public(address)] == []


def test_all_other_addresses_are_not_public():
    assert [address for address in NOT_PUBLIC if is_public(address)] == []


def test_a_text_that_is_not_an_address_is_an_error():
    for text in ("", "localhost", "127.1", "0x7f.0.0.1", "0177.0.0.1", "1.2.3.4:80", "[::1]"):
        with pytest.raises(ValueError, match="does not appear to be"):
            is_public(text)


EMBEDDING = [
    "::ffff:8.8.8.8",
    "::8.8.8.8",
    "::ffff:0:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "64:ff9b::808:808",
    "64:ff9b:1:808:8:800::",
    "64:ff9b:1:8:8:808::",
    "64:ff9b:1:0:8:808:800::",
    "64:ff9b:1:abcd:ef:123:808:808",
    "2002:808:808::1",
    "2002:808:808:1234:5678::1",
    "2001:0:808:808:8000:63bf:3fff:fdd2",
    "2001:0:4136:e378:8000:63bf:f7f7:f7f7",
    "fe80::5efe:8.8.8.8",
    "2a00:1:2:3:200:5efe:808:808",
]


@pytest.mark.parametrize("address", EMBEDDING)
def test_an_ipv4_address_is_found_within_an_ipv6_address(address: str):
    assert ip_address("8.8.8.8") in embedded_addresses(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2a00:1450:4001:80b::200e", "fe80::1", "fe80::1%eth0", "2606::5eff:808:808"]
)
def test_other_addresses_contain_none(address: str):
    assert embedded_addresses(ip_address(address)) == []


def test_a_subscriber_has_one_ipv4_address_or_a_network_of_ipv6():
    assert {subscriber(address) for address in ("8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808")} == {"8.8.8.8"}
    assert {subscriber(address) for address in ("2a00:1:2:3::1", "2a00:1:2:3:4:5:6:7")} == {"2a00:1:2:3::/64"}
    assert subscriber("2a00:1:2:4::1") != subscriber("2a00:1:2:3::1")
