"""The decoder processes of this process."""

import os
from pathlib import Path

from tools import processes


def decoder_pids() -> set[int]:
    """Return the process ids of those that run at this moment."""
    pids = set()
    for pid in processes.descendants(os.getpid()):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:  # it has just ended
            continue
        if b"vision.isolation.process" in command:
            pids.add(pid)
    return pids
