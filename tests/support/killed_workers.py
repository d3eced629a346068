"""Run jobs whose worker is killed by SIGKILL: before its first step in the first job, before its second in the next.

    python -m tests.support.killed_workers FOLDER

A step is a call of the store or of the queue. A second worker ends each job, which is then in a folder of FOLDER. The
last job is the one whose first worker was not killed. Workers are forked processes with connections of their own.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.jobs.chunks import ChunkLimits, ChunkRunner
from gateway.jobs.sqlite_store import SqliteStore
from tests.support.jobs import FakePredictor, add_job, make_admission, make_items, make_limits

CHUNKS, IMAGES = 3, 2
NEVER = 0
STEPS = ("next_turn", "claim", "complete", "release", "finish", "due_jobs", "wake")


class Doomed:
    """Calls another object, and kills this process before or after a step."""

    def __init__(self, inner: Any, before_step: Callable[[], None]) -> None:
        self._inner = inner
        self._before_step = before_step

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in STEPS:
            return method

        def step(*args: Any, **kwargs: Any) -> Any:
            self._before_step()
            result = method(*args, **kwargs)
            self._before_step()
            return result

        return step


class Queue(list[tuple[str, int]]):
    """Wake-ups of one worker; they are lost with it, like one that huey has handed out."""

    def wake(self, job_id: str, turn: int) -> None:
        self.append((job_id, turn))


def work(folder: Path, lives: int) -> None:
    """Compute the job, and be killed at the step of this number."""
    steps = 0

    def before_step() -> None:
        nonlocal steps
        steps += 1
        if steps == lives:
            os.kill(os.getpid(), signal.SIGKILL)

    store: Any = Doomed(SqliteStore(folder, make_limits(lease_s=0.0)), before_step)
    queue = Queue()
    wakeups: Any = Doomed(queue, before_step)
    runner = ChunkRunner(store, FakePredictor(), make_admission(), ChunkLimits(deadline_s=60, retry_s=60))
    while not store.find("a").is_finished:
        for due in store.due_jobs():
            wakeups.wake(*due)
        while queue:
            runner.run(*queue.pop(0), wakeups)
    store.close()


def is_killed(folder: Path, lives: int) -> bool:
    """Let a worker compute the job in a process of its own; return whether it was killed."""
    pid = os.fork()
    if pid == 0:
        work(folder, lives)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


def main(folder: Path) -> int:
    killed = 0
    while True:
        job_folder = folder / str(killed)
        store = SqliteStore(job_folder, make_limits(lease_s=0.0))
        add_job(store, "a", [make_items(IMAGES, start=IMAGES * number) for number in range(CHUNKS)])
        store.close()
        if not is_killed(job_folder, killed + 1):
            return 0
        if is_killed(job_folder, NEVER):
            return 1
        killed += 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
