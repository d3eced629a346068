"""The proxy between the client and the gateway, from the environment or the system's settings."""

import ipaddress
import os
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

SCHEMES = ("http", "https", "socks5", "socks5h")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy.

    Attributes:
        url: Its URL, possibly with a password.
        source: The variable that names it, or `the system's settings`.
        target: The host that is reached through it.
    """

    url: str = field(repr=False)
    source: str
    target: str

    @classmethod
    def find(cls, url: str) -> Self | None:
        """Return the proxy for a URL; None if it is reached directly.

        Raises:
            ValueError: The proxy is of a kind that cannot be used.
        """
        parts = urlsplit(url)
        proxies = getproxies()
        address = proxies.get(parts.scheme) or proxies.get("all")
        if not address or is_loopback(url) or _is_exempt(parts, proxies.get("no", "")):
            return None
        proxy = cls(
            address if "://" in address else f"http://{address}",
            _find_source(parts.scheme, address),
            parts.hostname or "",
        )
        if not _is_usable(proxy.url):
            raise proxy.make_error()
        return proxy

    def __str__(self) -> str:
        """Return such as `the proxy http://10.0.0.1:3128 (from http_proxy)`, without a password."""
        return f"the proxy {hide_password(self.url)} (from {self.source})"

    def make_error(self) -> ValueError:
        """Return the error for a proxy that cannot be used."""
        kinds = f"{', '.join(SCHEMES[:-1])} or {SCHEMES[-1]}"
        example = "http://10.0.0.1:3128, without spaces"
        return ValueError(f"{self} cannot be used. Use one such as {example}, with {kinds}. {self.hint}")

    @property
    def refusal(self) -> str:
        """What it means that the proxy asks for a user and a password, and what to do."""
        parts = urlsplit(self.url)
        example = f"{parts.scheme}://USER:PASSWORD@{parts.netloc.rpartition('@')[2]}"
        fault = "requires a user and a password" if parts.username is None else "refuses the user and password"
        return f"{self} {fault}. Write the right ones into {self.source}, as in {example}. {self.hint}"

    @property
    def hint(self) -> str:
        """How to do without the proxy."""
        return f"Set no_proxy={self.target} to connect directly."


def _is_usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        is_plain = url.isprintable() and " " not in url
        return is_plain and parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def is_loopback(url: str) -> bool:
    """Return whether a URL is one of this machine, which no proxy reaches; browsers and Go do not ask one either."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def hide_password(url: str) -> str:
    """Return a URL without user and password."""
    return re.sub(r"//[^/]*@", "//", url)


def _find_source(scheme: str, address: str) -> str:
    names = (f"{scheme}_proxy", "all_proxy")
    variables = (variable for name in names for variable in (name, name.upper()))
    return next((name for name in variables if os.environ.get(name) == address), "the system's settings")


def _is_exempt(parts: SplitResult, no_proxy: str) -> bool:
    """Return whether no proxy is used for a host, by its name, a domain above it, its address or network."""
    host = parts.hostname or ""
    if proxy_bypass(host) or (parts.port and proxy_bypass(f"{host}:{parts.port}")):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in _networks(no_proxy) if network.version == address.version)


def _networks(no_proxy: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    networks = []
    for text in no_proxy.split(","):
        try:
            networks.append(ipaddress.ip_network(text.strip(), strict=False))
        except ValueError:
            continue
    return networks
