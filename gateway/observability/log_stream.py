"""The stream of the log: a failure to write loses a line, and never fails what was to be logged."""

import contextlib
import io
import os
import select
import stat

STDERR = 2
PATIENCE_S = 1.0
"""For a reader of the log that has stopped. Until it continues, further lines are lost without a wait."""


class LogStream(io.TextIOBase):
    """A text stream over a file descriptor that raises no errors, with one call of the system for each line.

    A full disk, a closed pipe or a reader that has stopped costs the lines that could not be written.

    Attributes:
        fd: The file descriptor.
    """

    def __init__(self, fd: int, *, patience_s: float = PATIENCE_S) -> None:
        self.fd = fd
        self._patience_s = patience_s
        self._is_stalled = False
        self._has_partial_line = False

    def write(self, text: str) -> int:
        """Write text, usually a line, and return its length."""
        line = ("\n" + text if self._has_partial_line else text).encode("utf-8", "backslashreplace")
        rest = self._write(line)
        if rest:
            self._has_partial_line = self._has_partial_line or len(rest) < len(line)
        else:
            self._has_partial_line = self._is_stalled = False
        return len(text)

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self.fd

    def _write(self, data: bytes) -> bytes:
        """Write what can be written, and return the rest."""
        while data:
            try:
                data = data[os.write(self.fd, data) :]
            except BlockingIOError:
                if self._is_stalled or not self._wait():
                    break
            except OSError:
                break
        return data

    def _wait(self) -> bool:
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        self._is_stalled = not poll.poll(self._patience_s * 1000)
        return not self._is_stalled


LOG = LogStream(STDERR)
"""The log of this process."""


def separate_from_stderr() -> None:
    """Let the log keep its file when descriptor 2 changes, and lose lines instead of waiting for a stopped reader.

    A pipe is opened again if that is permitted: with a copy of the descriptor, other programs that use the pipe would
    become non-blocking as well.
    """
    if LOG.fd != STDERR:
        return
    LOG.fd = os.dup(STDERR)
    if stat.S_ISFIFO(os.fstat(STDERR).st_mode):
        with contextlib.suppress(OSError):
            LOG.fd = os.open(f"/proc/self/fd/{STDERR}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
