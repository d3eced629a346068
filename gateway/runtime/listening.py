"""Addresses to listen on, and the addresses of peers, where IPv4 and IPv6 meet."""

import contextlib
import socket
from typing import Any

ALL = "*"
"""In place of a host: every address of the machine."""
MAPPED = "::ffff:"
"""How a socket for both names an IPv4 peer (RFC 4291 section 2.5.5.2)."""


def expand(bind: str) -> list[str]:
    """Return gunicorn's addresses for `*:PORT`, over IPv4 and IPv6 as far as this machine has them.

    Any other address is returned as it is.
    """
    host, _, port = bind.rpartition(":")
    if host != ALL:
        return [bind]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::", 0))
        only_ipv6 = probe.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)  # a setting of the system
        return [f"0.0.0.0:{port}", f"[::]:{port}"] if only_ipv6 else [f"[::]:{port}"]
    return [f"0.0.0.0:{port}"]


def unmap(peer: Any) -> Any:
    """Return the address of a peer of a socket; one over IPv4 as if the socket were for IPv4 only."""
    if isinstance(peer, tuple) and peer[0].startswith(MAPPED):
        return peer[0].removeprefix(MAPPED), peer[1]
    return peer
