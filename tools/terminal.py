"""Print messages for the user of a terminal."""

import contextlib
import io
import select
import sys


def say(text: str) -> None:
    """Print at once; output that can no longer be written is ignored, and what the terminal cannot show is escaped."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with contextlib.suppress(OSError):
        print(text, flush=True)


def can_say() -> bool:
    """Return whether output is accepted now, which it is not in a terminal that is paused."""
    try:
        return bool(select.select([], [sys.stdout], [], 0)[1])
    except (OSError, ValueError):
        return False
