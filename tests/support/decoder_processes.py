"""The decoder processes of this process."""

import os

from tests.support.processes import command_line
from tools.processes import descendants


def decoder_pids() -> set[int]:
    """Return the process ids of those that run at this moment."""
    return {pid for pid in descendants(os.getpid()) if "vision.isolation.process" in command_line(pid)}
