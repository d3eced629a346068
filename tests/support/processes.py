"""What /proc tells about a process; see proc(5)."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path


def command_line(pid: int) -> str:
    """Return the command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie; on systems without /proc as well."""
    ps = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return ps.stdout.strip()[:1] not in {"", "Z", "X"}


def socket_inodes(pid: int) -> Iterator[str]:
    """Yield the inode of the socket behind each descriptor that refers to one; nothing if the process has ended."""
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # it has just been closed
                target = str(descriptor.readlink())
                if target.startswith("socket:["):
                    yield target[len("socket:[") : -1]
