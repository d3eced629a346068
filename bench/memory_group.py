"""A control group that limits the memory of a program and of its child processes together; see cgroups(7)."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tools.waiting import wait_until

MIB = 1 << 20
_ROOT = Path("/sys/fs/cgroup")
_JOIN_AND_RUN = 'echo $$ > "$0" && exec "$@"'
_REMOVAL_S = 10.0


@dataclass(frozen=True, slots=True)
class MemoryGroup:
    """A limit on memory, and what the kernel counts.

    Attributes:
        description: How the limit is kept.
        command_prefix: Words in front of a command that put it under the limit.
        peak_file: File with the most bytes in use at a time; None if they are not counted.
        kills_file: File with a line `oom_kill N`; None if they are not counted.
    """

    description: str
    command_prefix: tuple[str, ...]
    peak_file: Path | None = None
    kills_file: Path | None = None

    def peak_bytes(self) -> int:
        """Return the most memory that was in use at a time, 0 if it is not counted."""
        return int(self.peak_file.read_text(encoding="ascii")) if self.peak_file else 0

    def kills(self) -> int:
        """Return the number of processes that the kernel has killed for lack of memory, 0 if they are not counted."""
        if self.kills_file is None:
            return 0
        lines = map(str.split, self.kills_file.read_text(encoding="ascii").splitlines())
        return next((int(count) for name, count in lines if name == "oom_kill"), 0)


@contextlib.contextmanager
def limit_memory(max_bytes: int) -> Iterator[MemoryGroup]:
    """Make a control group, of version 2 or 1; without the right to make one, limit each process's address space."""
    name = f"bench-{os.getpid()}"
    for folder, limits, peak, kills in (
        (_ROOT / name, {"memory.max": max_bytes, "memory.swap.max": 0}, "memory.peak", "memory.events"),
        (
            _ROOT / "memory" / name,
            {"memory.limit_in_bytes": max_bytes},
            "memory.max_usage_in_bytes",
            "memory.oom_control",
        ),
    ):
        if _make_group(folder, limits):
            try:
                prefix = ("/bin/sh", "-c", _JOIN_AND_RUN, str(folder / "cgroup.procs"))
                description = f"{max_bytes // MIB} MiB of its control group"
                yield MemoryGroup(description, prefix, folder / peak, folder / kills)
            finally:
                wait_until(partial(_remove, folder), _REMOVAL_S, f"{folder} is empty")
            return
    # Libraries and threads take address space that they never touch.
    limit = f"ulimit -v {3 * max_bytes // 1024}"
    yield MemoryGroup(f"`{limit}` for each process", ("/bin/sh", "-c", f'{limit} && exec "$0" "$@"'))


def _make_group(folder: Path, limits: Mapping[str, int]) -> bool:
    try:
        folder.mkdir()
    except OSError:
        return False
    if all((folder / name).exists() for name in limits):
        for name, value in limits.items():
            (folder / name).write_text(str(value), encoding="ascii")
        return True
    folder.rmdir()  # not a control group, or one without the controller of memory
    return False


def _remove(folder: Path) -> bool:
    """Remove a group whose processes have ended."""
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()
