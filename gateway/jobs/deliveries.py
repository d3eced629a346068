"""Deliver webhooks on threads of their own: a receiver that hangs holds up neither jobs nor other callers."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import structlog

from gateway.errors import GatewayError
from gateway.jobs.store import JobStore

SHARE_PARTS = 4
"""One caller gets one of so many parts of the threads."""

log = structlog.get_logger(__name__)


class Deliveries:
    """Makes the attempts at webhooks that are due, a few of one caller at a time.

    Args:
        store: Where the jobs are.
        deliver: Makes one attempt at the webhook of a job; see `Webhooks`.
        threads: Number of attempts at the same time.
    """

    def __init__(self, store: JobStore, deliver: Callable[[str], None], *, threads: int) -> None:
        self._store = store
        self._deliver = deliver
        self._threads = threads
        self._share = max(1, threads // SHARE_PARTS)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="webhook")
        self._by_caller: Counter[str] = Counter()
        self._is_closed = False
        self._lock = Lock()

    def dispatch(self) -> None:
        """Begin the attempts that are due, as far as there are threads for their callers.

        Raises:
            JobsUnavailableError: The storage cannot be used.
        """
        with self._lock:
            free = self._threads - self._by_caller.total()
            if free <= 0 or self._is_closed:
                return
            busy = [caller for caller, count in self._by_caller.items() if count >= self._share]
            for job_id, caller in self._store.due_webhooks(free, busy=busy):
                self._by_caller[caller] += 1
                self._pool.submit(self._attempt, job_id, caller)

    def close(self) -> None:
        """Wait for the attempts in progress; others are made by another worker when their leases end."""
        with self._lock:
            self._is_closed = True
        self._pool.shutdown(cancel_futures=True)

    def _attempt(self, job_id: str, caller: str) -> None:
        try:
            try:
                self._deliver(job_id)
            finally:
                with self._lock:
                    self._by_caller[caller] -= 1
                    self._by_caller = +self._by_caller  # forget those without attempts
            self.dispatch()
        except GatewayError as error:  # the lease of the attempt ends by itself
            log.warning("job_storage_failed", reason=error.detail, cause=str(error.__cause__))
        except Exception:
            log.exception("webhook_crashed", job=job_id)
