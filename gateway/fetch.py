"""An image URL to bytes, with every guard and limit inside.

The address is checked where the connection is opened, and the connection goes to the very address that was checked:
a name that resolves differently a moment later (DNS rebinding) and every redirect meet the same guard.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError

from gateway.addresses import Address, AddressGuard
from gateway.deadline import Deadline
from gateway.errors import BodyTooLargeError, DeadlineExceededError, FetchError, FetchRefusedError

CHUNK_BYTES = 64 * 1024
MAX_URL_LENGTH = 2048
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {
    "Accept": "image/*,application/octet-stream;q=0.9,*/*;q=0.1",
    # What is counted against the limit is then what is decoded.
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "image-gateway",
}


class UrlFetcher:
    """Gets pictures by URL; safe to use from many threads.

    Args:
        guard: Says which addresses may be connected to.
        deadline_s: Longest time for one picture, redirects included.
        max_bytes: Largest picture.
        max_redirects: How many redirects are followed.
    """

    def __init__(self, guard: AddressGuard, *, deadline_s: float, max_bytes: int, max_redirects: int) -> None:
        self._guard = guard
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes
        self._max_redirects = max_redirects

    def fetch(self, url: str, *, deadline: Deadline) -> bytes:
        """Give the bytes behind an http or https URL.

        Raises:
            FetchRefusedError: the URL leads where this service does not go.
            FetchError: the server is away, or answers with anything but a body and status 200.
            BodyTooLargeError: the body has more bytes than the limit.
            DeadlineExceededError: it took too long, however slowly the bytes trickled.
        """
        trip = _Trip(self._guard, deadline.no_later_than(self._deadline_s))
        with trip.aborted_when_late(), _Session() as session:
            session.trust_env = False  # no proxy and no .netrc from the environment
            session.mount("http://", _GuardedAdapter(trip))
            session.mount("https://", _GuardedAdapter(trip))
            with _translated_errors(trip):
                return self._follow(session, url, trip)

    def _follow(self, session: requests.Session, url: str, trip: "_Trip") -> bytes:
        for _ in range(self._max_redirects + 1):
            check_url(url)
            timeout = trip.deadline.remaining_s()
            with session.get(url, headers=HEADERS, stream=True, allow_redirects=False, timeout=timeout) as response:
                if response.status_code in REDIRECTS and "Location" in response.headers:
                    url = _redirect_target(url, response.headers["Location"])
                    continue
                return self._read(response, trip.deadline)
        raise FetchError(f"The URL redirects more than {self._max_redirects} times.")

    def _read(self, response: requests.Response, deadline: Deadline) -> bytes:
        if response.status_code != requests.codes.ok:
            raise FetchError(f"The URL answered with status {response.status_code}, expected 200.")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise FetchError(f"The URL answered with Content-Encoding {encoding!r} although none was accepted.")
        too_large = BodyTooLargeError(
            f"The picture behind the URL has more than {self._max_bytes} bytes.", max_bytes=self._max_bytes
        )
        declared = response.headers.get("Content-Length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            raise too_large
        body = bytearray()
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            body += chunk
            if len(body) > self._max_bytes:
                raise too_large
        deadline.remaining_s()  # a connection cut off at the deadline looks like an end
        return bytes(body)


def check_url(url: str) -> None:
    """Refuse what is no plain http or https URL.

    Raises:
        FetchRefusedError: another scheme, user name or password in it, no host, or too long.
    """
    if len(url) > MAX_URL_LENGTH:
        raise FetchRefusedError(f"The URL has {len(url)} characters; at most {MAX_URL_LENGTH} are accepted.")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise FetchRefusedError(f"The URL is not valid: {error}.") from error
    if parts.scheme not in {"http", "https"}:
        raise FetchRefusedError("The URL must begin with http:// or https://.")
    if not host:
        raise FetchRefusedError("The URL names no host.")
    if parts.username is not None or parts.password is not None:
        raise FetchRefusedError("The URL must not carry a user name or password.")


def _redirect_target(url: str, location: str) -> str:
    try:
        # http.client reads headers as Latin-1; what is not ASCII in them is UTF-8 these days.
        return urljoin(url, location.encode("latin-1").decode())
    except ValueError as error:
        raise FetchError(f"The URL redirects to what is no valid URL: {error}.") from error


class _Session(requests.Session):
    """A session that leaves redirects alone, even where it is asked only to tell where they lead.

    requests reads the whole body of a redirect for that, however long, and unpacks it.
    """

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Find none."""


