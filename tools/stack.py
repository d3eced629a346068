"""Start long-running programs together, watch them, and stop them without leaving a process behind."""

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Never, Self

from tools.log_files import find_start_failure, tail

POLL_S = 0.1
RESTART_S = 5.0
"""Shortest time between two starts of a program that is started again."""
HOUR_S = 3600.0
PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Program:
    """A program of a stack and how to run it.

    Attributes:
        name: Short name in lower case with hyphens; its log is `NAME.log`.
        command: Program and arguments.
        directory: Working directory.
        environment: The complete environment.
        stop_signal: Signal that asks it to finish its work and exit.
        stop_timeout_s: Seconds that this may take before the program is killed.
        restarts: Whether it is started again if it ends; otherwise its end is that of the stack.
    """

    name: str
    command: tuple[str, ...]
    directory: Path
    environment: Mapping[str, str]
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 20.0
    restarts: bool = False


class ProgramEndedError(Exception):
    """A program could not be started or ended unexpectedly; the message has its exit status and the end of its log."""


class StopRequestedError(Exception):
    """A signal asked the stack to stop."""


class Stack:
    """Long-running programs that are started, watched and stopped together.

    Each program gets its own session, so that Ctrl-C in a terminal reaches only the process that started them. Leaving
    the context stops all programs, the last one started first.

    Args:
        log_directory: Existing folder for one log per program; None sends their output to our standard error.
    """

    def __init__(self, log_directory: Path | None) -> None:
        self._logs = log_directory
        self._processes: dict[str, tuple[Program, subprocess.Popen[bytes]]] = {}
        self._log_names: set[str] = set()
        self._started_s: dict[str, float] = {}
        self._notices: list[str] = []

    def __enter__(self) -> Self:
        """Return this stack; `start` starts a program."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all programs."""
        self.stop()

    def start(self, program: Program, *, log: Path | None = None) -> None:
        """Start a program.

        Args:
            program: What to run; no running program has its name.
            log: File for its output instead of `NAME.log`.

        Raises:
            ProgramEndedError: The program cannot be started.
        """
        with self._output(program, log) as output:
            try:
                process = subprocess.Popen(
                    program.command,
                    cwd=program.directory,
                    env=program.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=_end_with_parent(),  # noqa: PLW1509  # None if other threads could hold a lock
                )
            except OSError as error:
                raise ProgramEndedError(f"{program.name} could not be started: {error}") from error
        self._processes[program.name] = program, process
        self._started_s[program.name] = time.monotonic()

    def take_notices(self) -> list[str]:
        """Return a line about each program that was started again since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def pids(self) -> dict[str, int]:
        """Return the process id of each running program by name, in the order of their start."""
        return {name: process.pid for name, (_, process) in self._processes.items()}

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a program."""
        self._processes[name][1].send_signal(number)

    def end(self, name: str, number: signal.Signals) -> int:
        """End a program by a signal and kill the child processes it leaves behind.

        Returns:
            The exit status; negative for the number of the signal that killed the program.

        Raises:
            subprocess.TimeoutExpired: The program did not exit within its `stop_timeout_s`.
        """
        program, process = self._processes.pop(name)
        process.send_signal(number)
        try:
            return process.wait(program.stop_timeout_s)
        finally:
            _kill_session(process)

    def kill(self) -> None:
        """Kill all programs at once."""
        for _, process in self._processes.values():
            _kill_session(process)
        self._processes.clear()

    def stop(self, name: str | None = None) -> None:
        """Stop one program, or all of them, the last one started first.

        Programs that exceed their `stop_timeout_s` are killed, and so are child processes left behind.
        """
        may_wait = True
        for next_name in [name] if name is not None else reversed(list(self._processes)):
            program, process = self._processes.pop(next_name)
            process.send_signal(program.stop_signal)
            may_wait = may_wait and self._wait_for_exit(process, program.stop_timeout_s)
            _kill_session(process)

    def wait(self, timeout_s: float) -> None:
        """Let the programs run for some time.

        Raises:
            ProgramEndedError: A program has ended.
        """
        for remaining_s in _countdown(timeout_s):
            self._check_alive()
            self._sleep(remaining_s)
        self._check_alive()

    def wait_until(self, condition: Callable[[], bool], timeout_s: float, *, poll_s: float = POLL_S) -> None:
        """Let the programs run until a condition holds, which is checked every `poll_s` seconds.

        Raises:
            ProgramEndedError: A program has ended.
            TimeoutError: The condition did not hold in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"not ready after {timeout_s:.0f} s")
            self.wait(poll_s)

    def _sleep(self, timeout_s: float) -> None:
        """Sleep for at most `timeout_s`, or until something may have changed."""
        time.sleep(min(timeout_s, POLL_S))

    def _wait_for_exit(self, process: subprocess.Popen[bytes], timeout_s: float) -> bool:
        """Wait for the end of a process; False means that there is no time to wait for any further one."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout_s)
        return True

    def _check_alive(self) -> None:
        for program, process in list(self._processes.values()):
            status = process.poll()
            if status is None:
                continue
            ending = f"by {signal.Signals(-status).name}" if status < 0 else f"with exit status {status}"
            failure = None if self._logs is None else find_start_failure(self._log_file(program))
            if not program.restarts:
                if failure:
                    raise ProgramEndedError(f"{program.name}: {failure}")
                raise ProgramEndedError(f"{program.name} ended {ending}. {self._log_tail(program)}")
            if time.monotonic() - self._started_s[program.name] >= RESTART_S:
                _kill_session(process)
                self.start(program)
                reason = f" ({failure})" if failure else ""
                self._notices.append(f"{program.name} ended {ending}{reason} and was started again.")

    @contextlib.contextmanager
    def _output(self, program: Program, log: Path | None) -> Iterator[int | BinaryIO]:
        """Open the destination of a program's output."""
        if log is None and self._logs is None:
            yield sys.stderr.fileno()
            return
        path = log or self._log_file(program)
        if log is None and program.name not in self._log_names:
            path.write_bytes(b"")
            self._log_names.add(program.name)
        # Opened for appending: nginx opens the same file a second time as /dev/stdout.
        with path.open("ab") as file:
            yield file

    def _log_file(self, program: Program) -> Path:
        return (self._logs or Path()) / f"{program.name}.log"

    def _log_tail(self, program: Program) -> str:
        if self._logs is None:
            return "Its output is above."
        log = self._log_file(program)
        return f"The end of {log}:\n{tail(log)}"


