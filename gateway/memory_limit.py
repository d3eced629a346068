"""The memory that this process may use: that of the machine, or the limit of its control group."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def available_bytes() -> int:
    """Return the memory of the machine, or the limit of this process's control group if that is lower."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *cgroup_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))])


def cgroup_limits(membership: Path, root: Path) -> Iterator[int]:
    """Yield the memory limits of the control group and of those that contain it; see cgroups(7).

    Args:
        membership: The groups of a process, as in `/proc/PID/cgroup`.
        root: Where the control groups are mounted.
    """
    with contextlib.suppress(OSError):  # there are no control groups on this system
        for line in membership.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                folder, name = root, "memory.max"
            elif "memory" in controllers.split(","):
                folder, name = root / "memory", "memory.limit_in_bytes"
            else:
                continue
            # In a container, its own group is mounted at the root, whatever its path is outside.
            for group in (folder / path.lstrip("/") / "x").parents:
                with contextlib.suppress(OSError, ValueError):  # a group without a limit says "max"
                    yield int((group / name).read_text(encoding="ascii"))
