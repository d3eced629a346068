"""Say why there is no response."""

import os
import ssl
from http import HTTPStatus

import httpx

from image_gateway_client.connections import describe_tls, find_certificates
from image_gateway_client.endpoint import Endpoint
from image_gateway_client.errors import NoAnswerError

NOT_HTTP = "it does not answer with HTTP. Is this the port of an Image Gateway?"
NOT_TLS = frozenset({"HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "WRONG_VERSION_NUMBER"})
"""What versions of OpenSSL say of bytes that are not TLS."""
INCOMPLETE = ("Server disconnected", "peer closed connection")
"""How the errors of HTTP begin whose reason is that the connection ended."""
ASYNCIO = "Connect call failed"
"""How the errors of asyncio begin, in place of the system's own message."""
UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's codes (X509_V_ERR) for certificates of an authority that this machine does not trust."""
OTHER_NAME = frozenset({62, 64})
"""Its codes for certificates of another host or address."""
PROXY_LOGIN = str(HTTPStatus.PROXY_AUTHENTICATION_REQUIRED.value)
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
    if endpoint.proxy and isinstance(error, httpx.ProxyError) and cause[:3] == PROXY_LOGIN:
        return NoAnswerError(f"{endpoint.url} cannot be reached: {endpoint.proxy.refusal}", transient=False)
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
    if isinstance(root, ssl.SSLCertVerificationError):
        return _describe_certificate(root)
    if isinstance(root, ssl.SSLError):
        return describe_tls(root)
    return reason if reason and reason.isprintable() else NOT_HTTP  # such as bytes of another protocol


def _describe_certificate(error: ssl.SSLCertVerificationError) -> str:
    """Return why a certificate is not accepted, and what to do."""
    reason = f"its certificate is not accepted: {error.verify_message.rstrip('.')}"
    if error.verify_code in OTHER_NAME:
        return f"{reason}. Use a host name that the certificate is for."
    if error.verify_code not in UNKNOWN_AUTHORITY:
        return f"{reason}."
    source = find_certificates()
    if source is None:
        return f"{reason}. To trust it, set SSL_CERT_FILE to a PEM file with the certificate of its authority."
    variable, path = source
    return (
        f"{reason}. {variable} is {path!r}: to trust it, name a PEM file with the certificate of its authority there."
    )
