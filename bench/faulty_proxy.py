"""Replace a model server by something faulty: random bytes, or a proxy that changes or delays its answers."""

import contextlib
import os
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

Change = Callable[[bytes], bytes]
THREADS = 64
FORWARD_TIMEOUT_S = 30.0


def randomize(answer: bytes) -> bytes:
    """Replace an answer by as many random bytes."""
    return os.urandom(len(answer))


def delay(seconds: float) -> Change:
    """Return a function that delays an answer."""

    def wait(answer: bytes) -> bytes:
        time.sleep(seconds)
        return answer

    return wait


class _ForwardingHandler(grpc.GenericRpcHandler):
    """Forwards every unary call and changes its answer."""

    def __init__(self, channel: grpc.Channel, change: Change) -> None:
        self._channel = channel
        self._change = change

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of one method."""
        forward: Any = self._channel.unary_unary(handler_call_details.method)

        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                return self._change(forward(request, timeout=FORWARD_TIMEOUT_S))
            except grpc.RpcError as error:
                context.abort(error.code(), error.details() or "")
                raise

        return grpc.unary_unary_rpc_method_handler(call)


@contextlib.contextmanager
def changing_answers(port: int, target: int, change: Change) -> Iterator[None]:
    """Serve gRPC on a port, and forward calls to another port."""
    with grpc.insecure_channel(f"127.0.0.1:{target}") as channel, ThreadPoolExecutor(THREADS) as pool:
        server = grpc.server(pool, handlers=[_ForwardingHandler(channel, change)], options=[("grpc.so_reuseport", 0)])
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            yield
        finally:
            server.stop(grace=None).wait()


class _RandomBytesHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while self.request.recv(65536):
                self.request.sendall(os.urandom(4096))


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextlib.contextmanager
def sending_random_bytes(port: int) -> Iterator[None]:
    """Answer everything on a port with random bytes, which are not gRPC."""
    with _Listener(("127.0.0.1", port), _RandomBytesHandler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