class _Trip:
    """One fetch: its deadline, the sockets it opened and the host it got to."""

    def __init__(self, guard: AddressGuard, deadline: Deadline) -> None:
        self.guard = guard
        self.deadline = deadline
        self.sockets: list[socket.socket] = []
        self.host = ""

    def connect(self, host: str, port: int) -> socket.socket:
        """Open a connection to an address of the host that the guard has let through."""
        self.host = host
        failure: Exception | None = None
        addresses = self.guard.resolve(host, port, deadline=self.deadline)
        for tried, address in enumerate(addresses):
            # An address that never answers leaves the others their share of the time.
            patience_s = self.deadline.remaining_s() / (len(addresses) - tried)
            try:
                return self._open(address, patience_s)
            except (OSError, DeadlineExceededError) as error:
                failure = error
        self.deadline.remaining_s()
        raise FetchError(f"The host {host} does not accept connections on port {port}.") from failure

    def _open(self, address: Address, patience_s: float) -> socket.socket:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        try:
            sock.settimeout(patience_s)
            sock.connect(address.sockaddr)
            sock.settimeout(self.deadline.remaining_s())
        except BaseException:
            sock.close()
            raise
        return sock

    def opened(self, sock: socket.socket) -> None:
        """Take a connection, its TLS set up, under the deadline."""
        self.sockets.append(sock)
        self.deadline.remaining_s()  # it may have passed just before, when there was nothing yet to cut

    @contextlib.contextmanager
    def aborted_when_late(self) -> Iterator[None]:
        """Cut the connections at the deadline: socket timeouts alone start anew with every byte that trickles in."""
        timer = threading.Timer(self.deadline.remaining_s(), self._abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _abort(self) -> None:
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                # The plain shutdown: SSLSocket's own takes the TLS state from under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _GuardedHTTPConnection(HTTPConnection):
    trip: _Trip

    def _new_conn(self) -> socket.socket:
        return self.trip.connect(self.host, self.port)

    def connect(self) -> None:
        super().connect()
        self.trip.opened(self.sock)


class _GuardedHTTPSConnection(_GuardedHTTPConnection, HTTPSConnection):
    """The same, with TLS set up by `HTTPSConnection.connect` on the connection that the guard opened."""


class _GuardedAdapter(HTTPAdapter):
    """Opens every connection through the guard."""

    def __init__(self, trip: _Trip) -> None:
        self._trip = trip
        super().__init__(max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:  # noqa: FBT001, FBT002  # the signature is requests'
        trip = {"trip": self._trip}
        plain = type("Plain", (HTTPConnectionPool,), {"ConnectionCls": type("Plain", (_GuardedHTTPConnection,), trip)})
        secure = type(
            "Secure",
            (HTTPSConnectionPool,),
            {"ConnectionCls": type("Secure", (_GuardedHTTPSConnection,), trip)},
        )
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block)
        self.poolmanager.pool_classes_by_scheme = {"http": plain, "https": secure}


@contextlib.contextmanager
def _translated_errors(trip: _Trip) -> Iterator[None]:
    try:
        yield
    except (requests.exceptions.InvalidURL, LocationParseError) as error:
        raise FetchRefusedError("The URL is not valid.") from error
    except (requests.RequestException, HTTPError, OSError) as error:
        if trip.deadline.passed or isinstance(error, requests.Timeout):
            raise DeadlineExceededError(f"The picture was not fetched within {trip.deadline.allowed_s:g} s.") from error
        if isinstance(error, requests.exceptions.SSLError):
            raise FetchError(f"The host {trip.host} has no certificate that can be trusted, or no TLS.") from error
        raise FetchError(f"Fetching from {trip.host} failed: the connection broke, or it is no HTTP.") from error
