"""Rules about which URLs may be fetched, applied before a name is resolved: schemes, ports and hosts."""

import ipaddress
from urllib.parse import urlsplit

from gateway.errors import FetchRefusedError
from gateway.fetching.ip_addresses import embedded_addresses
from gateway.host_patterns import matches_any, parse_network

MAX_URL_LENGTH = 2048
SCHEMES = ("http", "https")
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
            FetchRefusedError: The URL is malformed or too long, has another scheme or no host, or contains a user name
                or password.
        """
        if len(url) > MAX_URL_LENGTH:
            raise FetchRefusedError(f"The URL has {len(url)} characters; at most {MAX_URL_LENGTH} are accepted.")
        try:
            url.encode()  # JSON can contain unpaired surrogates, which cannot be encoded
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except UnicodeEncodeError:
            raise FetchRefusedError("The URL is not valid: it contains an incomplete character.") from None
        except ValueError as error:
            raise FetchRefusedError(f"The URL is not valid: {error}.") from error
        if parts.scheme not in self._schemes:
            prefixes = " or ".join(f"{scheme}://" for scheme in self._schemes)
            raise FetchRefusedError(f"The URL must begin with {prefixes}.")
        if not host:
            raise FetchRefusedError("The URL has no host.")
        if parts.username is not None or parts.password is not None:
            raise FetchRefusedError("The URL must not contain a user name or password.")

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
            raise FetchRefusedError(f"Images are not fetched from the host {host}.")
        if self.is_allowed(host, port):
            return
        if self._public and not matches_any(name, self._public):
            raise FetchRefusedError(f"The host {host} is not one of the hosts that images are fetched from.")
        if port not in self._ports:
            ports = ", ".join(map(str, self._ports))
            raise FetchRefusedError(f"Images are not fetched from port {port} of {host}; allowed ports: {ports}.")

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
