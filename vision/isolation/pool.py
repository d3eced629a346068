"""A pool of decoder processes: each decodes one file at a time, within limits that the kernel keeps.

A process that a file crashes, or that is not done in time, is killed and replaced; it never had another file at hand.
Its processes have no keys, no settings and no listening sockets of this process: they begin as new programs with an
environment of their own, and inherit one socket.

See docs/decisions/0014-decoder-processes.md for why this is not one of the pools that exist.
"""

import contextlib
import math
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vision.card import InputSpec
from vision.decode import ImageFormat, sniff
from vision.errors import UnreadableImageError
from vision.heatmap import MAX_SIDE
from vision.isolation import wire
from vision.isolation.errors import DecoderCrashedError, DecoderUnavailableError, DecodingTimeoutError

MAX_DRAWING_BYTES = 4 * MAX_SIDE * MAX_SIDE
"""More than a PNG of a drawing can have, whose pixels take 3 bytes each."""
SINGLE_USE = frozenset({ImageFormat.HEIC})
"""Formats after which a process is replaced: damaged files can corrupt its memory without ending it."""
EXIT_WAIT_S = 1.0
"""How long the exit code of a process is waited for once its socket is closed."""
ROOT = Path(__file__).parents[2]
INHERITED_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
FIXED_VARIABLES = {
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    # Freed blocks return to the system, as in the gateway (gateway/runtime/malloc.py).
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(4 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(8 << 20),
}


class DecoderPool:
    """Decodes image files in sandboxed processes; safe to use from many threads.

    A process starts when it is first needed.

    Args:
        processes: Number of processes, and so of files that are decoded at the same time.
        max_memory_bytes: How much the address space of a process may ever grow; a file may be permitted less.
        max_pixels: Largest number of pixels, width times height, that a file may declare.

    Attributes:
        filters_system_calls: Whether the processes filter system calls; None before one of them is ready.
    """

    def __init__(self, *, processes: int, max_memory_bytes: int, max_pixels: int) -> None:
        self.filters_system_calls: bool | None = None
        self._max_memory_bytes = max_memory_bytes
        self._max_pixels = max_pixels
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(processes):
            self._idle.put(None)

    def load(
        self, data: bytes | memoryview, spec: InputSpec, *, memory_bytes: int, deadline_s: float
    ) -> npt.NDArray[np.uint8] | npt.NDArray[np.float32]:
        """Turn an image file into one model input; see `vision.preprocess.load`.

        Args:
            data: The whole file.
            spec: Input of the model.
            memory_bytes: How much memory decoding may take; see `vision.preprocess.weigh`.
            deadline_s: When to give up, in seconds of `time.monotonic`.

        Returns:
            An array of ``spec.shape`` and ``spec.dtype``.

        Raises:
            ImageError: See `vision.preprocess.load`.
            UnreadableImageError: Decoding takes more memory than permitted, too.
            DecodingTimeoutError: The file was not decoded in time.
            DecoderCrashedError: The file ended the process.
            DecoderUnavailableError: No process was free in time or could be started, or the kernel ended it for lack of
                memory.
        """
        dtype = np.dtype(spec.dtype)
        size = math.prod(spec.shape) * dtype.itemsize
        call = wire.Call("load", {"spec": spec, "max_pixels": self._max_pixels}, memory_bytes)
        pixels = self._run(call, data, max_bytes=size, deadline_s=deadline_s)
        if len(pixels) != size:
            raise DecoderCrashedError
        return np.frombuffer(pixels, dtype).reshape(spec.shape)

    def draw(
        self,
        data: bytes | memoryview,
        heat: npt.NDArray[np.float32],
        spec: InputSpec,
        *,
        memory_bytes: int,
        deadline_s: float,
    ) -> bytes:
        """Draw a heat map, float32[h, w] in 0..1, over an image file; see `vision.heatmap.draw` and `load`.

        `memory_bytes` is how much memory decoding and drawing may take; see `vision.heatmap.weigh`.
        """
        call = wire.Call("draw", {"heat": heat, "spec": spec, "max_pixels": self._max_pixels}, memory_bytes)
        return bytes(self._run(call, data, max_bytes=MAX_DRAWING_BYTES, deadline_s=deadline_s))

    def close(self) -> None:
        """End the processes that are idle; those that decode end with this program."""
        while True:
            try:
                process = self._idle.get_nowait()
            except queue.Empty:
                return
            if process is not None:
                process.end()

    def _start(self) -> "_Process":
        try:
            return _Process(self._max_memory_bytes, self._max_pixels)
        except OSError as error:  # no file or process is left
            raise DecoderUnavailableError from error

    def _successor(self, process: "_Process | None") -> "_Process | None":
        """Return the process itself, or a new one if it has ended, which loads in the background."""
        if process is None or process.is_alive:
            return process
        with contextlib.suppress(DecoderUnavailableError):
            return self._start()
        return None

    def _run(self, call: wire.Call, data: bytes | memoryview, *, max_bytes: int, deadline_s: float) -> bytearray:
        try:
            process = self._idle.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            raise DecoderUnavailableError from None
        try:
            if process is not None and not process.is_alive:
                process.end()
                process = None
            if process is None:
                process = self._start()
            max_bytes = max(max_bytes, wire.MAX_MESSAGE_BYTES)
            status, payload = process.run(call, data, max_bytes=max_bytes, deadline_s=deadline_s)
            self.filters_system_calls = process.filters_system_calls
        finally:
            if process is not None and sniff(data) in SINGLE_USE:
                process.end()
            self._idle.put(self._successor(process))
        if status == wire.RESULT:
            return payload
        message = payload.decode(errors="replace")
        if status == wire.IMAGE_ERROR:
            raise UnreadableImageError(message)
        if status == wire.OUT_OF_MEMORY:
            raise UnreadableImageError(
                "decoding the image takes more memory than an image of its size and format needs"
            )
        raise RuntimeError(f"A decoder process failed: {message}")


class _Process:
    """One decoder process, used by one thread at a time.

    Attributes:
        filters_system_calls: Whether it filters system calls; None before it is ready.
    """

    def __init__(self, max_memory_bytes: int, max_pixels: int) -> None:
        self.filters_system_calls: bool | None = None
        self._connection, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ} | FIXED_VARIABLES
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([str(ROOT), *filter(None, sys.path)]))
        environment["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(max_pixels)
        arguments = ["-m", "vision.isolation.process", str(theirs.fileno()), str(max_memory_bytes)]
        with contextlib.ExitStack() as on_failure, theirs:
            on_failure.push(self._connection)
            self._program = subprocess.Popen(  # noqa: S603  # this interpreter and this package
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env=environment,
                cwd="/",
                pass_fds=[theirs.fileno()],
            )
            on_failure.pop_all()

    @property
    def is_alive(self) -> bool:
        """Whether the process can take a call."""
        return self._program.poll() is None

    def run(
        self, call: wire.Call, data: bytes | memoryview, *, max_bytes: int, deadline_s: float
    ) -> tuple[int, bytearray]:
        """Send a call and return the status and the payload of its reply; any failure ends the process.

        Raises:
            DecodingTimeoutError, DecoderCrashedError, DecoderUnavailableError: See `DecoderPool.load`.
        """
        self._await_ready(deadline_s)
        try:
            wire.send_request(self._connection, call, data, deadline_s=deadline_s)
        except OSError as error:  # TimeoutError too: the file is not to blame before it has arrived
            self.end()
            raise DecoderUnavailableError from error
        try:
            return wire.receive_reply(self._connection, max_bytes=max_bytes, deadline_s=deadline_s)
        except TimeoutError:
            self.end()
            raise DecodingTimeoutError from None
        except (EOFError, OSError):
            was_killed = self._exit_code() == -signal.SIGKILL
            self.end()
            raise (DecoderUnavailableError if was_killed else DecoderCrashedError) from None
        except BaseException:
            self.end()
            raise

    def _await_ready(self, deadline_s: float) -> None:
        """Wait until the process has loaded; if that takes too long, it goes on loading for the next call."""
        if self.filters_system_calls is not None:
            return
        try:
            wire.await_reply(self._connection, deadline_s=deadline_s)
            max_bytes = max(len(wire.FILTERED), len(wire.UNFILTERED))
            _, filtering = wire.receive_reply(self._connection, max_bytes=max_bytes, deadline_s=deadline_s)
        except TimeoutError:
            raise DecoderUnavailableError from None
        except (EOFError, OSError) as error:
            self.end()
            raise DecoderUnavailableError from error
        self.filters_system_calls = filtering == wire.FILTERED

    def end(self) -> None:
        """Kill the process."""
        self._connection.close()
        self._program.kill()
        self._program.wait()

    def _exit_code(self) -> int | None:
        """Return why the process ended; None if it only closed its socket."""
        try:
            return self._program.wait(timeout=EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            return None
