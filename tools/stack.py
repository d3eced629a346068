"""Long-running programs started together, watched, and stopped so that nothing of them stays."""

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Never, Self

POLL_S = 0.1
HOUR_S = 3600.0
LOG_TAIL_LINES = 20
PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Program:
    """One program of a stack.

    Attributes:
        name: Short name in lower case with hyphens; its log is `NAME.log`.
        command: Program and arguments.
        directory: Working directory.
        environment: All of its environment.
        stop_signal: Asks it to finish what it does and end.
        stop_timeout_s: How long that may take before it is killed.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    stop_signal: signal.Signals
    stop_timeout_s: float


class ProgramEndedError(Exception):
    """A program ended that should have gone on; the message has its status and its last words."""


class StopRequestedError(Exception):
    """A signal asked the stack to stop."""


class Signals:
    """One wait that ends by a signal, by the end of a child, or by time.

    The interpreter writes the number of each signal to a socket (`signal.set_wakeup_fd`), so nothing that
    happens between two waits is missed. To be entered in the main thread; leaving puts back the handlers found.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.settimeout(0)
        self._restore = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start to listen."""
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            # nohup has SIGHUP ignored, and that has to stay so.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._restore.callback(signal.signal, number, signal.signal(number, _noted))
        self._restore.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(self._writer.fileno()))
        return self

    def __exit__(self, *_: object) -> None:
        """Put back the handlers that were there."""
        self._restore.close()
        self._reader.close()
        self._writer.close()

    def wait(self, timeout_s: float) -> list[signal.Signals]:
        """Wait for signals and return those that came, none when the time is over first."""
        select.select([self._reader], [], [], timeout_s)
        try:
            return [signal.Signals(number) for number in self._reader.recv(4096)]
        except BlockingIOError:
            return []


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Stand in for a handler: the number in the wakeup socket is all that is needed."""


class Stack:
    """Programs that live and die together.

    Each gets a session of its own, so that Ctrl-C reaches only the one who started them. Leaving the context stops
    them, the last started first.

    Args:
        log_directory: Where a log is made of what each prints; None where that goes to our own standard error.
    """

    def __init__(self, log_directory: Path | None) -> None:
        self._logs = log_directory
        self._signals = Signals()
        self._running: list[tuple[Program, subprocess.Popen[bytes]]] = []

    def __enter__(self) -> Self:
        """Listen to signals from now on."""
        self._signals.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all programs."""
        try:
            self.stop()
        finally:
            self._signals.__exit__()

    def start(self, program: Program) -> None:
        """Start a program.

        Raises:
            ProgramEndedError: it cannot be started.
        """
        with self._output(program) as output:
            try:
                process = subprocess.Popen(
                    program.command,
                    cwd=program.directory,
                    env=program.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_end_with_parent(),  # noqa: PLW1509  # no threads here that could hold a lock
                )
            except OSError as error:
                raise ProgramEndedError(f"{program.name} could not be started: {error}") from error
        self._running.append((program, process))

    def processes(self) -> dict[str, int]:
        """Return the process that each running program was started as, by the program's name."""
        return {program.name: process.pid for program, process in self._running}

    def run(self) -> Never:
        """Let the programs run until one ends or a signal comes.

        Raises:
            ProgramEndedError: one of them has ended.
            StopRequestedError: SIGINT, SIGTERM or SIGHUP came.
        """
        while True:
            self.wait(HOUR_S)

    def wait(self, timeout_s: float) -> None:
        """Let the programs run for some time, or until something happens.

        Raises:
            ProgramEndedError: one of them has ended.
            StopRequestedError: SIGINT, SIGTERM or SIGHUP came.
        """
        for remaining_s in _countdown(timeout_s):
            self._check_alive()
            for number in self._signals.wait(remaining_s):
                if number in STOP_SIGNALS:
                    raise StopRequestedError(number.name)
        self._check_alive()

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Let the programs run until `ready` says yes; it is asked ten times a second.

        Raises:
            ProgramEndedError: one of them has ended.
            StopRequestedError: SIGINT, SIGTERM or SIGHUP came.
            TimeoutError: `ready` did not say yes in time.
        """
        deadline = time.monotonic() + timeout_s
        while not ready():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not ready after {timeout_s:.0f} s")
            self.wait(POLL_S)

    def stop(self) -> None:
        """Stop all programs, the last started first, each within its own time; Ctrl-C cuts that short."""
        patient = True
        while self._running:
            program, process = self._running.pop()
            process.send_signal(program.stop_signal)
            patient = patient and self._await_end(process, program.stop_timeout_s)
            # What is left: a program that took too long, or the workers of one that died.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _await_end(self, process: subprocess.Popen[bytes], timeout_s: float) -> bool:
        """Return False when somebody presses Ctrl-C meanwhile."""
        for remaining_s in _countdown(timeout_s):
            if process.poll() is not None:
                return True
            if signal.SIGINT in self._signals.wait(remaining_s):
                return False
        return True

    def _check_alive(self) -> None:
        for program, process in self._running:
            status = process.poll()
            if status is not None:
                how = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
                raise ProgramEndedError(f"{program.name} ended {how}. {self._last_words(program)}")

    @contextlib.contextmanager
    def _output(self, program: Program) -> Iterator[int | BinaryIO]:
        """Open what a program is to print to."""
        if self._logs is None:
            yield sys.stderr.fileno()
            return
        log = self._logs / f"{program.name}.log"
        log.write_bytes(b"")
        # Appended to: nginx opens the same file once more, as /dev/stdout.
        with log.open("ab") as file:
            yield file

    def _last_words(self, program: Program) -> str:
        if self._logs is None:
            return "What it printed is above."
        log = self._logs / f"{program.name}.log"
        return f"The end of {log}:\n{tail(log)}"


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """Return the last lines of a log, each indented."""
    with log.open(encoding="utf-8", errors="replace") as file:
        return "".join(f"    {line.rstrip()}\n" for line in deque(file, maxlen=lines)) or "    (empty)\n"


def _countdown(timeout_s: float) -> Iterator[float]:
    """Yield the time that is left, for as long as some is left."""
    deadline = time.monotonic() + timeout_s
    while (remaining_s := deadline - time.monotonic()) > 0:
        yield remaining_s


def _end_with_parent() -> Callable[[], None] | None:
    """Return what a child calls first, so that it is asked to end even when its parent was killed.

    Linux alone offers this (prctl(2), PR_SET_PDEATHSIG).
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def in_child() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return in_child
