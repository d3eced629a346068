"""Uploads of jobs, which are written to a file while they arrive and never are in memory as a whole."""

import contextlib
import errno
import math
import mmap
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Condition
from typing import IO, Any

from flask import Request
from werkzeug.exceptions import ClientDisconnected

from gateway.deadline import Deadline
from gateway.errors import BodyTimeoutError, BodyTooLargeError, JobsFullError, JobsUnavailableError, OverloadedError
from gateway.http.bodies import ChunkGuard
from gateway.sizes import exceeds, format_size

STEP_BYTES = 64 * 1024
SILENCE_S = 10.0
"""How long a sender may be silent, or slower than it must be on average; `Deadline` is for the whole upload."""
STEP_S = 4.0
"""How long one read may take at the lowest rate."""
SLOWEST_S = SILENCE_S + STEP_S
"""How long a sender that sends almost nothing holds a place."""


@dataclass(frozen=True, slots=True)
class ReceivingLimits:
    """Limits on one upload.

    Attributes:
        max_bytes: Its size.
        min_rate: Bytes per second that must arrive on average, so that slow senders do not hold the places of others.
    """

    max_bytes: int
    min_rate: int


class UploadPlaces:
    """A number of uploads at the same time, of which one client gets at most half; safe to use from many threads.

    Args:
        places: How many.
        max_wait_s: Maximum time that an upload waits for a place.
        patience_s: What the only upload of a client may wait in addition; with `SLOWEST_S`, until senders that are too
            slow have lost their places.
    """

    def __init__(self, places: int, *, max_wait_s: float, patience_s: float = 0.0) -> None:
        self._places = places
        self._max_wait_s = max_wait_s
        self._patience_s = patience_s
        self._by_client: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._condition = Condition()

    @contextlib.contextmanager
    def occupy(self, client: str, *, deadline: Deadline) -> Iterator[None]:
        """Wait for a place, and take it; of those that wait, the client with the fewest uploads is next.

        Raises:
            OverloadedError: None was free in time.
            DeadlineExceededError: The deadline has passed.
        """

        def is_free() -> bool:
            of_client = self._by_client[client]
            is_next = of_client == min(self._by_client[waiting] for waiting in self._waiting)
            return is_next and self._by_client.total() < self._places and of_client < max(1, self._places // 2)

        with self._condition:
            is_only = not self._by_client[client] and not self._waiting[client]
            wait_s = self._max_wait_s + is_only * self._patience_s
            self._waiting[client] += 1
            try:
                is_occupied = self._condition.wait_for(is_free, deadline.remaining_s(wait_s))
            finally:
                self._waiting -= Counter((client,))
                self._condition.notify_all()
            if not is_occupied:
                raise OverloadedError("As many jobs are being received as can be. Send this one again shortly.")
            self._by_client[client] += 1
        try:
            yield
        finally:
            with self._condition:
                self._by_client[client] -= 1
                self._by_client = +self._by_client  # forget those without uploads
                self._condition.notify_all()


@contextlib.contextmanager
def receive(
    request: Request, folder: Path, limits: ReceivingLimits, *, deadline: Deadline
) -> Iterator[mmap.mmap | bytes]:
    """Receive the body of a request into a nameless file, and map it into memory until the end of the context.

    Raises:
        BodyTooLargeError: It has more bytes than the limit.
        BodyTimeoutError: It did not arrive before the deadline, stopped arriving, or arrived too slowly.
        BadRequestError: It arrived in too many chunks.
        JobsFullError: There is no space on the disk.
        JobsUnavailableError: The folder cannot be used.
        werkzeug.exceptions.ClientDisconnected: The client sent less than it announced.
    """
    max_bytes, length = limits.max_bytes, request.content_length
    if length is not None and length > max_bytes:
        raise _too_large(length, max_bytes)
    with _temporary_file(folder) as file:
        size = 0
        for piece in _pieces(request, length, limits.min_rate, deadline):
            size += len(piece)
            if size > max_bytes:
                raise _too_large(None, max_bytes)
            with _storage_errors():
                _write(file, piece)
        if size == 0:  # which cannot be mapped
            yield b""
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
            yield body


@contextlib.contextmanager
def _temporary_file(folder: Path) -> Iterator[IO[bytes]]:
    with contextlib.ExitStack() as stack:
        with _storage_errors():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Without a buffer, closing writes nothing, so that a full disk is noticed while writing only.
            file = stack.enter_context(tempfile.TemporaryFile(dir=folder, buffering=0))
        yield file


def _write(file: IO[bytes], piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[file.write(rest) :]


@contextlib.contextmanager
def _storage_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise JobsFullError("There is no space left on the disk for the upload. Send it later.") from error
        raise JobsUnavailableError(f"The folder of the jobs cannot be used: {error.strerror}.") from error


def _pieces(request: Request, length: int | None, min_rate: int, deadline: Deadline) -> Iterator[bytes]:
    """Yield the body as it arrives.

    A sender that is slower than the rate uses up its credit of `SILENCE_S`, and earns it again by being faster. Only
    the time in which the body is waited for counts, not that in which it is written.
    """
    source: IO[bytes] = request.environ["wsgi.input"]
    connection = request.environ.get("gunicorn.socket")
    left = length if length is not None else math.inf if request.environ.get("wsgi.input_terminated") else 0
    guard = ChunkGuard()
    received, credit_s = 0, SILENCE_S
    while left > 0:
        step = int(min(left, STEP_BYTES, STEP_S * min_rate))
        started_s = time.monotonic()
        with _limited_time(connection, started_s + credit_s + step / min_rate, min_rate, deadline):
            piece = source.read(step)
        if not piece and length is not None:
            raise ClientDisconnected
        if not piece:
            return
        credit_s = min(SILENCE_S, credit_s + len(piece) / min_rate - (time.monotonic() - started_s))
        received += len(piece)
        left -= len(piece)
        if length is None:
            guard.check(received)
        yield piece


@contextlib.contextmanager
def _limited_time(connection: Any, read_by_s: float, min_rate: int, deadline: Deadline) -> Iterator[None]:
    """Let the read inside end in time; only a `gateway.runtime.timed_socket` can, others have the body already."""
    is_timed = hasattr(connection, "read_by_s")
    if is_timed:
        connection.read_by_s, connection.max_silence_s = min(deadline.at_s, read_by_s), SILENCE_S
    try:
        yield
    except TimeoutError as error:
        raise _too_slow(min_rate, deadline) from error
    except (OSError, ValueError) as error:
        raise ClientDisconnected from error
    finally:
        if is_timed:
            connection.read_by_s = connection.max_silence_s = math.inf


def _too_slow(min_rate: int, deadline: Deadline) -> BodyTimeoutError:
    if deadline.has_passed:
        return BodyTimeoutError(
            f"The body did not arrive within {deadline.allowed_s:g} s. Send the job again, in smaller parts."
        )
    return BodyTimeoutError(
        f"The body arrived too slowly: it must bring {format_size(min_rate)} per second on average, without a pause of "
        f"{SILENCE_S:g} s. Send the job again, over a faster connection."
    )


def _too_large(size: int | None, max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"{exceeds('The job', size, max_bytes)} Send several jobs.", max_bytes=max_bytes)
