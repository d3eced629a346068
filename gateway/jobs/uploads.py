"""Uploads of jobs, which are written to a file while they arrive and never are in memory as a whole."""

import contextlib
import errno
import math
import mmap
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Condition
from typing import IO, Any

from flask import Request
from werkzeug.exceptions import ClientDisconnected

from gateway.deadline import Deadline
from gateway.errors import BodyTimeoutError, BodyTooLargeError, JobsFullError, JobsUnavailableError, OverloadedError
from gateway.sizes import exceeds

STEP_BYTES = 256 * 1024
SILENCE_S = 10.0
"""How long a sender may be silent; `Deadline` is for the whole upload."""


class UploadPlaces:
    """A number of uploads at the same time, of which one client gets at most half; safe to use from many threads.

    Args:
        places: How many.
        max_wait_s: Maximum time that an upload waits for a place.
    """

    def __init__(self, places: int, *, max_wait_s: float) -> None:
        self._places = places
        self._max_wait_s = max_wait_s
        self._by_client: Counter[str] = Counter()
        self._condition = Condition()

    @contextlib.contextmanager
    def occupy(self, client: str, *, deadline: Deadline) -> Iterator[None]:
        """Wait for a place, and take it.

        Raises:
            OverloadedError: None was free in time.
            DeadlineExceededError: The deadline has passed.
        """

        def is_free() -> bool:
            of_client = self._by_client[client]
            return self._by_client.total() < self._places and of_client < max(1, self._places // 2)

        with self._condition:
            if not self._condition.wait_for(is_free, deadline.remaining_s(self._max_wait_s)):
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
def receive(request: Request, folder: Path, *, max_bytes: int, deadline: Deadline) -> Iterator[mmap.mmap | bytes]:
    """Receive the body of a request into a nameless file, and map it into memory until the end of the context.

    Raises:
        BodyTooLargeError: It has more bytes than the limit.
        BodyTimeoutError: It did not arrive before the deadline, or stopped arriving.
        JobsFullError: There is no space on the disk.
        JobsUnavailableError: The folder cannot be used.
        werkzeug.exceptions.ClientDisconnected: The client sent less than it announced.
    """
    length = request.content_length
    if length is not None and length > max_bytes:
        raise _too_large(length, max_bytes)
    with _temporary_file(folder) as file:
        size = 0
        for piece in _pieces(request, length, deadline):
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


def _pieces(request: Request, length: int | None, deadline: Deadline) -> Iterator[bytes]:
    """Yield the body as it arrives."""
    source: IO[bytes] = request.environ["wsgi.input"]
    left = length if length is not None else math.inf if request.environ.get("wsgi.input_terminated") else 0
    while left > 0:
        with _limited_time(request.environ.get("gunicorn.socket"), deadline):
            piece = source.read(int(min(left, STEP_BYTES)))
        if not piece and length is not None:
            raise ClientDisconnected
        if not piece:
            return
        left -= len(piece)
        yield piece


@contextlib.contextmanager
def _limited_time(connection: Any, deadline: Deadline) -> Iterator[None]:
    """Let the read inside end in time; only a `gateway.runtime.timed_socket` can, others have the body already."""
    is_timed = hasattr(connection, "read_by_s")
    if is_timed:
        connection.read_by_s, connection.max_silence_s = deadline.at_s, SILENCE_S
    try:
        yield
    except TimeoutError as error:
        limit = f"within {deadline.allowed_s:g} s" if deadline.has_passed else f"for {SILENCE_S:g} s"
        raise BodyTimeoutError(f"The body did not arrive {limit}. Send the job again, in smaller parts.") from error
    except (OSError, ValueError) as error:
        raise ClientDisconnected from error
    finally:
        if is_timed:
            connection.read_by_s = connection.max_silence_s = math.inf


def _too_large(size: int | None, max_bytes: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"{exceeds('The job', size, max_bytes)} Send several jobs.", max_bytes=max_bytes)
