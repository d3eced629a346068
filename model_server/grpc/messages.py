"""Receive request messages up to a size limit, and translate errors to gRPC status codes."""

import logging
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from model_server.errors import Code, ResourceExhaustedError, ServingError

_Handler: TypeAlias = Any
"""grpc.RpcMethodHandler, whose attributes the published types do not have."""

_LOG = logging.getLogger(__name__)

_REQUEST_ID = "x-request-id"
"""Metadata with the id that the gateway gives to a request."""
_STATUS_CODES = {Code[status.name]: status for status in grpc.StatusCode}
_MAX_ERROR_CHARACTERS = 1024
"""Longer messages are cut off, as in tensorflow_serving/model_servers/grpc_status_util.cc."""
_GZIP_START = b"\x1f\x8b"
_ZLIB_START = 0x78
_ANY_FORMAT = 47
"""Window bits with which zlib recognises its own format and gzip."""


class MessageReader(grpc.ServerInterceptor):
    """Decompresses and parses the request messages of a server that was created with `channel_arguments`.

    gRPC's own limit counts the compressed bytes, so that a message of 1 MB could expand to a gigabyte. The channel
    arguments leave messages compressed. No request of these services begins like compressed data: that would be a
    field of an invalid type, or one with the number 15.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self.channel_arguments = (
            ("grpc.max_receive_message_length", max_bytes),
            ("grpc.per_message_decompression", 0),
        )

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], _Handler], handler_call_details: grpc.HandlerCallDetails
    ) -> _Handler:
        """Return the handler of a call, which first reads the message."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler

        def respond(data: bytes, context: grpc.ServicerContext) -> Any:
            with rpc_errors(context):
                request = self._read(data, handler.request_deserializer)
            return handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(respond, response_serializer=handler.response_serializer)

    def _read(self, data: bytes, parse: Callable[[bytes], Any]) -> Any:
        try:
            return parse(self._expand(data) if _is_compressed(data) else data)
        except (DecodeError, zlib.error) as error:
            raise ServingError("Exception deserializing request!", Code.INTERNAL) from error

    def _expand(self, data: bytes) -> bytes:
        reader = zlib.decompressobj(wbits=_ANY_FORMAT)
        content = reader.decompress(data, self._max_bytes)
        if not reader.eof:
            raise ResourceExhaustedError(
                f"Received message larger than max ({len(data)} compressed, {self._max_bytes})"
            )
        return content


def _is_compressed(data: bytes) -> bool:
    return data[:2] == _GZIP_START or (data[:1] == bytes([_ZLIB_START]) and int.from_bytes(data[:2]) % 31 == 0)


@contextmanager
def rpc_errors(context: grpc.ServicerContext) -> Iterator[None]:
    """Translate errors to gRPC status codes. Unexpected errors are logged, and not shown to the caller."""
    try:
        yield
    except ServingError as error:
        context.abort(_STATUS_CODES[error.code], _shorten(error.message))
    except Exception:  # noqa: BLE001  # the last handler before grpcio's, which would show the error to the caller
        metadata = dict(context.invocation_metadata())
        _LOG.exception("A gRPC call failed", extra={"request_id": metadata.get(_REQUEST_ID, "")})
        context.abort(grpc.StatusCode.INTERNAL, "Internal error, see the server's log")


def _shorten(message: str) -> str:
    return message if len(message) <= _MAX_ERROR_CHARACTERS else f"{message[:_MAX_ERROR_CHARACTERS]}...TRUNCATED"
