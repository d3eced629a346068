"""Options of the connections that both transports open."""

import os
import re
import ssl
from collections.abc import AsyncIterable, Iterable
from pathlib import Path
from typing import TypedDict

import httpx

from image_gateway_client.endpoint import Endpoint
from image_gateway_client.errors import UnexpectedAnswerError
from image_gateway_client.proxies import Proxy
from image_gateway_client.responses import decompress, too_large
from image_gateway_client.steps import ApiResponse, Send

IDLE_S = 30.0
"""Time that an unused connection stays open, less than servers and load balancers usually keep one."""
CERTIFICATE_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")
"""Variables of requests, curl and OpenSSL that name the certificates to trust."""
OPENSSL_CODES = re.compile(r"^\[[^]]*\] | ?\(_ssl\.c:\d+\)$")


class ConnectionOptions(TypedDict):
    """Options of the transports of httpx."""

    verify: ssl.SSLContext
    limits: httpx.Limits
    proxy: httpx.Proxy | None


def connection_options(endpoint: Endpoint) -> ConnectionOptions:
    """Return the options of the connections to a gateway.

    Raises:
        ValueError: The URL has an invalid host, or the certificates that the environment names cannot be read.
    """
    try:
        httpx.Request("GET", endpoint.url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ValueError(f"{endpoint.url!r} is not a valid gateway URL: {error}") from error
    limits = httpx.Limits(
        max_connections=None,  # a caller's threads do not wait for each other
        max_keepalive_connections=endpoint.limits.connections,
        keepalive_expiry=IDLE_S,
    )
    return {"verify": _certificates(endpoint.url), "limits": limits, "proxy": _proxy(endpoint.proxy)}


def _proxy(proxy: Proxy | None) -> httpx.Proxy | None:
    if proxy is None:
        return None
    try:
        return httpx.Proxy(proxy.url)
    except (httpx.InvalidURL, ValueError) as error:
        raise proxy.make_error() from error


def find_certificates() -> tuple[str, str] | None:
    """Return the variable that names the certificates to trust, and its value; None if there is none."""
    return next(((name, os.environ[name]) for name in CERTIFICATE_VARIABLES if os.environ.get(name)), None)


def describe_tls(error: OSError) -> str:
    """Return what an error of OpenSSL says, without its codes and places in the source."""
    return OPENSSL_CODES.sub("", error.strerror or str(error)) or "there are none in it"


def _certificates(url: str) -> ssl.SSLContext:
    if not url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used, and without certificates made at once
    if (source := find_certificates()) is None:
        return httpx.create_ssl_context(trust_env=False)
    variable, path = source
    try:
        is_folder = all(Path(part).is_dir() for part in path.split(os.pathsep))  # of which there may be several
        return ssl.create_default_context(cafile=None if is_folder else path, capath=path if is_folder else None)
    except OSError as error:
        raise ValueError(
            f"{variable} is {path!r}, whose certificates cannot be read: {describe_tls(error)}. "
            f"Set {variable} to a PEM file of certificates."
        ) from error


def to_httpx(step: Send, endpoint: Endpoint, content: Iterable[bytes] | AsyncIterable[bytes] | None) -> httpx.Request:
    """Return a request with its body."""
    request, remaining_s = step.request, step.timeout_s
    headers = {**endpoint.headers, **request.headers}
    if request.limits_gateway:
        headers["X-Request-Timeout"] = f"{remaining_s:.3f}"
    if request.body is not None:
        headers |= {"Content-Type": request.body.content_type, "Content-Length": str(request.body.size)}
    connect_s = min(endpoint.limits.connect_timeout_s, remaining_s)
    timeouts = {"connect": connect_s, "read": remaining_s, "write": remaining_s, "pool": remaining_s}
    return httpx.Request(
        request.method,
        endpoint.url + request.path,
        params=request.query or None,
        headers=headers,
        content=content,
        extensions={"timeout": timeouts},
    )


class ResponseReader:
    """Collects a response up to the largest accepted size."""

    def __init__(self, response: httpx.Response, endpoint: Endpoint) -> None:
        self._response = response
        self._endpoint = endpoint
        self._body = bytearray()

    def add(self, chunk: bytes) -> None:
        """Add a chunk of the body as it arrived.

        Raises:
            UnexpectedAnswerError: The body is too large.
        """
        self._body += chunk
        if len(self._body) > self._endpoint.limits.max_response_bytes:
            raise self._name(too_large(self._endpoint.limits.max_response_bytes))

    def finish(self) -> ApiResponse:
        """Return the complete response.

        Raises:
            UnexpectedAnswerError: The body cannot be decompressed, or is then too large.
        """
        response = self._response
        headers = {name.lower(): value for name, value in response.headers.items()}
        try:
            body = decompress(bytes(self._body), headers, self._endpoint.limits.max_response_bytes)
        except UnexpectedAnswerError as error:
            raise self._name(error) from error
        return ApiResponse(response.status_code, response.reason_phrase, headers, body)

    def _name(self, error: UnexpectedAnswerError) -> UnexpectedAnswerError:
        return UnexpectedAnswerError(f"{self._endpoint.url}: {error}")
