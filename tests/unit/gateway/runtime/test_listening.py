import socket

import pytest

from gateway.runtime import listening

UNKNOWN_FAMILY = 200


@pytest.mark.parametrize("bind", ["127.0.0.1:8000", "0.0.0.0:8000", "[::1]:8000", "unix:/run/gateway.sock", ":8000"])
def test_an_address_is_used_as_it_is(bind: str):
    assert listening.expand(bind) == [bind]


def test_all_addresses_of_a_machine_without_ipv6_are_those_of_ipv4(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "AF_INET6", UNKNOWN_FAMILY)  # the system refuses it as one without IPv6 refuses IPv6

    assert listening.expand("*:8000") == ["0.0.0.0:8000"]


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("::ffff:192.0.2.1", 5000, 0, 0), ("192.0.2.1", 5000)),
        (("192.0.2.1", 5000), ("192.0.2.1", 5000)),
        (("fe80::1%eth0", 5000, 0, 2), ("fe80::1%eth0", 5000, 0, 2)),
        ("", ""),
    ],
)
def test_a_peer_over_ipv4_has_an_ipv4_address(peer: object, address: object):
    assert listening.unmap(peer) == address
