"""Call the HTTP API: with a timeout and retries, returning JSON or raising an error."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from image_gateway_client.errors import (
    ABOUT_BLANK,
    PROBLEM_MEMBERS,
    NoAnswerError,
    Problem,
    ProblemError,
    UnexpectedAnswerError,
    parse_problem,
)
from image_gateway_client.proxies import DIRECT, describe_proxy, direct_hint, is_loopback
from image_gateway_client.retries import backoff_s, parse_retry_after

EXCERPT_LENGTH = 200
EXCERPT_BYTES = 10 * EXCERPT_LENGTH
TAG = re.compile(r"<[^<>]*>")
API_PATH = re.compile(r"/api/v1(/.*)?$", re.DOTALL)
NOT_HTTP = "it does not answer with HTTP. Is this the port of an Image Gateway?"
CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a call.

    Attributes:
        timeout_s: Maximum time for a call, including retries and the pauses before them.
        connect_timeout_s: Maximum time to open a connection.
        retries: Maximum number of retries.
        connections: Maximum number of calls at once.

    Raises:
        ValueError: A limit is out of range.
    """

    timeout_s: float
    connect_timeout_s: float
    retries: int
    connections: int

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not (self.timeout_s > 0 and self.connect_timeout_s > 0):
            raise ValueError("timeout_s and connect_timeout_s must be above 0")
        if self.retries < 0 or self.connections < 1:
            raise ValueError("retries must be at least 0 and connections at least 1")


class _BearerAuth(AuthBase):
    """Sends an API key. Set as `auth`, because ~/.netrc would override a header."""

    def __init__(self, api_key: str) -> None:
        self._value = f"Bearer {api_key}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


class Transport:
    """Calls to one gateway; safe to use from many threads.

    Args:
        url: Address of the gateway, such as http://localhost:8080, optionally with a path prefix.
        api_key: Key that is sent with every call; None for no key.
        limits: Limits of each call.

    Raises:
        ValueError: `url` is not an http or https URL, or `api_key` cannot be sent in a header.
    """

    def __init__(self, url: str, *, api_key: str | None, limits: Limits) -> None:
        self._url = _check_url(url)
        self._display_url = re.sub(r"//[^/]*@", "//", self._url)  # without a password
        self._limits = limits
        self._proxies = DIRECT if is_loopback(self._url) else None
        self._session = requests.Session()
        self._session.headers.update(
            {"User-Agent": "image-gateway-client", "Accept": "application/json, application/problem+json"}
        )
        if api_key is not None:
            self._session.auth = _BearerAuth(_check_key(api_key))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=limits.connections))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def call(self, method: str, path: str, *, retries: int | None = None, **request: Any) -> Any:
        """Send a request, retry it if that may help, and return the JSON of the response.

        Args:
            method: GET or POST.
            path: Path below the gateway's URL, with a leading slash.
            retries: Maximum number of retries, instead of that of the limits.
            request: Further arguments of `requests`: params, headers, and one of data, json and files.

        Raises:
            NoAnswerError: There is no response, or not in time.
            UnexpectedAnswerError: The response is not JSON, or a redirect.
            ProblemError: The gateway responds with a problem.
        """
        deadline_s = time.monotonic() + self._limits.timeout_s
        max_retries = self._limits.retries if retries is None else retries
        attempt = 0
        while True:
            try:
                return self._attempt(method, self._url + path, deadline_s, request)
            except (NoAnswerError, ProblemError) as error:
                wait_s = backoff_s(attempt) if error.retry_after_s is None else error.retry_after_s
                if not error.transient or attempt >= max_retries or time.monotonic() + wait_s >= deadline_s:
                    raise
            time.sleep(wait_s)
            attempt += 1

    def _attempt(self, method: str, url: str, deadline_s: float, request: Mapping[str, Any]) -> Any:
        remaining_s = max(deadline_s - time.monotonic(), 0.001)
        headers = {"X-Request-Timeout": f"{remaining_s:.3f}", **request.get("headers", {})}
        try:
            response = self._session.request(
                method,
                url,
                **{**request, "headers": headers},
                timeout=(min(self._limits.connect_timeout_s, remaining_s), remaining_s),
                proxies=self._proxies,
                allow_redirects=False,  # requests would make a GET of the POST
                stream=True,
            )
            with response:
                body = self._read(response, deadline_s)
        except (requests.Timeout, ReadTimeoutError) as error:
            raise NoAnswerError(self._through_proxy("did not answer in time", error)) from error
        except (requests.RequestException, HTTPError) as error:
            transient = isinstance(error, requests.ConnectionError | ProtocolError)
            transient = transient and not isinstance(error, requests.exceptions.SSLError)
            raise NoAnswerError(self._through_proxy("cannot be reached", error), transient=transient) from error
        return _parse_response(response, body, self._display_url)

    def _through_proxy(self, failure: str, error: Exception) -> str:
        """Return the message for a request without an answer, which names the proxy if there is one."""
        cause = _find_cause(error)
        proxy = describe_proxy(self._url)
        if not proxy:
            return f"{self._display_url} {failure}: {cause}"
        return f"{self._display_url} {failure} through {proxy}: {cause.rstrip('.')}. {direct_hint(self._url)}"

    def _read(self, response: requests.Response, deadline_s: float) -> bytes:
        """Read a body within the deadline; `response.content` would apply the timeout to each chunk separately."""
        body = bytearray()
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
            body += chunk
            if time.monotonic() > deadline_s:
                raise NoAnswerError(f"{self._display_url} did not finish its answer in time")
        return bytes(body)


