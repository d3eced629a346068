"""What takes a model server's place and is no good one: talks nonsense, or passes answers on, spoilt or late."""

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
PASS_ON_S = 30.0


def garbled(answer: bytes) -> bytes:
    """Answer as many bytes of something else."""
    return os.urandom(len(answer))


def late(seconds: float) -> Change:
    """Answer after so long."""

    def wait(answer: bytes) -> bytes:
        time.sleep(seconds)
        return answer

    return wait


class _Between(grpc.GenericRpcHandler):
    """Passes every unary call on, and its answer back through a function."""

    def __init__(self, channel: grpc.Channel, change: Change) -> None:
        self._channel = channel
        self._change = change

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Give the handler of one method."""
        further: Any = self._channel.unary_unary(handler_call_details.method)

        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            try:
                return self._change(further(request, timeout=PASS_ON_S))
            except grpc.RpcError as error:
                context.abort(error.code(), error.details() or "")
                raise

        return grpc.unary_unary_rpc_method_handler(call)


@contextlib.contextmanager
def between(port: int, target: int, change: Change) -> Iterator[None]:
    """Listen on one port as gRPC server, and pass on to another one."""
    with grpc.insecure_channel(f"127.0.0.1:{target}") as channel, ThreadPoolExecutor(THREADS) as pool:
        server = grpc.server(pool, handlers=[_Between(channel, change)], options=[("grpc.so_reuseport", 0)])
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.start()
        try:
            yield
        finally:
            server.stop(grace=None).wait()


class _Babbler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while self.request.recv(65536):
                self.request.sendall(os.urandom(4096))


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


@contextlib.contextmanager
def nonsense(port: int) -> Iterator[None]:
    """Answer whatever comes with random bytes that are no gRPC."""
    with _Listener(("127.0.0.1", port), _Babbler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
