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
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
import structlog

from gateway.deadline import Deadline
from gateway.errors import (
    BodyTooLargeError,
    FetchError,
    FetchRefusedError,
    ImageFormatError,
)
from gateway.fetching.addresses import AddressGuard
from gateway.fetching.connections import GuardedConnector, GuardedSession, HostConnections, Network
from gateway.fetching.destinations import DEFAULT_PORTS, SCHEMES, Destinations, ascii_url
from gateway.fetching.fetcher import UNLIMITED, Allowance
from gateway.fetching.lookups import SharedLookups
from gateway.fetching.request_errors import translate_errors, translate_unknown_errors
from gateway.sizes import exceeds, format_size
from vision.decode import accepted_formats, sniff
from vision.foreign_kinds import START_BYTES, name_kind

CHUNK_BYTES = 64 * 1024
NOT_ASCII = re.compile(r"[^\x00-\x7f]")
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
}
USER_AGENT = "image-gateway"
DOCUMENTS = ("text/", "html", "json", "xml")
"""Parts of the media types of documents."""
MAX_QUOTED = 60
ADVICE = "Check that the URL opens in a browser without a login."
STATUS_ADVICE = {
    **dict.fromkeys((401, 403), "The server does not let everyone read it: send the image itself, or a presigned URL."),
    **dict.fromkeys((404, 410), "There is nothing at this URL: check it for misspellings."),
    429: "The server gets too many requests: try again later, or send the image itself.",
    **dict.fromkeys((500, 502, 503, 504), "The server has a fault: try again later, or send the image itself."),
}
"""What to do about a status other than 200; for all others, `ADVICE`."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one fetch.

    Attributes:
        deadline_s: Maximum time in seconds, including redirects.
        max_bytes: Maximum size of the image.
        max_redirects: Maximum number of redirects that are followed.
        max_url_length: Maximum number of characters of the URL, and of one that it redirects to.
        lookup_s: Maximum time in seconds of the lookup of one name.
        connections_per_host: Maximum number of connections to one host, for all fetches together.
        max_wait_s: Maximum time in seconds of the wait for one of these connections.
    """

    deadline_s: float
    max_bytes: int
    max_redirects: int
    max_url_length: int
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
        user_agent: The header `User-Agent` of every request.
    """

    def __init__(
        self,
        destinations: Destinations,
        limits: FetchLimits,
        *,
        ca_bundle: Path | None = None,
        proxy: str | None = None,
        user_agent: str = USER_AGENT,
    ) -> None:
        self._destinations = destinations
        self._limits = limits
        self._ca_bundle = ca_bundle
        self._headers = HEADERS | {"User-Agent": user_agent}
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
            ImageFormatError: The body is a document, such as a web page.
            BodyTooLargeError: The body has more bytes than the limit, or than the allowance.
            OverloadedError: There is no memory or no connection for it at the moment.
            DeadlineExceededError: The fetch took too long, whether the server was silent or slow.
        """
        deadline = deadline.no_later_than(self._limits.deadline_s)
        connector = GuardedConnector(self._network, deadline, client=client, lookups=lookups)
        with translate_unknown_errors(), connector.watch(), GuardedSession(connector) as session:
            session.proxies = self._proxies
            for redirects in range(self._limits.max_redirects + 1):
                try:
                    response = self._request(session, url, connector, allowance)
                except FetchRefusedError as error:
                    if redirects:
                        raise FetchRefusedError(f"The URL redirects to another, which is refused. {error}") from error
                    raise
                if isinstance(response, bytes):
                    return response
                url = response.url
        raise FetchError(
            f"The URL redirects more than {self._limits.max_redirects} times. Send the URL that it leads to in the end."
        )

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline: Deadline, client: str = "") -> int:
        """Send a body to an http or https URL within the same rules, and return the status of the response.

        Redirects are not followed, and of the response only the head is read.

        Raises:
            FetchRefusedError: The URL is not allowed.
            FetchError: The server is unreachable, or does not answer in HTTP.
            OverloadedError: There is no connection for it at the moment.
            DeadlineExceededError: It took too long.
        """
        connector = GuardedConnector(self._network, deadline, client=client)
        with translate_unknown_errors(), connector.watch(), GuardedSession(connector) as session:
            request = requests.Request("POST", url, data=body, headers={**self._headers, **headers})
            with self._respond(session, request, connector) as response:
                return response.status_code

    def check(self, url: str) -> None:
        """Check the form, the host and the port of a URL, without resolving its name.

        Raises:
            FetchRefusedError: It is not allowed.
        """
        max_length = self._limits.max_url_length
        if len(url) > max_length:
            raise FetchRefusedError(f"The URL has {len(url):,} characters; at most {max_length:,} are accepted.")
        self._destinations.check_url(url)
        with translate_errors(urlsplit(url).hostname or "", Deadline.after(self._limits.deadline_s)):
            host, port = _host_and_port(requests.Request("GET", ascii_url(url)).prepare())
        self._destinations.check_host(host, port)
        self._network.guard.check_literal(host, port)

    def _request(
        self, session: requests.Session, url: str, connector: GuardedConnector, allowance: Allowance
    ) -> bytes | _Redirect:
        """Request a URL, and return its content or redirect."""
        with self._respond(session, requests.Request("GET", url, headers=self._headers), connector) as response:
            if response.status_code in REDIRECTS and "Location" in response.headers:
                return _Redirect(_redirect_target(url, response.headers["Location"]))
            return self._read(response, connector.deadline, allowance)

    @contextlib.contextmanager
    def _respond(
        self, session: requests.Session, request: requests.Request, connector: GuardedConnector
    ) -> Iterator[requests.Response]:
        """Send a request to a URL that is allowed, and yield the response, of which only the head was read."""
        max_length, url = self._limits.max_url_length, str(request.url)
        if len(url) > max_length:
            raise FetchRefusedError(
                f"The URL has {len(url):,} characters; at most {max_length:,} are accepted. Send the image itself."
            )
        self._destinations.check_url(url)
        deadline = connector.deadline
        with translate_errors(urlsplit(url).hostname or "", deadline):
            request.url = ascii_url(url)
            prepared = session.prepare_request(request)
            host, port = _host_and_port(prepared)
            self._destinations.check_host(host, port)
            if self._network.via_proxy:
                self._network.guard.check_literal(host, port)
            uses_bundle = self._ca_bundle is not None and self._destinations.is_allowed(host, port)
            with (
                connector.visit(host),
                session.send(
                    prepared,
                    stream=True,
                    allow_redirects=False,
                    timeout=deadline.remaining_s(),
                    verify=str(self._ca_bundle) if uses_bundle else True,
                    proxies=self._proxies,
                ) as response,
            ):
                yield response

    def _read(self, response: requests.Response, deadline: Deadline, allowance: Allowance) -> bytes:
        status = response.status_code
        if status != requests.codes.ok:
            advice = STATUS_ADVICE.get(status, ADVICE)
            raise FetchError(f"The URL answered with status {status}, expected 200. {advice}")
        encoding = response.headers.get("Content-Encoding", "")
        if has_coding(encoding):
            raise FetchError(
                f"The URL answered with Content-Encoding {encoding[:40]!r}, expected none. Switch compression off for "
                "images on that server, or send the image itself."
            )
        max_bytes, length = self._limits.max_bytes, int(response.headers.get("Content-Length", 0))
        if length > max_bytes:
            raise _too_large(length, max_bytes)
        body = io.BytesIO()  # whose value is not a copy
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            if body.tell() + len(chunk) > max_bytes:
                raise _too_large(None, max_bytes)
            allowance.take(len(chunk))
            body.write(chunk)
        deadline.remaining_s()  # a connection that was cut at the deadline looks like the end of the body
        _check_kind(body, response.headers.get("Content-Type", ""))
        return body.getvalue()