def _find_cause(error: BaseException) -> str:
    """Return the readable root cause of an exception of requests or urllib3."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    if isinstance(error, HTTPException) and not isinstance(error, OSError):
        return NOT_HTTP
    reason = getattr(error, "strerror", None) or str(error)
    return reason if reason and reason.isprintable() else NOT_HTTP  # such as bytes of another protocol


def _parse_response(response: requests.Response, body: bytes, url: str) -> Any:
    """Return the JSON of a response.

    Raises:
        UnexpectedAnswerError: The response is not JSON, or a redirect.
        ProblemError: The response is a problem. Without a problem document, it comes from a proxy, not the gateway.
    """
    status = response.status_code
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        location = response.headers.get("Location", "another address")
        raise UnexpectedAnswerError(f"{url} redirects to {location}. Use the URL of the gateway itself.")
    if status < HTTPStatus.BAD_REQUEST:
        if document is None:
            content_type = response.headers.get("Content-Type", "no Content-Type")
            proxy = describe_proxy(url)
            hint = f"It was asked through {proxy}. {direct_hint(url)}" if proxy else "Is it an Image Gateway?"
            raise UnexpectedAnswerError(f"{url} answered {status} ({content_type}), but not with JSON. {hint}")
        return document
    if isinstance(document, dict) and (document.keys() & PROBLEM_MEMBERS or not document):
        problem = parse_problem(document, status)
    else:
        title = response.reason or "The request failed"
        detail = _excerpt(body)
        if proxy := describe_proxy(url):
            detail = f"{detail} (through {proxy}) {direct_hint(url)}".lstrip()
        elif status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}:
            detail = f"Is {url} an Image Gateway?"
        problem = Problem(ABOUT_BLANK, title, detail, status)
    wait_s = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
    raise ProblemError(problem, retry_after_s=wait_s)


def _excerpt(body: bytes) -> str:
    """Return the beginning of a text or of a page, without its tags, on one line."""
    text = TAG.sub(" ", body[:EXCERPT_BYTES].decode(errors="replace"))
    return " ".join(text.split())[:EXCERPT_LENGTH]


def _check_url(url: str) -> str:
    """Return the URL of a gateway, without the path of a route that was copied with it."""
    if _is_gateway_url(url):
        return API_PATH.sub("", url).rstrip("/")
    hint = "Use one such as http://localhost:8080."
    if "://" not in url and _is_gateway_url(f"http://{url}"):
        hint = f"Did you mean http://{url}?"
    raise ValueError(f"{url!r} is not a valid gateway URL. {hint}")


def _is_gateway_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return valid and not parts.query and not parts.fragment


def _check_key(api_key: str) -> str:
    if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key != ""):
        raise ValueError("The API key is not valid. Use printable ASCII characters without surrounding spaces.")
    return api_key
