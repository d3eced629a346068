"""Programs under measurement: each with its processes, and the CPU time and memory that these take."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

ROOT = Path(__file__).parents[1]
START_S = 300
STOP_S = 20
_POLL_S = 0.02
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Places in /proc/PID/stat after the command's name, see proc_pid_stat(5).
_SESSION, _TIMES = 3, slice(11, 15)


@dataclass(frozen=True, slots=True)
class Service:
    """A program and the processes that it has started: those of its session.

    Attributes:
        name: What the table calls it.
        pid: Its first process.
    """

    name: str
    pid: int

    @property
    def ended(self) -> bool:
        """Whether its first process has ended; it is a zombie then, as nobody has asked for its status yet."""
        return Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"

    def cpu_s(self) -> float:
        """Return the CPU time that all its processes have taken, those that have ended included."""
        return sum(sum(map(int, fields[_TIMES])) for fields in self._processes().values()) / _TICKS_PER_S

    def rss_bytes(self) -> Mapping[int, int]:
        """Return the resident memory of each of its processes, by number."""
        return {
            pid: int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
            for pid in self._processes()
        }

    def _processes(self) -> Mapping[int, list[str]]:
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal():
                with contextlib.suppress(OSError):  # it has just ended
                    fields = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
                    if int(fields[_SESSION]) == self.pid:
                        found[int(folder.name)] = fields
        return found


@contextlib.contextmanager
def running(
    name: str, command: Sequence[str | Path], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Service]:
    """Run a program until the end of the context; what it prints goes to a log."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Service(name, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_ok(service: Service, url: str) -> None:
    """Wait until a service answers a URL with 200.

    Raises:
        RuntimeError: it ended before.
        TimeoutError: it did not in time.
    """
    give_up_s = time.monotonic() + START_S
    while not _answers(url):
        if service.ended:
            raise RuntimeError(f"{service.name} ended before it answered {url}; its log tells why")
        if time.monotonic() > give_up_s:
            raise TimeoutError(f"{service.name} did not answer {url} with 200 within {START_S} s; its log may tell why")
        time.sleep(_POLL_S)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310  # our own, on loopback
            return bool(response.status == HTTPStatus.OK)
    except OSError:
        return False


def run(command: Sequence[str | Path], log: Path) -> None:
    """Run one of the project's programs to its end.

    Raises:
        RuntimeError: it failed.
    """
    with log.open("ab") as output:
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended with status {done.returncode}; see {log}")
