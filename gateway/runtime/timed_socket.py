"""A connection whose peer cannot hold a thread by sending or reading slowly."""

import contextlib
import math
import select
import socket
import time
from typing import Any

SEND_TIMEOUT_S = 30.0
"""Time for the peer to accept one piece of a response, which the buffers of the kernel usually take at once."""


class TimedSocket(socket.socket):
    """A connection whose reads fail at a moment, however slowly bytes arrive.

    The time-out of a socket begins anew with each byte.

    The kernel never waits in a read or write, and a time-out is only looked at when there is something to wait for.
    Python's sockets call the kernel each time that a time-out is set, which a request did eight times: each call lets
    another thread take the interpreter's lock.

    Attributes:
        read_by_s: The moment, in seconds of `time.monotonic`.
        max_silence_s: How long nothing may arrive until then, in seconds.
    """

    __slots__ = ("_timeout_s", "max_silence_s", "read_by_s")

    read_by_s: float
    max_silence_s: float
    _timeout_s: float | None

    @classmethod
    def wrap(cls, connection: socket.socket) -> "TimedSocket":
        """Take over a connection, which does not wait at first; the socket given is closed."""
        timed = cls(connection.family, connection.type, connection.proto, fileno=connection.detach())
        socket.socket.settimeout(timed, 0)
        timed.read_by_s = timed.max_silence_s = math.inf
        timed._timeout_s = 0
        return timed

    def gettimeout(self) -> float | None:
        """Return how long a read waits at most, in seconds; None for no limit."""
        return self._timeout_s

    def settimeout(self, value: float | None) -> None:
        """Set how long a read waits at most, in seconds; None for no limit."""
        self._timeout_s = value

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  # the signature of socket
        """Let reads wait without limit, or not at all."""
        self._timeout_s = None if flag else 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive up to a number of bytes.

        Raises:
            BlockingIOError: There are none, and the time-out is 0.
            TimeoutError: None arrived in time.
        """
        while True:
            try:
                return super().recv(size, flags)
            except BlockingIOError:
                if self._timeout_s == 0:
                    raise
            self.wait_for_data()

    def wait_for_data(self) -> None:
        """Wait until there is something to receive.

        Raises:
            TimeoutError: Nothing arrived in time.
        """
        if self.read_by_s < math.inf:
            self._wait(select.POLLIN, min(self.read_by_s - time.monotonic(), self.max_silence_s))
        else:
            self._wait(select.POLLIN, self._timeout_s)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all bytes.

        Raises:
            TimeoutError: The peer did not accept them in time.
        """
        rest, end_s = memoryview(data), math.inf
        while True:
            with contextlib.suppress(BlockingIOError):
                rest = rest[super().send(rest, flags) :]
            if not rest:
                return
            end_s = min(end_s, time.monotonic() + SEND_TIMEOUT_S)
            self._wait(select.POLLOUT, end_s - time.monotonic())

    def _wait(self, event: int, timeout_s: float | None) -> None:
        poll = select.poll()
        poll.register(self, event)
        if not poll.poll(None if timeout_s is None else max(0, math.ceil(timeout_s * 1000))):
            raise TimeoutError
