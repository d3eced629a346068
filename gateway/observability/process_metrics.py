"""CPU time and memory of the gateway: its gunicorn master, its workers and their decoder processes, from proc(5).

With several workers, prometheus_client has no metrics of processes: those of the worker that is scraped would stand for
all of them. Here, whichever worker is scraped looks at all. Elsewhere than on Linux there are none.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CPU_FIELDS = slice(11, 15)
"""In /proc/PID/stat after the name: user and system time of the process and of its children that have ended."""
_ATTEMPTS = 3
"""When processes start or end meanwhile, time could be missed or counted twice."""


class ProcessCollector(Collector):
    """Collects the metrics of a process and its descendants.

    Args:
        root: Id of the process.
    """

    def __init__(self, root: int) -> None:
        self._root = root

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        """Yield the metrics, unless the system has no /proc."""
        pids = [*_family(self._root)]
        cpu_s = 0.0
        for _ in range(_ATTEMPTS):
            cpu_s, before = sum(map(_cpu_s, pids)), pids
            pids = [*_family(self._root)]
            if pids == before:
                break
        if cpu_s == 0:
            return
        memory_bytes = sum(map(_memory_bytes, pids))
        yield CounterMetricFamily("gateway_cpu_seconds", "CPU time of all processes of the gateway.", cpu_s)
        yield GaugeMetricFamily(
            "gateway_memory_bytes", "Memory of all processes of the gateway, shared pages counted once.", memory_bytes
        )
        yield GaugeMetricFamily("gateway_processes", "Processes of the gateway.", len(pids))


def _family(pid: int) -> Iterator[int]:
    """Yield a process and its descendants, each parent before its children."""
    yield pid
    children: list[str] = []
    with contextlib.suppress(OSError):  # it has just ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                children += (thread / "children").read_text(encoding="ascii").split()
    for child in children:
        yield from _family(int(child))


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        # The name is in brackets and may contain anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return sum(map(int, fields[_CPU_FIELDS])) / _TICKS_PER_S
    return 0


def _memory_bytes(pid: int) -> int:
    """Return the proportional memory (Pss), or the resident memory of a process that may not be looked into."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
