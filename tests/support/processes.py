"""What /proc tells about a process, see proc(5); and processes that stand still."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.waiting import SOON_S, until
from tools.processes import thread_states


def command_line(pid: int) -> str:
    """Return the command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie; on systems without /proc as well."""
    return _state(pid) not in {"", "Z", "X"}


def socket_inodes(pid: int) -> Iterator[str]:
    """Yield the inode of the socket behind each descriptor that refers to one; nothing if the process has ended."""
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # it has just been closed
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]


def suspend(pid: int) -> None:
    """Suspend a process, and wait until none of its threads runs any more.

    The signal reaches the threads one after the other, on a busy machine within tens of milliseconds. Until then, one
    that it has not reached can still answer a request.
    """
    os.kill(pid, signal.SIGSTOP)
    until(lambda: _states(pid) == {"T"}, SOON_S, f"process {pid} suspended")


def _states(pid: int) -> set[str]:
    """Return the states of all threads of a process; on systems without /proc, that of the process."""
    return thread_states(pid) if sys.platform == "linux" else {_state(pid)}


def _state(pid: int) -> str:
    """Return the state of a process, on systems without /proc as well; nothing if it has ended."""
    ps = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return ps.stdout.strip()[:1]
