"""A gRPC server that forwards every call to another one, and records the metadata."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

TIMEOUT_S = 20
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class Relay(grpc.GenericRpcHandler):
    """Forwards calls to the server on a port of this machine."""

    def __init__(self, behind: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{behind}", options=OPTIONS)
        self.calls: list[tuple[str, dict[str, str]]] = []

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method
        hand_on = self._channel.unary_unary(method)

        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            self.calls.append((method, dict(context.invocation_metadata())))
            try:
                return hand_on(request, timeout=TIMEOUT_S)
            except grpc.RpcError as error:
                context.abort(error.code(), error.details())

        return grpc.unary_unary_rpc_method_handler(call)

    @contextmanager
    def serving(self) -> Iterator[int]:
        """Serve for the time of the context, and yield the port."""
        server = grpc.server(ThreadPoolExecutor(16), options=OPTIONS)
        server.add_generic_rpc_handlers((self,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(None).wait()
            self._channel.close()
