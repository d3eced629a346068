"""An image URL to bytes, with every guard and limit inside.

The URL is checked by the operator's rules, the address where the connection is opened, and the connection goes to the
very address that was checked: a name that resolves differently a moment later (DNS rebinding) and every redirect meet
the same guards.

requests-hardened 1.3 would do a part of this. It looks at the first address of a name alone, lets through site-local
and IPv4-compatible addresses of IPv6, knows no ports, hosts, limit on bytes or deadline, and takes proxies from the
environment. What would be left to it is less than what would be written around it.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError, LocationParseError

from gateway.deadline import Deadline
from gateway.errors import BodyTooLargeError, DeadlineExceededError, FetchError, FetchRefusedError
from gateway.fetching.addresses import AddressGuard
from gateway.fetching.connections import GuardedSession, Trip
from gateway.fetching.destinations import DEFAULT_PORTS, SCHEMES, Destinations

CHUNK_BYTES = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {
    "Accept": "image/*,application/octet-stream;q=0.9,*/*;q=0.1",
    # What is counted against the limit is then what is decoded.
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "image-gateway",
}


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """How long and how large a fetch may become.

    Attributes:
        deadline_s: Longest time for one picture, redirects included.
        max_bytes: Largest picture.
        max_redirects: How many redirects are followed.
    """

    deadline_s: float
    max_bytes: int
    max_redirects: int


class UrlFetcher:
    """Gets pictures by URL; safe to use from many threads.

    Args:
        destinations: Which URLs may be fetched.
        limits: How long and how large a fetch may become.
        ca_bundle: Certificates (PEM) of the authorities that hosts allowed by name are trusted by; others, and without
            it these too, by the public ones.
        proxy: URL of a proxy that every connection goes to; it then looks up the names, and must refuse private
            addresses behind them.
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
        self._guard = AddressGuard(destinations)
        self._limits = limits
        self._ca_bundle = ca_bundle
        self._proxies = dict.fromkeys(SCHEMES, proxy) if proxy else {}

    def fetch(self, url: str, *, deadline: Deadline) -> bytes:
        """Give the bytes behind an http or https URL.

        Raises:
            FetchRefusedError: the URL leads where this service does not go.
            FetchError: the server is away, or answers with anything but a body and status 200.
            BodyTooLargeError: the body has more bytes than the limit.
            DeadlineExceededError: it took too long, however slowly the bytes trickled.
        """
        trip = Trip(self._guard, deadline.no_later_than(self._limits.deadline_s), by_proxy=bool(self._proxies))
        with trip.aborted_when_late(), GuardedSession(trip) as session:
            session.proxies = self._proxies
            for _ in range(self._limits.max_redirects + 1):
                found = self._visit(session, url, trip.deadline)
                if isinstance(found, bytes):
                    return found
                url = found
        raise FetchError(f"The URL redirects more than {self._limits.max_redirects} times.")

    def _visit(self, session: requests.Session, url: str, deadline: Deadline) -> bytes | str:
        """Give the bytes behind a URL, or the URL that it redirects to."""
        self._destinations.check_form(url)
        with _translated_errors(urlsplit(url).hostname or "", deadline):
            asked = session.prepare_request(requests.Request("GET", url, headers=HEADERS))
            host, port = _host_and_port(asked)
            self._destinations.check_host(host, port)
            if self._proxies:
                self._guard.check_literal(host, port)
            is_ours = self._ca_bundle is not None and self._destinations.is_allowed(host, port)
            with session.send(
                asked,
                stream=True,
                allow_redirects=False,
                timeout=deadline.remaining_s(),
                verify=str(self._ca_bundle) if is_ours else True,
                proxies=self._proxies,
            ) as response:
                if response.status_code in REDIRECTS and "Location" in response.headers:
                    return _redirect_target(url, response.headers["Location"])
                return self._read(response, deadline)

    def _read(self, response: requests.Response, deadline: Deadline) -> bytes:
        if response.status_code != requests.codes.ok:
            raise FetchError(f"The URL answered with status {response.status_code}, expected 200.")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise FetchError(f"The URL answered with Content-Encoding {encoding[:40]!r} although none was accepted.")
        max_bytes = self._limits.max_bytes
        too_large = BodyTooLargeError(
            f"The picture behind the URL has more than {max_bytes} bytes.", max_bytes=max_bytes
        )
        declared = response.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared) > max_bytes:
            raise too_large
        body = bytearray()
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > max_bytes:
                raise too_large
        deadline.remaining_s()  # a connection cut off at the deadline looks like an end
        return bytes(body)


def _host_and_port(asked: requests.PreparedRequest) -> tuple[str, int]:
    """Tell where a request goes: in ASCII, lower case, with nothing escaped any more."""
    parts = urlsplit(asked.url or "")
    return parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]


def _redirect_target(url: str, location: str) -> str:
    try:
        # http.client reads headers as Latin-1; what is not ASCII in them is UTF-8 these days.
        return urljoin(url, location.encode("latin-1").decode())
    except ValueError as error:
        raise FetchError(f"The URL redirects to what is no valid URL: {error}.") from error


@contextlib.contextmanager
def _translated_errors(host: str, deadline: Deadline) -> Iterator[None]:
    try:
        yield
    except (requests.exceptions.InvalidURL, LocationParseError) as error:
        raise FetchRefusedError("The URL is not valid.") from error
    except (requests.RequestException, HTTPError, OSError) as error:
        if deadline.passed or isinstance(error, requests.Timeout):
            # Without the cause, whose text may be the URL whole, query and all, and would be logged.
            raise DeadlineExceededError(f"The picture was not fetched within {deadline.allowed_s:g} s.") from None
        if isinstance(error, requests.exceptions.SSLError):
            raise FetchError(f"The host {host} has no certificate that can be trusted, or no TLS.") from error
        raise FetchError(f"Fetching from {host} failed: the connection broke, or it is no HTTP.") from error
