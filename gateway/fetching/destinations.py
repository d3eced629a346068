"""Rules about which URLs may be fetched, applied before a name is resolved: schemes, ports and hosts."""

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

import idna

from gateway.errors import FetchRefusedError
from gateway.fetching.ip_addresses import embedded_addresses
from gateway.host_patterns import matches_any, parse_network
from gateway.settings import LONGEST_URL

MAX_URL_LENGTH = LONGEST_URL
"""Characters of the longest URL that a setting can allow; `FetchLimits` has the limit."""
SCHEMES = ("http", "https")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
MAX_QUOTED = 20
MAX_LABEL_LENGTH = 63
DEFAULT_PORTS = {"http": 80, "https": 443}


class Destinations:
    """The operator's rules about where image URLs may point.

    Args:
        schemes: `http`, `https` or both.
        ports: Ports allowed for hosts that are not allowed by name.
        allowed_hosts: `host` or `host:port`: hosts allowed by name, whatever their address and, without a port, on
            every port. IPv6 addresses are written in brackets.
        public_hosts: If not empty, the only other hosts; `*.name` stands for all names below a name.
        denied_hosts: Hosts in the same form, and networks, that are never fetched from, even if allowed.
    """

    def __init__(
        self,
        *,
        schemes: tuple[str, ...] = SCHEMES,
        ports: tuple[int, ...] = tuple(DEFAULT_PORTS.values()),
        allowed_hosts: tuple[str, ...] = (),
        public_hosts: tuple[str, ...] = (),
        denied_hosts: tuple[str, ...] = (),
    ) -> None:
        self._schemes = schemes
        self._ports = ports
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        self._public = tuple(host.lower() for host in public_hosts)
        networks = {host: parse_network(host) for host in denied_hosts}
        self._denied_networks = tuple(network for network in networks.values() if network is not None)
        self._denied = tuple(host.lower() for host, network in networks.items() if network is None)

    def check_url(self, url: str) -> None:
        """Check the form of a URL.

        Raises:
            FetchRefusedError: The URL is malformed, has another scheme or no host, or contains a user name
                or password.
        """
        parts, host = _split(url)
        if parts.scheme not in self._schemes:
            prefixes = " or ".join(f"{scheme}://" for scheme in self._schemes)
            raise FetchRefusedError(f"The URL begins with {_quote_start(url)}; it must begin with {prefixes}.")
        if not host:
            raise FetchRefusedError("The URL has no host. Send one such as https://example.com/photo.jpg.")
        if parts.username is not None or parts.password is not None:
            raise FetchRefusedError("The URL must not contain a user name or password. Send the image itself.")

    def check_host(self, host: str, port: int) -> None:
        """Check the host and the port that a connection is about to be opened to.

        Args:
            host: In ASCII, without escapes.
            port: From 0 to 65535.

        Raises:
            FetchRefusedError: The host or the port is not allowed.
        """
        name = host.rstrip(".").lower()
        if matches_any(name, self._denied):
            raise FetchRefusedError(f"Images are not fetched from the host {host}. Send the image itself.")
        if self.is_allowed(host, port):
            return
        if self._public and not matches_any(name, self._public):
            raise FetchRefusedError(
                f"The host {host} is not one of the hosts that images are fetched from. Send the image itself."
            )
        if port not in self._ports:
            ports = ", ".join(map(str, self._ports))
            raise FetchRefusedError(
                f"Images are not fetched from port {port} of {host}; allowed ports: {ports}. Send the image itself."
            )

    def is_allowed(self, host: str, port: int) -> bool:
        """Return whether a host is allowed by name, whatever its address."""
        name = host.rstrip(".").lower()
        name = f"[{name}]" if ":" in name else name
        return not self._allowed.isdisjoint({name, f"{name}:{port}"})

    def is_denied_address(self, address: str) -> bool:
        """Return whether an address, or one that it contains, lies in a denied network."""
        ip = ipaddress.ip_address(address)
        return any(
            candidate in network for candidate in (ip, *embedded_addresses(ip)) for network in self._denied_networks
        )


def ascii_url(url: str) -> str:
    """Return a URL whose host is in ASCII, as browsers convert it (UTS 46); unchanged if that is not possible.

    Unlike IDNA 2008, which requests follows, browsers accept symbols such as emoji.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host.isascii():
        return url
    try:
        mapped = idna.uts46_remap(host, std3_rules=False)
    except idna.IDNAError:
        return url
    labels = [label if label.isascii() else f"xn--{label.encode('punycode').decode()}" for label in mapped.split(".")]
    if max(map(len, labels)) > MAX_LABEL_LENGTH:
        return url
    port = "" if parts.port is None else f":{parts.port}"
    return parts._replace(netloc=f"{'.'.join(labels)}{port}").geturl()


def _split(url: str) -> tuple[SplitResult, str | None]:
    """Return the parts of a URL, and its host.

    Raises:
        FetchRefusedError: The URL is malformed.
    """
    try:
        url.encode()  # JSON can contain unpaired surrogates, which cannot be encoded
        parts = urlsplit(url)
        host = parts.hostname
    except UnicodeEncodeError:
        raise FetchRefusedError(
            "The URL is not valid: it contains half a character. Check how it is encoded."
        ) from None
    except ValueError as error:
        raise FetchRefusedError("The URL is not valid: check its host, and the brackets of an IPv6 address.") from error
    try:
        _ = parts.port
    except ValueError as error:
        raise FetchRefusedError("The URL is not valid: its port must be a number from 0 to 65535.") from error
    return parts, host


def _quote_start(url: str) -> str:
    """Return the scheme of a URL or, if it has none, its first characters, for a message."""
    scheme, colon, _ = url[:MAX_QUOTED].partition(":")
    return f"{scheme}:" if colon and SCHEME.fullmatch(scheme) else repr(url[:MAX_QUOTED]) if url else "nothing"
