"""Hosts and networks as operators write them in the settings, and how a host name is compared with them."""

import ipaddress
import re
from collections.abc import Iterable
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

WILDCARD_PREFIX = "*."
"""Stands before a name to match all names below it."""
HOST_PATTERN = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?", re.IGNORECASE)
"""An ASCII host name, with or without the wildcard prefix."""


def is_host_pattern(text: str) -> bool:
    """Return whether the text is a host name, a name with the wildcard prefix, an address or a network."""
    return HOST_PATTERN.fullmatch(text) is not None or parse_network(text) is not None


def parse_network(text: str) -> Network | None:
    """Parse an address or a network, such as `203.0.113.0/24`; return None if it is neither."""
    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None


def matches_any(host: str, patterns: Iterable[str]) -> bool:
    """Return whether a host name matches a pattern: `name` matches itself, `*.name` all names below it.

    Args:
        host: In lower case, without a dot at the end.
        patterns: In lower case.
    """
    return any(
        host.endswith(pattern[1:]) if pattern.startswith(WILDCARD_PREFIX) else host == pattern for pattern in patterns
    )
