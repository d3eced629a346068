"""Which URLs may be fetched at all, before any name is looked up: schemes, ports and hosts."""

import ipaddress
from urllib.parse import urlsplit

from gateway.errors import FetchRefusedError
from gateway.host_patterns import matches_any, parse_network

MAX_URL_LENGTH = 2048
SCHEMES = ("http", "https")
DEFAULT_PORTS = {"http": 80, "https": 443}


class Destinations:
    """The rules of an operator about where image URLs may lead.

    Args:
        schemes: `http`, `https` or both.
        ports: Ports of hosts that are not allowed by name.
        allowed_hosts: `host` or `host:port`, whatever its address and, without a port, whatever its port; IPv6
            addresses in brackets.
        public_hosts: If there are any, the only other hosts; `*.name` for all below a name.
        denied_hosts: Hosts likewise, and networks, that nothing is fetched from, even if allowed.
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

    def check_form(self, url: str) -> None:
        """Refuse what is no plain URL of a scheme that is fetched.

        Raises:
            FetchRefusedError: another scheme, user name or password in it, no host, or too long.
        """
        if len(url) > MAX_URL_LENGTH:
            raise FetchRefusedError(f"The URL has {len(url)} characters; at most {MAX_URL_LENGTH} are accepted.")
        try:
            url.encode()  # JSON can write halves of characters, which cannot be sent
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except UnicodeEncodeError:
            raise FetchRefusedError("The URL is not valid: it holds half a character.") from None
        except ValueError as error:
            raise FetchRefusedError(f"The URL is not valid: {error}.") from error
        if parts.scheme not in self._schemes:
            named = " or ".join(f"{scheme}://" for scheme in self._schemes)
            raise FetchRefusedError(f"The URL must begin with {named}.")
        if not host:
            raise FetchRefusedError("The URL names no host.")
        if parts.username is not None or parts.password is not None:
            raise FetchRefusedError("The URL must not carry a user name or password.")

    def check_host(self, host: str, port: int) -> None:
        """Refuse a host, as it is connected to: in ASCII, nothing escaped; a port that is not among those allowed.

        Raises:
            FetchRefusedError: so it is.
        """
        name = host.rstrip(".").lower()
        if matches_any(name, self._denied):
            raise FetchRefusedError(f"Nothing is fetched from the host {host}.")
        if self.is_allowed(host, port):
            return
        if self._public and not matches_any(name, self._public):
            raise FetchRefusedError(f"The host {host} is not among those that images are fetched from.")
        if port not in self._ports:
            named = ", ".join(map(str, self._ports))
            raise FetchRefusedError(f"Nothing is fetched from port {port} of {host}; ports allowed: {named}.")

    def is_allowed(self, host: str, port: int) -> bool:
        """Tell whether a host is allowed by name, whatever its address."""
        name = host.rstrip(".").lower()
        name = f"[{name}]" if ":" in name else name
        return not self._allowed.isdisjoint({name, f"{name}:{port}"})

    def is_denied_address(self, address: str) -> bool:
        """Tell whether an address lies in a network that nothing is fetched from."""
        ip = ipaddress.ip_address(address)
        mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
        return any((mapped or ip) in network for network in self._denied_networks)
