"""One call of the HTTP API: within a time, with another try where that can help, answered in JSON or an error."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from image_gateway_client.errors import (
    ABOUT_BLANK,
    NoAnswerError,
    Problem,
    ProblemError,
    UnexpectedAnswerError,
    parse_problem,
)
from image_gateway_client.retries import parse_retry_after, pause_s

EXCERPT_LENGTH = 200
CHUNK_BYTES = 65536


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a call may take and how often it is tried.

    Attributes:
        timeout_s: For one call, further tries and the pauses between them included.
        connect_timeout_s: For one connection to be made.
        retries: Further tries after the first.
        connections: Calls under way at once.

    Raises:
        ValueError: One of them is out of range.
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


class _Key(AuthBase):
    """Sends an API key. As `auth`, it is not overridden by a ~/.netrc."""

    def __init__(self, api_key: str) -> None:
        self._value = f"Bearer {api_key}"

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


class Transport:
    """Calls to one gateway; safe to use from many threads.

    Args:
        url: Where it listens, as in http://localhost:8080; a path that it is mounted below may follow.
        api_key: Sent with every call; None for none.
        limits: How long a call may take and how often it is tried.

    Raises:
        ValueError: `url` is no http or https URL, or `api_key` is nothing that can be sent.
    """

    def __init__(self, url: str, *, api_key: str | None, limits: Limits) -> None:
        self._url = _checked_url(url)
        self._shown = re.sub(r"//[^/]*@", "//", self._url)  # without a password in it
        self._limits = limits
        self._session = requests.Session()
        self._session.headers.update(
            {"User-Agent": "image-gateway-client", "Accept": "application/json, application/problem+json"}
        )
        if api_key is not None:
            self._session.auth = _Key(_checked_key(api_key))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=limits.connections))

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def call(self, method: str, path: str, *, retries: int | None = None, **request: Any) -> Any:
        """Send one request, again where that can help, and give the JSON that answers it.

        Args:
            method: GET or POST.
            path: Below the gateway's URL, with a leading slash.
            retries: In place of the limits' own.
            request: What `requests` takes besides: params, headers, and one of data, json and files.

        Raises:
            NoAnswerError: Nobody answers, or not in time.
            UnexpectedAnswerError: The answer is no JSON, or sends elsewhere.
            ProblemError: The gateway refuses or fails.
        """
        give_up_s = time.monotonic() + self._limits.timeout_s
        last = self._limits.retries if retries is None else retries
        attempt = 0
        while True:
            try:
                return self._attempt(method, self._url + path, give_up_s, request)
            except (NoAnswerError, ProblemError) as error:
                wait_s = pause_s(attempt) if error.retry_after_s is None else error.retry_after_s
                if not error.transient or attempt >= last or time.monotonic() + wait_s >= give_up_s:
                    raise
            time.sleep(wait_s)
            attempt += 1

    def _attempt(self, method: str, url: str, give_up_s: float, request: Mapping[str, Any]) -> Any:
        remaining_s = max(give_up_s - time.monotonic(), 0.001)
        headers = {"X-Request-Timeout": f"{remaining_s:.3f}", **request.get("headers", {})}
        try:
            response = self._session.request(
                method,
                url,
                **{**request, "headers": headers},
                timeout=(min(self._limits.connect_timeout_s, remaining_s), remaining_s),
                allow_redirects=False,  # requests would make a GET of the POST
                stream=True,
            )
            with response:
                body = self._read(response, give_up_s)
        except (requests.Timeout, ReadTimeoutError) as error:
            raise NoAnswerError(f"{self._shown} gave no answer in time: {_reason(error)}") from error
        except (requests.RequestException, HTTPError) as error:
            passing = isinstance(error, requests.ConnectionError | ProtocolError)
            passing = passing and not isinstance(error, requests.exceptions.SSLError)
            raise NoAnswerError(f"{self._shown} cannot be reached: {_reason(error)}", transient=passing) from error
        return _understand(response, body, self._shown)

    def _read(self, response: requests.Response, give_up_s: float) -> bytes:
        """Read a body. Not by `response.content`, which waits as long as between any two bytes for the next."""
        body = bytearray()
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
            body += chunk
            if time.monotonic() > give_up_s:
                raise NoAnswerError(f"{self._shown} did not finish its answer in time")
        return bytes(body)


def _reason(error: BaseException) -> str:
    """Say what lies below the exceptions of requests and urllib3, in words for people."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    reason = getattr(error, "strerror", None) or str(error)
    return reason if reason and reason.isprintable() else repr(error)  # such as the bytes of another protocol


def _understand(response: requests.Response, body: bytes, url: str) -> Any:
    """Tell an answer from a problem.

    Raises:
        UnexpectedAnswerError: It is no JSON, or sends elsewhere.
        ProblemError: It is a problem; one without a problem document comes from something before the gateway.
    """
    status = response.status_code
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        elsewhere = response.headers.get("Location", "elsewhere")
        raise UnexpectedAnswerError(f"{url} sends to {elsewhere}; give the URL that the gateway itself has")
    if status < HTTPStatus.BAD_REQUEST:
        if document is None:
            kind = response.headers.get("Content-Type", "no Content-Type")
            raise UnexpectedAnswerError(f"{url} answered {status} with {kind}, not JSON; is it an Image Gateway?")
        return document
    if isinstance(document, dict):
        problem = parse_problem(document, status)
    else:
        title = response.reason or "The request failed"
        problem = Problem(ABOUT_BLANK, title, body[:EXCERPT_LENGTH].decode(errors="replace").strip(), status)
    wait_s = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
    raise ProblemError(problem, retry_after_s=wait_s)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is no address of a gateway; expected one such as http://localhost:8080")
    return url.rstrip("/")


def _checked_key(api_key: str) -> str:
    if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key != ""):
        raise ValueError("an API key is printable ASCII without spaces around it")
    return api_key
