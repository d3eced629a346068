"""What libraries print, such as a decoder's warnings with text from the image, becomes a field of a line of the log.

Printed directly, an image could write lines that look like the gateway's own.
"""

import contextlib
import os
import select
import sys
import threading
import time
from collections.abc import Callable

from gateway.observability.log_stream import STDERR, LogStream

STDOUT = 1
PIPE_BYTES = 65536
MAX_TEXT_BYTES = 8192
"""Of one line; the end is kept, because the last lines of a traceback say what happened."""
GATHER_S = 0.05
"""How long output is gathered, so that a traceback is one line. It also bounds the lines per second."""
CLOSE_TIMEOUT_S = 2.0


class StrayOutput:
    """A pipe in place of the workers' standard output and error, read by a thread of their parent.

    The parent reads it, so that the last words of a worker that crashes are logged too. While the pipe is full, what is
    printed is lost: a decoder that prints megabytes neither waits nor fills the log.

    Args:
        log: Logs a text and the number of bytes that were printed, which may be larger.
    """

    def __init__(self, log: Callable[[str, int], None]) -> None:
        self._log = log
        self._read_fd, self._write_fd = os.pipe()
        os.set_blocking(self._write_fd, False)
        self._thread = threading.Thread(target=self._log_output, name="stray-output", daemon=True)
        self._thread.start()

    def redirect(self) -> None:
        """Let this worker's output go to the pipe; called after the fork, and after `separate_from_stderr`."""
        for fd in (STDOUT, STDERR):
            os.dup2(self._write_fd, fd)
        os.close(self._write_fd)
        os.close(self._read_fd)
        sys.stdout = sys.stderr = LogStream(STDERR, patience_s=0)

    def close(self) -> None:
        """Log what the workers, which have ended, still printed; called by their parent."""
        with contextlib.suppress(OSError):
            os.close(self._write_fd)
        self._thread.join(CLOSE_TIMEOUT_S)

    def _log_output(self) -> None:
        readable = select.poll()
        readable.register(self._read_fd, select.POLLIN)
        while readable.poll():
            time.sleep(GATHER_S)
            output = os.read(self._read_fd, PIPE_BYTES)
            if not output:
                break
            self._log(output[-MAX_TEXT_BYTES:].decode("utf-8", "backslashreplace"), len(output))
        os.close(self._read_fd)
