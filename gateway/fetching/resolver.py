"""Lookups of names that end at a deadline, whatever the name server does."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import weakref
from pathlib import Path

from gateway.fetching.lookups import Address

PROGRAM = Path(__file__).with_name("lookup_server.py")
VARIABLES = (
    *("RES_OPTIONS", "LOCALDOMAIN", "HOSTALIASES", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    "OBJC_DISABLE_INITIALIZE_FORK_SAFETY",
)
"""Variables of the environment that the resolver and the loader of programs read; the others may contain keys."""
SEND_S = 1.0
ANSWER_BYTES = 4096
MAX_IDLE = 4
"""Processes that are kept for further lookups."""
GRACE_S = 0.1
"""Time for which the process of a lookup goes on after the deadline of its request."""


class Resolver:
    """Resolves names with `lookup_server`, which is started when first needed; safe to use from many threads.

    Each lookup is a process of about 1 MB. There are at most as many as threads that fetch, since each thread waits for
    its own lookup.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[socket.socket] = []
        self._control: socket.socket | None = None
        self._stop: weakref.finalize[..., Resolver] | None = None

    def resolve(self, host: str, port: int, *, timeout_s: float) -> list[Address]:
        """Return the first addresses of a name as the system's resolver sorts them; none if it is unknown.

        Raises:
            TimeoutError: The name server did not answer in time.
            OSError: No lookup could be made.
            UnicodeError: No name can look like this.
        """
        question = json.dumps([host.encode("idna").decode(), port, timeout_s + GRACE_S]).encode() + b"\n"
        answer = self._ask_any(question, timeout_s)
        return [Address(socket.AddressFamily(family), tuple(address)) for family, address in json.loads(answer)]

    def close(self) -> None:
        """End the program; the next lookup starts it again."""
        with self._lock:
            self._end()

    def _ask_any(self, question: bytes, timeout_s: float) -> bytes:
        """Ask a process that has answered before, or a new one; another one if it was ended by somebody else."""
        for connect in (self._reuse, self._connect, self._connect):
            with contextlib.suppress(ConnectionError):
                return self._ask(connect(), question, timeout_s)
        raise ConnectionResetError("The processes of a lookup have ended.")

    def _reuse(self) -> socket.socket:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return self._connect()

    def _ask(self, connection: socket.socket, question: bytes, timeout_s: float) -> bytes:
        with contextlib.ExitStack() as stack:
            stack.callback(connection.close)  # the process ends: at once, or in `GRACE_S` if it still waits
            connection.settimeout(timeout_s)
            connection.sendall(question)
            answer = b""
            while not answer.endswith(b"\n"):
                part = connection.recv(ANSWER_BYTES)
                if not part:
                    raise ConnectionResetError("The process of a lookup has ended.")
                answer += part
            if len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
                stack.pop_all()
        return answer

    def _connect(self) -> socket.socket:
        """Return a connection to a new process."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._send(theirs)
        return ours

    def _send(self, connection: socket.socket) -> None:
        with self._lock:
            if self._control is not None:
                with contextlib.suppress(OSError):  # the program was ended by somebody else
                    socket.send_fds(self._control, [b"?"], [connection.fileno()])
                    return
                self._end()
            self._control = self._start()
            socket.send_fds(self._control, [b"?"], [connection.fileno()])

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.settimeout(SEND_S)
            program = subprocess.Popen(  # noqa: S603  # a fixed command
                [sys.executable, "-I", "-S", PROGRAM, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={name: os.environ[name] for name in VARIABLES if name in os.environ},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._stop = weakref.finalize(self, _end, program, ours, self._idle)
        return ours

    def _end(self) -> None:
        self._control = None
        if self._stop is not None:
            self._stop()


def _end(program: subprocess.Popen[bytes], control: socket.socket, idle: list[socket.socket]) -> None:
    control.close()
    while idle:
        idle.pop().close()
    program.kill()
    program.wait()
