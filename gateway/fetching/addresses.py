"""Where image URLs may lead: only to public addresses, and to hosts that were allowed by name."""

import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from typing import Any

import structlog

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError, FetchRefusedError
from gateway.fetching.destinations import Destinations

# An address in it carries an IPv4 address, which a translator connects to in its place (RFC 6052 section 2.1).
NAT64 = ipaddress.ip_network("64:ff9b::/96")
IPV4_BITS = 0xFFFF_FFFF

# All of IPv6 that is given to hosts of the public Internet; what lies outside is local, reserved or unassigned.
# https://www.iana.org/assignments/ipv6-address-space
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

# Not globally reachable by the IANA registries for special purposes, but public to some releases of `ipaddress`.
NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocols; one cloud has its metadata at 192.0.0.192
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "2001::/23",  # IETF protocols, Teredo among them: tunnels to an IPv4 address
        "2002::/16",  # 6to4: the same
        "3fff::/20",  # documentation, RFC 9637
    )
)

# A lookup that its name server leaves unanswered holds a thread for longer than anybody waits for it.
RESOLVER_THREADS = 32

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Address:
    """One address to connect to, as `socket.getaddrinfo` gives it."""

    family: socket.AddressFamily
    sockaddr: tuple[Any, ...]


def is_public(address: str) -> bool:
    """Tell whether an IPv4 or IPv6 address belongs to the public Internet.

    Loopback, private, link-local (cloud metadata among them), shared (CGNAT), unique-local, multicast, reserved and
    documentation addresses do not, nor do IPv6 addresses that stand for such an IPv4 address, nor the tunnels of old.

    Raises:
        ValueError: it is not an address.
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
    """Resolves host names and lets only those addresses through that may be connected to.

    Whoever asks cannot tell a host that is not known from one whose address is not public: the names of an inner
    network are nobody's business. The log tells them apart.

    Args:
        destinations: Says which hosts may have any address, and which addresses none may have.
    """

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations
        # getaddrinfo knows no time limit; waiting for another thread does.
        self._resolver = ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver")

    def resolve(self, host: str, port: int, *, deadline: Deadline) -> list[Address]:
        """Find the addresses of a host, all of which may be connected to.

        Raises:
            FetchRefusedError: the host is not known, or an address of it is not public and the host not allowed by
                name, or an address is denied.
            DeadlineExceededError: the name server did not answer in time.
        """
        found = self.lookup(host, port, deadline=deadline)
        self._check(host, port, found)
        return found

    def check_literal(self, host: str, port: int) -> None:
        """Check a host that is an address in any spelling, asking no name server; leave names alone.

        Raises:
            FetchRefusedError: as `resolve` does.
        """
        try:
            found = _addresses(host, port, flags=socket.AI_NUMERICHOST)
        except (OSError, UnicodeError):
            return
        self._check(host, port, found)

    def lookup(self, host: str, port: int, *, deadline: Deadline) -> list[Address]:
        """Find the addresses of a host, wherever they lead.

        Raises:
            FetchRefusedError: the host is not known.
            DeadlineExceededError: the name server did not answer in time.
        """
        pending = self._resolver.submit(_addresses, host, port)
        try:
            return pending.result(timeout=deadline.remaining_s())
        except FutureTimeoutError:
            pending.cancel()
            raise DeadlineExceededError(f"The name {host} was not resolved in time.") from None
        except (OSError, UnicodeError) as error:
            raise _refusal(host, "unknown") from error

    def close(self) -> None:
        """Let the resolver threads end."""
        self._resolver.shutdown(wait=False, cancel_futures=True)

    def _check(self, host: str, port: int, found: list[Address]) -> None:
        is_allowed = self._destinations.is_allowed(host, port)
        for address in found:
            text = str(address.sockaddr[0])
            if self._destinations.is_denied_address(text):
                raise _refusal(host, "denied")
            if not is_allowed and not is_public(text):
                raise _refusal(host, "not public")


def _addresses(host: str, port: int, flags: int = 0) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in found]


def _refusal(host: str, reason: str) -> FetchRefusedError:
    log.info("fetch_refused", host=host, reason=reason)
    return FetchRefusedError(f"The host {host} is not known or has no public address, so nothing is fetched from it.")
