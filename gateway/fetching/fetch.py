"""Fetching of an image by URL, within all rules and limits.

The URL is checked against the operator's rules, and the address when the connection is opened. The connection goes to
the address that was checked, so a name that resolves differently a moment later (DNS rebinding) gains nothing. Every
redirect passes the same checks.

requests-hardened 1.3 covers only a part of this: it checks only the first address of a name, accepts site-local and
IPv4-compatible IPv6 addresses, has no rules for ports and hosts and no limits on bytes and time, and uses proxies of
the environment.
"""

import contextlib
import io
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import structlog
from urllib3.exceptions import HTTPError, LocationParseError

from gateway.deadline import Deadline
from gateway.errors import (
    BodyTooLargeError,
    DeadlineExceededError,
    FetchError,
    FetchRefusedError,
    GatewayError,
    OverloadedError,
)
from gateway.fetching.addresses import AddressGuard
from gateway.fetching.connections import GuardedConnector, GuardedSession, HostConnections, Network
from gateway.fetching.destinations import DEFAULT_PORTS, SCHEMES, Destinations
from gateway.fetching.fetcher import UNLIMITED, Allowance
from gateway.fetching.lookups import SharedLookups

CHUNK_BYTES = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
CODINGS = frozenset(
    {"aes128gcm", "br", "compress", "dcb", "dcz", "deflate", "exi", "gzip", "pack200-gzip", "zstd"}
    | {"x-compress", "x-gzip"}
)
"""Content codings that a client must decode (IANA's registry). Others, such as `utf-8` or `none`, change nothing."""
HEADERS = {
    "Accept": "image/*,application/octet-stream;q=0.9,*/*;q=0.1",
    # Without compression, the bytes that count towards the limit are the bytes of the image.
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "image-gateway",
}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one fetch.

    Attributes:
        deadline_s: Maximum time in seconds, including redirects.
        max_bytes: Maximum size of the image.
        max_redirects: Maximum number of redirects that are followed.
        lookup_s: Maximum time in seconds of the lookup of one name.
        connections_per_host: Maximum number of connections to one host, for all fetches together.
        max_wait_s: Maximum time in seconds of the wait for one of these connections.
    """

    deadline_s: float
    max_bytes: int
    max_redirects: int
    lookup_s: float
    connections_per_host: int
    max_wait_s: float


@dataclass(frozen=True, slots=True)
class _Redirect:
    url: str


class UrlFetcher:
    """A `Fetcher` of http and https URLs; safe to use from many threads.

    Args:
        destinations: The URLs that may be fetched.
        limits: Time and size of a fetch.
        ca_bundle: PEM file with the certificate authorities for hosts that are allowed by name. All other hosts, and
            these if there is no file, are verified with the public authorities.
        proxy: URL of a proxy for all connections. It resolves host names itself and must refuse private addresses.
    """

    def __init__(
        self,
        destinations: Destinations,
        limits: FetchLimits,
        *,
        ca_bundle: Path | None = None,
        proxy: str | None = None,
    ) -> None:
        self._destinations = destinations
        self._limits = limits
        self._ca_bundle = ca_bundle
        self._proxies = dict.fromkeys(SCHEMES, proxy) if proxy else {}
        guard = AddressGuard(destinations, lookup_s=limits.lookup_s)
        hosts = HostConnections(limits.connections_per_host, max_wait_s=limits.max_wait_s)
        self._network = Network(guard, hosts, limits.max_bytes, via_proxy=bool(self._proxies))

    def fetch(
        self,
        url: str,
        *,
        deadline: Deadline,
        client: str = "",
        allowance: Allowance = UNLIMITED,
        lookups: SharedLookups | None = None,
    ) -> bytes:
        """Return the bytes behind an http or https URL.

        Raises:
            FetchRefusedError: The URL, or one that it redirects to, is not allowed.
            FetchError: The server is unreachable, or did not answer with status 200 and a body.
            BodyTooLargeError: The body has more bytes than the limit, or than the allowance.
            OverloadedError: There is no memory or no connection for it at the moment.
            DeadlineExceededError: The fetch took too long, whether the server was silent or slow.
        """
        deadline = deadline.no_later_than(self._limits.deadline_s)
        connector = GuardedConnector(self._network, deadline, client=client, lookups=lookups)
        with _translate_unknown_errors(), connector.watch(), GuardedSession(connector) as session:
            session.proxies = self._proxies
            for _ in range(self._limits.max_redirects + 1):
                response = self._request(session, url, connector, allowance)
                if isinstance(response, bytes):
                    return response
                url = response.url
        raise FetchError(f"The URL redirects more than {self._limits.max_redirects} times.")

    def _request(
        self, session: requests.Session, url: str, connector: GuardedConnector, allowance: Allowance
    ) -> bytes | _Redirect:
        """Request a URL, and return its content or redirect."""
        self._destinations.check_url(url)
        deadline = connector.deadline
        with _translate_errors(urlsplit(url).hostname or "", deadline):
            request = session.prepare_request(requests.Request("GET", url, headers=HEADERS))
            host, port = _host_and_port(request)
            self._destinations.check_host(host, port)
            if self._network.via_proxy:
                self._network.guard.check_literal(host, port)
            uses_bundle = self._ca_bundle is not None and self._destinations.is_allowed(host, port)
            with (
                connector.visit(host),
                session.send(
                    request,
                    stream=True,
                    allow_redirects=False,
                    timeout=deadline.remaining_s(),
                    verify=str(self._ca_bundle) if uses_bundle else True,
                    proxies=self._proxies,
                ) as response,
            ):
                if response.status_code in REDIRECTS and "Location" in response.headers:
                    return _Redirect(_redirect_target(url, response.headers["Location"]))
                return self._read(response, deadline, allowance)

    def _read(self, response: requests.Response, deadline: Deadline, allowance: Allowance) -> bytes:
        if response.status_code != requests.codes.ok:
            raise FetchError(f"The URL answered with status {response.status_code}, expected 200.")
        encoding = response.headers.get("Content-Encoding", "")
        if not CODINGS.isdisjoint(coding.partition(";")[0].strip() for coding in encoding.lower().split(",")):
            raise FetchError(f"The URL answered with Content-Encoding {encoding[:40]!r}, expected none.")
        max_bytes = self._limits.max_bytes
        too_large = BodyTooLargeError(f"The image behind the URL has more than {max_bytes} bytes.", max_bytes=max_bytes)
        if int(response.headers.get("Content-Length", 0)) > max_bytes:
            raise too_large
        body = io.BytesIO()  # whose value is not a copy
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            if body.tell() + len(chunk) > max_bytes:
                raise too_large
            allowance.take(len(chunk))
            body.write(chunk)
        deadline.remaining_s()  # a connection that was cut at the deadline looks like the end of the body
        return body.getvalue()


def _host_and_port(request: requests.PreparedRequest) -> tuple[str, int]:
    """Return the host, in lower-case ASCII without escapes, and the port of a request."""
    parts = urlsplit(request.url or "")
    return parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]


def _redirect_target(url: str, location: str) -> str:
    try:
        # http.client decodes headers as Latin-1, but servers send UTF-8.
        return urljoin(url, location.encode("latin-1").decode())
    except ValueError as error:
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else error
        raise FetchError(f"The URL redirects to an invalid URL: {reason}.") from error


@contextlib.contextmanager
def _translate_errors(host: str, deadline: Deadline) -> Iterator[None]:
    try:
        yield
    except (requests.exceptions.InvalidURL, LocationParseError) as error:
        raise FetchRefusedError("The URL is not valid.") from error
    except (requests.RequestException, HTTPError, OSError) as error:
        if deadline.has_passed or isinstance(error, requests.Timeout):
            # Without the cause, which would be logged and may contain the whole URL with its query.
            raise DeadlineExceededError(f"The image was not fetched within {deadline.allowed_s:g} s.") from None
        if isinstance(error, requests.exceptions.SSLError):
            raise FetchError(f"The host {host} has no trusted certificate, or does not support TLS.") from error
        raise FetchError(
            f"Fetching from {host} failed: the connection was lost, or the response is not HTTP."
        ) from error


@contextlib.contextmanager
def _translate_unknown_errors() -> Iterator[None]:
    """Turn every exception into an error of the fetch, so that it never fails the other images of a batch."""
    try:
        yield
    except GatewayError:
        raise
    except MemoryError:
        raise OverloadedError(
            "The gateway has no memory left for this image at the moment. Try again shortly."
        ) from None
    except Exception as error:  # noqa: BLE001  # that is what this is for
        # Without its message, which may contain the URL with its query.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        log.error("fetch_error_unknown", error=type(error).__name__, at=f"{frame.filename}:{frame.lineno}")  # noqa: TRY400
        raise FetchError("Fetching the image failed: its server sent what the gateway does not understand.") from None
