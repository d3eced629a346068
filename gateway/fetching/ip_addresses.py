"""IPv4 and IPv6 addresses: which are public, and which contain another address."""

import ipaddress
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

IpAddress: TypeAlias = IPv4Address | IPv6Address

# Connections go to the IPv4 address in the last 32 bits instead (RFC 4291 section 2.5.5.2, RFC 6052 section 2.1).
MAPPED = ipaddress.ip_network("::ffff:0:0/96")
NAT64 = ipaddress.ip_network("64:ff9b::/96")

# Other networks whose addresses contain an IPv4 address in the last 32 bits: RFC 4291 section 2.5.5.1, RFC 2765.
COMPATIBLE = ipaddress.ip_network("::/96")
TRANSLATED = ipaddress.ip_network("::ffff:0:0:0/96")

LOCAL_NAT64 = ipaddress.ip_network("64:ff9b:1::/48")  # RFC 8215; its prefixes have 48, 56, 64 or 96 bits (RFC 6052)
SIX_TO_FOUR = ipaddress.ip_network("2002::/16")  # RFC 3056
TEREDO = ipaddress.ip_network("2001::/32")  # RFC 4380
ISATAP_MARK, ISATAP_MASK = 0x0000_5EFE, 0xFCFF_FFFF  # RFC 5214 section 6.1, with and without the bits u and g

IPV4_BITS = 0xFFFF_FFFF
SUBSCRIBER_BITS = 64

# All IPv6 addresses that are assigned to hosts on the public Internet; others are local, reserved or unassigned.
# https://www.iana.org/assignments/ipv6-address-space
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

# Not globally reachable according to the IANA special-purpose registries, but public in some releases of `ipaddress`.
NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocols; one cloud serves its metadata at 192.0.0.192
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "2001::/23",  # IETF protocols, including Teredo: tunnels to an IPv4 address
        "2002::/16",  # 6to4: the same
        "3ffe::/16",  # the former 6bone, returned in 2006 (RFC 3701)
        "3fff::/20",  # documentation, RFC 9637
    )
)


def is_public(address: str) -> bool:
    """Return whether an IPv4 or IPv6 address belongs to the public Internet.

    Loopback, private, link-local (including cloud metadata), shared (CGNAT), unique-local, multicast, reserved and
    documentation addresses do not. Neither do IPv6 addresses that contain such an IPv4 address, and tunnel addresses.

    Raises:
        ValueError: The text is not an address.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, IPv6Address):
        embedded = embedded_addresses(ip)
        if not all(is_public(str(inner)) for inner in embedded):
            return False
        if ip in MAPPED or ip in NAT64:
            return True
        if ip not in GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in NOT_PUBLIC)


def embedded_addresses(ip: IpAddress) -> list[IPv4Address]:
    """Return the IPv4 addresses that an IPv6 address may lead to, by translation or through a tunnel."""
    return list(_embedded(ip)) if isinstance(ip, IPv6Address) else []


def subscriber(address: str) -> str:
    """Return what stands for the host at an address: its IPv4 address, or its IPv6 network of 64 bits."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, IPv4Address):
        return str(ip)
    if ip in MAPPED or ip in NAT64:
        return str(embedded_addresses(ip)[0])
    return subscriber_network(ip)


def subscriber_network(ip: IPv6Address) -> str:
    """Return the network of 64 bits that an IPv6 address is in.

    Every subscriber has at least one such network (RFC 6177), and could use a new address of it for each request.
    """
    return str(ipaddress.ip_network((int(ip), SUBSCRIBER_BITS), strict=False))


def _embedded(ip: IPv6Address) -> Iterator[IPv4Address]:
    bits = int(ip)
    if any(ip in network for network in (MAPPED, NAT64, COMPATIBLE, TRANSLATED)):
        yield IPv4Address(bits & IPV4_BITS)
    if ip in LOCAL_NAT64:
        without_u = bits >> 64 << 56 | bits & (1 << 56) - 1  # the bits 64 to 71 are skipped (RFC 6052 section 2.2)
        for shift in (40, 32, 24):
            yield IPv4Address(without_u >> shift & IPV4_BITS)
        yield IPv4Address(bits & IPV4_BITS)
    if ip in SIX_TO_FOUR:
        yield IPv4Address(bits >> 80 & IPV4_BITS)
    if ip in TEREDO:
        yield IPv4Address(bits >> 64 & IPV4_BITS)
        yield IPv4Address(bits & IPV4_BITS ^ IPV4_BITS)
    if bits >> 32 & ISATAP_MASK == ISATAP_MARK:
        yield IPv4Address(bits & IPV4_BITS)
