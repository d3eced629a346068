"""Resolution of host names to addresses that may be connected to: public ones, and those of hosts allowed by name."""

import contextlib
import errno
import socket

import structlog

from gateway.deadline import Deadline
from gateway.errors import NO_RESOURCES, DeadlineExceededError, FetchError, FetchRefusedError, OverloadedError
from gateway.fetching.destinations import Destinations
from gateway.fetching.ip_addresses import is_public
from gateway.fetching.lookups import Address
from gateway.fetching.resolver import Resolver

EXHAUSTED = NO_RESOURCES | {errno.EAGAIN}
"""Errors of a lookup or connection for lack of resources; the last one is that of a fork without processes left."""

log = structlog.get_logger(__name__)


class AddressGuard:
    """Resolves host names and refuses addresses that must not be connected to; safe to use from many threads.

    An unknown host and a host without a public address are refused with the same message, so that callers cannot probe
    the names of an internal network. The log shows the difference.

    Args:
        destinations: The hosts that may have any address, and the denied addresses.
        lookup_s: Maximum time of one lookup.
    """

    def __init__(self, destinations: Destinations, *, lookup_s: float) -> None:
        self._destinations = destinations
        self._lookup_s = lookup_s
        self._resolver = Resolver()

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
        with contextlib.suppress(UnicodeError):
            self._check(host, port, _parse_address(host, port))

    def lookup(self, host: str, port: int, *, deadline: Deadline) -> list[Address]:
        """Resolve a host without checking its addresses.

        Raises:
            FetchRefusedError: The host is unknown.
            FetchError: The lookup failed for a reason of this machine.
            OverloadedError: This machine cannot look up more names.
            DeadlineExceededError: The name server did not answer in time.
        """
        try:
            return _parse_address(host, port) or self._look_up(host, port, deadline)
        except UnicodeError as error:
            raise _refusal(host, "unknown") from error

    def close(self) -> None:
        """End the lookups and their processes."""
        self._resolver.close()

    def _look_up(self, host: str, port: int, deadline: Deadline) -> list[Address]:
        try:
            addresses = self._resolver.resolve(host, port, timeout_s=deadline.remaining_s(self._lookup_s))
        except TimeoutError:
            raise DeadlineExceededError(
                f"The name {host} was not resolved in time. Try again, or send the image itself."
            ) from None
        except OSError as error:
            log.warning("lookup_failed", host=host, reason=str(error))
            if error.errno in EXHAUSTED:
                raise OverloadedError(
                    "The gateway cannot resolve more names at the moment. Try again shortly."
                ) from error
            raise FetchError(f"The name {host} could not be resolved. Try again shortly.") from error
        if not addresses:
            raise _refusal(host, "unknown")
        return addresses

    def _check(self, host: str, port: int, addresses: list[Address]) -> None:
        is_allowed = self._destinations.is_allowed(host, port)
        for address in addresses:
            text = str(address.sockaddr[0])
            if self._destinations.is_denied_address(text):
                raise _refusal(host, "denied")
            if not is_allowed and not is_public(text):
                raise _refusal(host, "not public")


def _parse_address(host: str, port: int) -> list[Address]:
    """Return the address that the host is, in any notation that the system knows; none if it is a name."""
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except OSError:
        return []
    return [Address(family, sockaddr) for family, _, _, _, sockaddr in entries]


def _refusal(host: str, reason: str) -> FetchRefusedError:
    log.info("fetch_refused", host=host, reason=reason)
    return FetchRefusedError(
        f"The host {host} is not known or has no public address, so nothing is fetched from it. Check the name, or "
        "send the image itself."
    )
