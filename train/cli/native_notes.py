"""Keeps notes that TensorFlow's native code writes for its developers off the screen.

They are written to the file descriptor of standard error, past Python, and no setting turns all of them off:
`TF_CPP_MIN_LOG_LEVEL` knows neither those of the converter to TensorFlow Lite nor those of its interpreter.
"""

import os
import re
import signal
import sys

NOTE = re.compile(rb"WARNING: All log messages before absl|[IW]\d{4} \d\d:\d\d:\d\d|INFO: |fully_quantize: ")
"""Beginnings of lines that are notes."""
STDERR = 2


def hide_native_notes() -> None:
    """Pass what native code writes to standard error through a process that drops notes; call it once, at the start.

    A process is used because errors that end this one must still be shown. It ends when this one does. What Python
    writes is shown directly.
    """
    try:
        screen = os.dup(STDERR)
    except OSError:  # standard error is closed, so nothing is shown anyway
        return
    source, target = os.pipe()
    if os.fork() == 0:
        try:
            os.close(target)
            _forward(source, screen)
        finally:  # also if the screen is closed: this process must never go on with the command
            os._exit(0)
    os.close(source)
    os.dup2(target, STDERR)
    os.close(target)
    sys.stderr = os.fdopen(screen, "w", encoding=sys.stderr.encoding, errors=sys.stderr.errors, buffering=1)


def _forward(source: int, screen: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches this process, too
    with os.fdopen(source, "rb") as lines:
        for line in lines:
            if not NOTE.match(line):
                os.write(screen, line)