def has_coding(content_encoding: str) -> bool:
    """Return whether a header Content-Encoding has a registered coding, perhaps with parameters."""
    return not CODINGS.isdisjoint(coding.partition(";")[0].strip() for coding in content_encoding.lower().split(","))


def _too_large(size: int | None, max_bytes: int) -> BodyTooLargeError:
    sentence = exceeds("The image behind the URL", size, max_bytes)
    return BodyTooLargeError(f"{sentence} Send the URL of a smaller version.", max_bytes=max_bytes)


def _check_kind(body: io.BytesIO, content_type: str) -> None:
    """Refuse a web page or another document, which a server often returns with status 200 instead of an image.

    Raises:
        ImageFormatError: The content type says so, and the content is not an image.
    """
    media_type = content_type.partition(";")[0].strip().lower()[:MAX_QUOTED]
    if not any(part in media_type for part in DOCUMENTS):
        return
    start = bytes(body.getbuffer()[:START_BYTES])
    kind = name_kind(start) if sniff(start) is None else None
    if kind is not None:
        raise ImageFormatError(
            f"The URL returned {kind} ({media_type}, {format_size(body.tell())}), not an image in an accepted format. "
            "Send the URL of the image itself, which opens without a login and without a page around it.",
            accepted=[image_format.value for image_format in accepted_formats()],
        )


def _host_and_port(request: requests.PreparedRequest) -> tuple[str, int]:
    """Return the host, in lower-case ASCII without escapes, and the port of a request."""
    parts = urlsplit(request.url or "")
    return parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]


def _redirect_target(url: str, location: str) -> str:
    """Return the URL that a header leads to, whose bytes http.client decodes as Latin-1.

    Servers send UTF-8 there. Bytes that are not UTF-8 are percent-encoded, as browsers do.
    """
    try:
        try:
            target = location.encode("latin-1").decode()
        except UnicodeDecodeError:
            target = NOT_ASCII.sub(lambda match: f"%{ord(match[0]):02X}", location)
            if "%" in (urlsplit(target).hostname or ""):
                raise
        return urljoin(url, target)
    except ValueError as error:
        raise FetchError("The URL redirects to a URL that is not valid. Send the image itself.") from error