class Supervisor(Stack):
    """A stack in the foreground, which runs until a signal or the end of a program.

    It must be entered in the main thread. `wait`, `wait_until` and `run` raise `StopRequestedError` after
    SIGINT, SIGTERM or SIGHUP. A second Ctrl-C while the programs are stopped kills them.
    """

    def __init__(self, log_directory: Path | None) -> None:
        super().__init__(log_directory)
        self._signals = Signals()

    def __enter__(self) -> Self:
        """Listen to signals from now on."""
        self._signals.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all programs and restore the signal handlers."""
        try:
            self.stop()
        finally:
            self._signals.__exit__()

    def run(self) -> Never:
        """Let the programs run until a signal or the end of one of them.

        Raises:
            ProgramEndedError: A program has ended.
            StopRequestedError: SIGINT, SIGTERM or SIGHUP was received.
        """
        while True:
            self.wait(HOUR_S)

    def _sleep(self, timeout_s: float) -> None:
        for number in self._signals.wait(timeout_s):
            if number in STOP_SIGNALS:
                raise StopRequestedError(number.name)

    def _wait_for_exit(self, process: subprocess.Popen[bytes], timeout_s: float) -> bool:
        for remaining_s in _countdown(timeout_s):
            if process.poll() is not None:
                return True
            if signal.SIGINT in self._signals.wait(remaining_s):
                return False
        return True


class Signals:
    """A wait that ends on a signal, on the exit of a child process, or on a timeout.

    The interpreter writes the number of each signal to a socket (`signal.set_wakeup_fd`), so that no signal between two
    waits is missed. It must be entered in the main thread; leaving restores the previous handlers.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.settimeout(0)
        self._restore = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start listening."""
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            # nohup sets SIGHUP to be ignored, which must stay so.
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                self._restore.callback(signal.signal, number, signal.signal(number, _ignore))
        self._restore.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(self._writer.fileno()))
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous handlers."""
        self._restore.close()
        self._reader.close()
        self._writer.close()

    def wait(self, timeout_s: float) -> list[signal.Signals]:
        """Wait for signals and return those received, none after a timeout."""
        select.select([self._reader], [], [], timeout_s)
        try:
            return [signal.Signals(number) for number in self._reader.recv(4096)]
        except BlockingIOError:
            return []


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Handle a signal by doing nothing; its number in the wakeup socket is enough."""


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """Kill a program and its child processes, and collect its exit status."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _countdown(timeout_s: float) -> Iterator[float]:
    """Yield the remaining seconds until none are left."""
    deadline_s = time.monotonic() + timeout_s
    while (remaining_s := deadline_s - time.monotonic()) > 0:
        yield remaining_s


def _end_with_parent() -> Callable[[], None] | None:
    """Return a function for the child process that makes the kernel end it if this process is killed.

    Only Linux offers this (prctl(2), PR_SET_PDEATHSIG). None if this process has several threads: code between fork
    and exec could then wait forever for a lock that another thread held. Threads of C++ count, such as gRPC's.
    """
    if sys.platform != "linux" or len([*Path("/proc/self/task").iterdir()]) > 1:
        return None
    libc = ctypes.CDLL(None)
    parent = os.getpid()

    def set_parent_death_signal() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return set_parent_death_signal
