"""Messages between a `DecoderPool` and its processes, over a socket.

A process may have been taken over by the file that it decoded, so nothing that it sends is unpickled: a reply is one
status byte and bytes whose meaning and maximum length the receiver knows. Requests come from the trusted side and are
pickled.
"""

import pickle
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Function: TypeAlias = Literal["load", "draw"]

_REQUEST = struct.Struct("!IQ")  # lengths of the pickled call and of the file
_REPLY = struct.Struct("!BQ")  # status and length
_CHUNK_BYTES = 1 << 20

READY, RESULT, IMAGE_ERROR, OUT_OF_MEMORY, FAULT = range(5)
"""Status of a reply: that the process takes calls, the result, or an error whose message is the text of the reply."""
FILTERED, UNFILTERED = b"filtered", b"unfiltered"
"""Payload of `READY`: whether system calls are filtered."""
MAX_MESSAGE_BYTES = 4096
"""Longest message of an error."""


@dataclass(frozen=True, slots=True)
class Call:
    """What a process computes from an image file.

    Attributes:
        function: `vision.preprocess.load` or `vision.heatmap.draw`.
        arguments: Its keyword arguments, except for the file.
        memory_bytes: How much the address space of the process may grow meanwhile.
    """

    function: Function
    arguments: Mapping[str, Any]
    memory_bytes: int


def send_request(connection: socket.socket, call: Call, data: bytes | memoryview, *, deadline_s: float) -> None:
    """Send a call and the image file.

    Args:
        connection: The socket.
        call: The call.
        data: The whole file.
        deadline_s: When to give up, in seconds of `time.monotonic`.

    Raises:
        TimeoutError: The deadline has passed.
        OSError: The receiver has ended.
    """
    pickled = pickle.dumps((call, _remaining_s(deadline_s)))
    _send(connection, _REQUEST.pack(len(pickled), len(data)) + pickled, deadline_s)
    _send(connection, data, deadline_s)


def receive_request(connection: socket.socket) -> tuple[Call, float, bytearray]:
    """Wait for the next call.

    Returns:
        The call, the seconds that the sender waits for its reply, and the image file.

    Raises:
        EOFError: The sender has closed the connection.
    """
    call_bytes, data_bytes = _REQUEST.unpack(_receive(connection, _REQUEST.size))
    call, timeout_s = pickle.loads(_receive(connection, call_bytes))  # noqa: S301  # from the parent process
    return call, timeout_s, _receive(connection, data_bytes)


def send_reply(connection: socket.socket, status: int, payload: bytes | memoryview) -> None:
    """Send a status and a payload."""
    connection.sendall(_REPLY.pack(status, len(payload)))
    connection.sendall(payload)


def await_reply(connection: socket.socket, *, deadline_s: float) -> None:
    """Wait for the beginning of a reply, without receiving it.

    Raises:
        TimeoutError: The deadline has passed.
        OSError: The process has ended.
    """
    connection.settimeout(_remaining_s(deadline_s))
    connection.recv(1, socket.MSG_PEEK)


def receive_reply(connection: socket.socket, *, max_bytes: int, deadline_s: float) -> tuple[int, bytearray]:
    """Wait for the status and the payload of a reply.

    Args:
        connection: The socket.
        max_bytes: Maximum length of the payload.
        deadline_s: When to give up, in seconds of `time.monotonic`.

    Raises:
        TimeoutError: The deadline has passed.
        EOFError: The process has ended, or the payload is longer.
        OSError: The process has ended.
    """
    status, length = _REPLY.unpack(_receive(connection, _REPLY.size, deadline_s))
    if length > max_bytes:
        raise EOFError
    return status, _receive(connection, length, deadline_s)


def _send(connection: socket.socket, data: bytes | memoryview, deadline_s: float) -> None:
    connection.settimeout(_remaining_s(deadline_s))
    connection.sendall(data)  # the timeout is that of the whole call


def _receive(connection: socket.socket, length: int, deadline_s: float | None = None) -> bytearray:
    data = bytearray(length)
    view = memoryview(data)
    position = 0
    while position < length:
        if deadline_s is not None:
            connection.settimeout(_remaining_s(deadline_s))
        count = connection.recv_into(view[position : position + _CHUNK_BYTES])
        if count == 0:
            raise EOFError
        position += count
    return data


def _remaining_s(deadline_s: float) -> float:
    remaining_s = deadline_s - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError
    return remaining_s
