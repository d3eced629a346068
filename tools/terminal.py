"""Print messages for the user of a terminal."""

import contextlib


def say(text: str) -> None:
    """Print at once; output that can no longer be written is ignored."""
    with contextlib.suppress(OSError):
        print(text, flush=True)
