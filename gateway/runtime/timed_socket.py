"""A connection whose peer cannot hold a thread by sending or reading slowly."""

import math
import socket
import time
from typing import Any

SEND_TIMEOUT_S = 30.0
"""Time for the peer to accept one piece of a response, which the buffers of the kernel usually take at once."""


class TimedSocket(socket.socket):
    """A connection whose reads fail at a moment, however slowly bytes arrive.

    The time-out of a socket begins anew with each byte.

    Attributes:
        read_by_s: The moment, in seconds of `time.monotonic`.
    """

    __slots__ = ("read_by_s",)

    read_by_s: float

    @classmethod
    def wrap(cls, connection: socket.socket) -> "TimedSocket":
        """Take over a connection; the socket given is closed."""
        timed = cls(connection.family, connection.type, connection.proto, fileno=connection.detach())
        timed.read_by_s = math.inf
        return timed

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Receive up to a number of bytes.

        Raises:
            TimeoutError: None arrived in time.
        """
        if self.read_by_s < math.inf:
            remaining_s = self.read_by_s - time.monotonic()
            if remaining_s <= 0:
                raise TimeoutError
            self.settimeout(remaining_s)
        return super().recv(size, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        """Send all bytes.

        Raises:
            TimeoutError: The peer did not accept them in time.
        """
        self.settimeout(SEND_TIMEOUT_S)
        super().sendall(data, flags)
