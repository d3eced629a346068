"""Threads that do one thing for several images side by side."""

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

from gateway.deadline import Deadline

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """A bounded number of threads, shared by all requests of the process; they are started when first needed.

    Args:
        threads: How many.
        name: What they are called.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def each(self, work: Callable[[T], R], items: Sequence[T], *, deadline: Deadline) -> list[R]:
        """Do the work for every item, and give what came of it in the items' order.

        A single item is worked on by the calling thread: a change of threads would cost more than it gains.

        Raises:
            DeadlineExceededError: not all was done in time; what had not begun is dropped.
            Exception: what the work raised first.
        """
        if len(items) <= 1:
            return [work(item) for item in items]
        patience_s = deadline.remaining_s()
        # Each in a copy of the caller's context, so that its log lines and spans belong to the caller's request.
        futures = [self._pool.submit(contextvars.copy_context().run, work, item) for item in items]
        done, left = wait(futures, timeout=patience_s, return_when=FIRST_EXCEPTION)
        for future in left:
            future.cancel()
        for future in done:
            future.result()  # raises what the work raised
        if left:
            raise deadline.missed()
        return [future.result() for future in futures]
