"""Say why there is no response."""

import os
from http import HTTPStatus

import httpx

from image_gateway_client.endpoint import Endpoint
from image_gateway_client.errors import NoAnswerError

NOT_HTTP = "it does not answer with HTTP. Is this the port of an Image Gateway?"
NOT_TLS = frozenset({"HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "WRONG_VERSION_NUMBER"})
"""What versions of OpenSSL say of bytes that are not TLS."""
INCOMPLETE = ("Server disconnected", "peer closed connection")
"""How the errors of HTTP begin whose reason is that the connection ended."""
ASYNCIO = "Connect call failed"
"""How the errors of asyncio begin, in place of the system's own message."""
TRANSIENT = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError, OSError)


def is_failure(error: Exception) -> bool:
    """Return whether an error is that of a connection, also one of the SOCKS library, which httpx passes on."""
    return isinstance(error, httpx.TransportError | OSError) or type(error).__module__.startswith("socksio.")


def to_error(error: Exception, endpoint: Endpoint) -> NoAnswerError:
    """Return the error for a request without a response, which names the proxy if there is one.

    Args:
        error: An error that `is_failure`.
        endpoint: The gateway.
    """
    if isinstance(error, httpx.TimeoutException | TimeoutError):
        return NoAnswerError(_explain("did not answer in time", "timed out", endpoint))
    root = find_root(error)
    is_tls = type(root).__module__ == "ssl"
    cause = _describe(error, root)
    if is_tls and getattr(root, "reason", None) in NOT_TLS:
        cause = f"it answers without TLS. Did you mean {endpoint.url.replace('https:', 'http:', 1)}?"
    message = _explain("cannot be reached", cause, endpoint)
    return NoAnswerError(message, transient=isinstance(error, TRANSIENT) and not is_tls)


def find_root(error: BaseException) -> BaseException:
    """Return the exception that caused all others; the first one of a group."""
    while True:
        inner = error.__cause__ or error.__context__
        if isinstance(error, BaseExceptionGroup):
            inner = error.exceptions[0]
        if inner is None:
            return error
        error = inner


def _explain(failure: str, cause: str, endpoint: Endpoint) -> str:
    if endpoint.proxy is None:
        return f"{endpoint.url} {failure}: {cause}"
    return f"{endpoint.url} {failure} through {endpoint.proxy}: {cause.rstrip('.')}. {endpoint.proxy.hint}"


def _describe(error: Exception, root: BaseException) -> str:
    reason = getattr(root, "strerror", None) or str(root)
    if isinstance(root, OSError) and root.errno and reason.startswith(ASYNCIO):
        reason = os.strerror(root.errno)
    if isinstance(error, httpx.RemoteProtocolError):
        return "the connection was closed before the answer was complete" if reason.startswith(INCOMPLETE) else NOT_HTTP
    if isinstance(error, httpx.ProxyError) and reason[:3] == str(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED.value):
        return "it requires a user and a password"
    return reason if reason and reason.isprintable() else NOT_HTTP  # such as bytes of another protocol
