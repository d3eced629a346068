"""Measure the CPU time and the memory of running programs, and read their states, from /proc; see proc(5)."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# In /proc/PID/stat after the name: user and system time of the process and of its children that have exited.
_CPU_FIELDS = slice(11, 15)


def family(pid: int) -> Iterator[int]:
    """Yield a process and all its descendants that run at this moment."""
    yield pid
    yield from descendants(pid)


def descendants(pid: int) -> Iterator[int]:
    """Yield the child processes of a process, each followed by its own, that run at this moment."""
    for child in children(pid):
        yield from family(child)


def children(pid: int) -> list[int]:
    """Return the child processes of all threads; none of a process or a thread that has just ended."""
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                pids += map(int, (thread / "children").read_text(encoding="ascii").split())
    return pids


def cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process and its descendants, including children that have exited."""
    total = 0
    for member in family(pid):
        with contextlib.suppress(OSError):  # it has just exited
            total += sum(map(int, _stat_fields(Path(f"/proc/{member}"))[_CPU_FIELDS]))
    return total / _TICKS_PER_S


def thread_states(pid: int) -> set[str]:
    """Return the states of all threads of a process, such as `S` (sleeping) or `T` (stopped).

    Raises:
        OSError: There is no such process.
    """
    states = set()
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            states.add(_stat_fields(thread)[0])
    return states


def _stat_fields(folder: Path) -> list[str]:
    """Return the fields of `stat` behind the name, which is in brackets and may contain anything."""
    return (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def status_field(pid: int, name: str) -> int:
    """Return a numeric field of /proc/PID/status: a count, or KiB of memory.

    Raises:
        OSError: There is no such process.
        ValueError: It has no such field, as one that has exited has no memory.
    """
    return _number(Path(f"/proc/{pid}/status"), f"{name}:")


def resident_bytes(pid: int) -> int:
    """Return the resident memory of one process, shared pages included."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def anonymous_bytes(pid: int) -> int:
    """Return the resident memory of one process without the pages of files.

    Of libraries, the kernel maps more or fewer pages around each that is used, as it finds them in its cache.
    """
    return status_field(pid, "RssAnon") * 1024


def proportional_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants, each shared page counted once (Pss)."""
    return sum(_proportional_kib(member) for member in family(pid)) * 1024


def group_bytes(pids: Iterable[int]) -> int:
    """Return the memory of processes and their descendants, each page that they share counted once.

    Unlike `proportional_bytes`, it does not depend on what other programs map the same files.
    """
    anonymous_kib = 0
    file_kib: dict[tuple[str, str], int] = {}
    for member in [member for pid in pids for member in family(pid)]:
        anonymous_kib += _proportional_kib(member, "Pss_Anon:")
        for mapping, kib in _file_mappings(member):
            file_kib[mapping] = max(kib, file_kib.get(mapping, 0))
    return (anonymous_kib + sum(file_kib.values())) * 1024


def _file_mappings(pid: int) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield inode and offset of each mapping of a file, and how many KiB of the file are resident in it."""
    mapping, resident_kib = ("0", ""), 0
    for line in Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        name, *fields = line.split()
        if not name.endswith(":"):
            mapping = (fields[3], fields[1])
        elif name == "Rss:":
            resident_kib = int(fields[0])
        elif name == "Anonymous:" and mapping[0] != "0":
            yield mapping, resident_kib - int(fields[0])


def _proportional_kib(pid: int, field: str = "Pss:") -> int:
    return _number(Path(f"/proc/{pid}/smaps_rollup"), field)


def _number(file: Path, field: str) -> int:
    lines = file.read_text(encoding="utf-8").splitlines()
    (number,) = (int(line.split()[1]) for line in lines if line.startswith(field))
    return number
