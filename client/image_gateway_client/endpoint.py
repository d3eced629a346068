"""Where a gateway is, and how it is called."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from image_gateway_client.proxies import Proxy, hide_password

DEFAULT_URL = "http://localhost:8080"
MEBIBYTE = 1024 * 1024
API_PATH = re.compile(r"/api/v1(/.*)?$", re.DOTALL)
ROUTE = re.compile(r"(?<=[^/])/(v1|v2|api|docs|livez|metrics|problems|readyz|version)(/.*)?$")
"""Other routes of a gateway, with which its URL may have been copied; they may also be the path it is published at."""
URL_PARTS = re.compile(r"(?:(https?)(?=[:/\\]))?[:/\\]*(.*)", re.IGNORECASE | re.DOTALL)
"""The scheme, however it is separated, and the rest of what was meant to be a URL."""
MAX_TIMEOUT_S = 30 * 24 * 3600.0
"""Below the longest wait of operating systems."""


def check_timeout(name: str, timeout_s: float) -> None:
    """Check a maximum time.

    Raises:
        ValueError: It is not above 0, or too long.
    """
    if not 0 < timeout_s <= MAX_TIMEOUT_S:
        raise ValueError(f"{name} must be above 0 and at most {MAX_TIMEOUT_S:.0f} seconds, not {timeout_s}")


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a call.

    Attributes:
        timeout_s: Maximum time for a call, including retries and the pauses before them.
        connect_timeout_s: Maximum time to open a connection.
        retries: Maximum number of retries.
        connections: Maximum number of calls at once.
        max_response_bytes: Maximum size of a response, after decompression.

    Raises:
        ValueError: A limit is out of range.
    """

    timeout_s: float
    connect_timeout_s: float
    retries: int
    connections: int
    max_response_bytes: int = 128 * MEBIBYTE

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_timeout("timeout_s", self.timeout_s)
        check_timeout("connect_timeout_s", self.connect_timeout_s)
        if self.retries < 0 or self.connections < 1:
            raise ValueError("retries must be at least 0 and connections at least 1")
        if self.max_response_bytes < 1:
            raise ValueError("max_response_bytes must be at least 1")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A gateway.

    Attributes:
        url: Its URL without user and password, such as http://localhost:8080, optionally with a path prefix.
        headers: Headers of every request.
        limits: Limits of each call.
        proxy: The proxy on the way; None if it is called directly.
    """

    url: str
    headers: Mapping[str, str] = field(repr=False)  # they contain the key
    limits: Limits
    proxy: Proxy | None

    @classmethod
    def create(cls, url: str, *, api_key: str | None, limits: Limits) -> Self:
        """Check the address and the key.

        Args:
            url: Address of the gateway; the path of a route that was copied with it is removed.
            api_key: Key that is sent with every call; None for no key.
            limits: Limits of each call.

        Raises:
            ValueError: `url` is not an http or https URL, `api_key` cannot be sent in a header, or the proxy cannot be
                used.
        """
        if not _is_gateway_url(url):
            similar = _suggest(url)
            hint = f"Did you mean {similar}?" if similar else f"Use one such as {DEFAULT_URL}."
            raise ValueError(f"{url!r} is not a valid gateway URL. {hint}")
        scheme, separator, rest = url.partition("://")
        url = API_PATH.sub("", f"{scheme.lower()}{separator}{rest}").rstrip("/")
        headers = {
            "User-Agent": "image-gateway-client",
            "Accept": "application/json, application/problem+json",
            "Accept-Encoding": "gzip",
        }
        if authorization := _authorization(url, api_key):
            headers["Authorization"] = authorization
        return cls(hide_password(url), headers, limits, Proxy.find(url))

    @property
    def usual_url(self) -> str:
        """The URL at which a gateway usually listens on the same host."""
        host = urlsplit(self.url).hostname or ""
        return f"http://{f'[{host}]' if ':' in host else host}:8080"

    @property
    def likely_url(self) -> str | None:
        """The URL without the path of a route, if it seems to have been copied with one."""
        shorter = ROUTE.sub("", self.url)
        return None if shorter == self.url else shorter


def _is_gateway_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        (parts.hostname or "").encode("idna")
    except ValueError:
        return False
    return valid and url.isprintable() and " " not in url and not parts.query and not parts.fragment


def _suggest(url: str) -> str | None:
    """Return the URL that was probably meant: with a scheme and its separator, and a host before a port."""
    match = URL_PARTS.fullmatch(url.strip())
    scheme, rest = match.groups() if match else (None, "")
    if rest.isdecimal():
        rest = f"localhost:{rest}"
    suggestion = f"{(scheme or 'http').lower()}://{rest}"
    return suggestion if "//" not in rest and _is_gateway_url(suggestion) else None


def _authorization(url: str, api_key: str | None) -> str | None:
    """Return the header Authorization: of the key or, without one, of the user and password in the URL."""
    if api_key is not None:
        if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key != ""):
            raise ValueError("The API key is not valid. Use printable ASCII characters without surrounding spaces.")
        return f"Bearer {api_key}"
    parts = urlsplit(url)
    if parts.username is None:
        return None
    credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(credentials.encode()).decode('ascii')}"
