"""Resolution of host names to addresses that may be connected to: public ones, and those of hosts allowed by name."""

import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError

import structlog

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchRefusedError
from gateway.fetching.destinations import Destinations
from gateway.fetching.lookups import Address

# An address in it contains an IPv4 address, which a translator connects to instead (RFC 6052 section 2.1).
NAT64 = ipaddress.ip_network("64:ff9b::/96")
IPV4_BITS = 0xFFFF_FFFF

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
        "3fff::/20",  # documentation, RFC 9637
    )
)

# A lookup occupies its thread until the name server answers or the resolver gives up, which takes up to 30 s. So many
# lookups with an unresponsive name server stop all other lookups of a worker.
RESOLVER_THREADS = 32

log = structlog.get_logger(__name__)


def is_public(address: str) -> bool:
    """Return whether an IPv4 or IPv6 address belongs to the public Internet.

    Loopback, private, link-local (including cloud metadata), shared (CGNAT), unique-local, multicast, reserved and
    documentation addresses do not. Neither do IPv6 addresses that contain such an IPv4 address, and tunnel addresses.

    Raises:
        ValueError: The text is not an address.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ipaddress.IPv4Address(int(ip) & IPV4_BITS) if ip in NAT64 else ip.ipv4_mapped
        if inner is not None:
            return is_public(str(inner))
        if ip not in GLOBAL_UNICAST:
            return False
    return ip.is_global and not ip.is_multicast and not any(ip in network for network in NOT_PUBLIC)


class AddressGuard:
    """Resolves host names and refuses addresses that must not be connected to; safe to use from many threads.

    An unknown host and a host without a public address are refused with the same message, so that callers cannot probe
    the names of an internal network. The log shows the difference.

    Args:
        destinations: The hosts that may have any address, and the denied addresses.
    """

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations
        # getaddrinfo has no timeout, but waiting for another thread has one.
        self._resolver = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")

    def resolve(self, host: str, port: int, *, deadline: Deadline) -> list[Address]:
        """Resolve a host and check all its addresses.

        Raises:
            FetchRefusedError: The host is unknown, an address is denied, or an address is not public and the host is
                not allowed by name.
            DeadlineExceededError: The name server did not answer in time.
        """
        addresses = self.lookup(host, port, deadline=deadline)
        self._check(host, port, addresses)
        return addresses

    def check_literal(self, host: str, port: int) -> None:
        """Check a host that is an address in any notation, without a name server; accept any name.

        Raises:
            FetchRefusedError: See `resolve`.
        """
        try:
            addresses = _getaddrinfo(host, port, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return
        self._check(host, port, addresses)

    def lookup(self, host: str, port: int, *, deadline: Deadline) -> list[Address]:
        """Resolve a host without checking its addresses.

        Raises:
            FetchRefusedError: The host is unknown.
            DeadlineExceededError: The name server did not answer in time.
        """
        lookup = self._resolver.submit(_getaddrinfo, host, port)
        try:
            return lookup.result(timeout=deadline.remaining_s())
        except FutureTimeoutError:
            lookup.cancel()
            raise DeadlineExceededError(f"The name {host} was not resolved in time.") from None
        except (OSError, UnicodeError) as error:
            raise _refusal(host, "unknown") from error

    def close(self) -> None:
        """End the resolver threads once their lookups are done."""
        self._resolver.shutdown(wait=False, cancel_futures=True)

    def _check(self, host: str, port: int, addresses: list[Address]) -> None:
        is_allowed = self._destinations.is_allowed(host, port)
        for address in addresses:
            text = str(address.sockaddr[0])
            if self._destinations.is_denied_address(text):
                raise _refusal(host, "denied")
            if not is_allowed and not is_public(text):
                raise _refusal(host, "not public")


def _getaddrinfo(host: str, port: int, flags: int = 0) -> list[Address]:
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in entries]


def _refusal(host: str, reason: str) -> FetchRefusedError:
    log.info("fetch_refused", host=host, reason=reason)
    return FetchRefusedError(f"The host {host} is not known or has no public address, so nothing is fetched from it.")
