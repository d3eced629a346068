"""A worker of jobs: `python -m gateway.jobs.worker`, any number of them, beside the gateway or elsewhere."""

import logging
import os
import signal
import sys
import threading
import time
from types import FrameType

import structlog

from gateway.errors import GatewayError
from gateway.jobs.chunks import ChunkLimits, ChunkRunner
from gateway.jobs.deliveries import Deliveries
from gateway.jobs.setup import make_store, make_webhook_poster
from gateway.jobs.store import JobStore
from gateway.jobs.wakeups import WakeUps, make_queue
from gateway.jobs.webhooks import WebhookLimits, Webhooks
from gateway.observability.logs import configure
from gateway.runtime.malloc import bound_memory
from gateway.services import connect, make_configured_models, make_fetcher, make_services
from gateway.settings import Settings, SettingsError

TICK_S = 0.5
SWEEP_S = 60.0
HEALTH_CHECK_S = 10.0
LEASE_PARTS = 3
"""How often a lease is renewed before it would end."""
FIRST_POLL_S, MAX_POLL_S, POLL_BACKOFF = 0.05, 0.5, 1.2
"""How often SQLite is asked for wake-ups; Redis tells by itself."""

log = structlog.get_logger(__name__)


class Worker:
    """Takes wake-ups from the queue, and looks after the store.

    Args:
        settings: The settings.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        own = worker_settings(settings)
        self._server = connect(own)
        self._services = make_services(
            own,
            server=self._server,
            fetcher=make_fetcher(own),
            configured_models=make_configured_models(own),
        )
        self._store = make_store(settings)
        self._runner = ChunkRunner(
            self._store,
            self._services.predictor,
            self._services.admission,
            ChunkLimits(settings.jobs_chunk_deadline_s, settings.jobs_retry_s, max(1, settings.jobs_threads // 2)),
        )
        webhooks = Webhooks(
            self._store,
            make_webhook_poster(settings),
            root=settings.root_path,
            limits=WebhookLimits(settings.jobs_webhook_deadline_s, settings.jobs_webhook_retry_s),
        )
        self._deliveries = Deliveries(self._store, webhooks.deliver, threads=settings.jobs_webhook_threads)
        self._wakeups = WakeUps(make_queue(settings), self.run_chunk)

    def run_chunk(self, job_id: str, turn: int) -> None:
        """Compute the next chunk of a job."""
        self._runner.run(job_id, turn, self._wakeups)

    def run(self, stop: threading.Event) -> None:
        """Work until the event is set, then finish or give back what was begun."""
        consumer = self._wakeups.queue.create_consumer(
            workers=self._settings.jobs_threads,
            periodic=False,
            initial_delay=FIRST_POLL_S,
            max_delay=MAX_POLL_S,
            backoff=POLL_BACKOFF,
            shutdown_timeout=self._settings.graceful_timeout_s,
        )
        registry = self._services.registry
        registry.watch(self._settings.models_poll_s, deadline_s=self._settings.model_deadline_s)
        consumer.start()
        _stop_on_signals(stop)  # consumer.start has set handlers of its own
        log.info("worker_started", threads=self._settings.jobs_threads)
        housekeeping = Housekeeping(
            self._store, self._runner, self._wakeups, self._deliveries, self._settings.jobs_lease_s
        )
        checked_s = time.monotonic()
        while not stop.wait(TICK_S):
            housekeeping.tick()
            self._beat()
            if time.monotonic() - checked_s > HEALTH_CHECK_S:
                checked_s = time.monotonic()
                consumer.check_worker_health()
        log.info("worker_stopping")
        consumer.stop_flag.set()  # first, so that no wake-up that the runner puts back is taken again
        self._runner.drain()
        consumer.stop(graceful=True)
        self._deliveries.close()
        registry.close()
        self._store.close()

    def _beat(self) -> None:
        if self._settings.jobs_heartbeat_file is not None:
            self._settings.jobs_heartbeat_file.touch()


class Housekeeping:
    """What is done from time to time: wake workers for what is due, renew leases, delete what has expired.

    Every worker does it. What is due is given to one of them.
    """

    def __init__(
        self, store: JobStore, runner: ChunkRunner, wakeups: WakeUps, deliveries: Deliveries, lease_s: float
    ) -> None:
        self._store = store
        self._runner = runner
        self._wakeups = wakeups
        self._deliveries = deliveries
        self._renewal_s = lease_s / LEASE_PARTS
        self._renewed_s = time.monotonic()
        self._swept_s = 0.0
        self._is_failing = False

    def tick(self) -> None:
        """Do what is due."""
        try:
            self._tick(time.monotonic())
            self._is_failing = False
        except GatewayError as error:
            if not self._is_failing:
                log.warning("job_storage_failed", reason=error.detail, cause=str(error.__cause__))
            self._is_failing = True

    def _tick(self, now_s: float) -> None:
        if now_s - self._renewed_s >= self._renewal_s:
            self._renewed_s = now_s
            self._runner.renew_leases()
        for job_id, turn in self._store.due_jobs():
            self._wakeups.wake(job_id, turn)
        self._deliveries.dispatch()
        if now_s - self._swept_s >= SWEEP_S:
            self._swept_s = now_s
            self._store.sweep()


def worker_settings(settings: Settings) -> Settings:
    """Return the settings of a worker, whose threads each compute one chunk.

    Half of the slots are for batches, which chunks are. A quarter of the places fetch images of one client, and there
    are as many as threads and waiting requests together.
    """
    slots = 2 * settings.jobs_threads * settings.jobs_chunk_images
    places = 4 * settings.jobs_threads
    return settings.model_copy(
        update={
            "threads": slots,
            "max_waiting": places - slots,
            "max_wait_s": settings.jobs_chunk_deadline_s,
            "max_body_bytes": settings.jobs_chunk_images * settings.fetch_max_bytes,
        }
    )


def main() -> int:
    """Run a worker until SIGTERM or SIGINT; return its exit status."""
    try:
        settings = Settings.from_env(os.environ)
        if settings.jobs == "off":
            raise SettingsError("jobs are off: set GATEWAY_JOBS=sqlite or redis")  # noqa: TRY301
        configure(level=settings.log_level, as_json=settings.log_json)
        # It logs every task, and every half second that Redis is away, which `Housekeeping` logs once.
        logging.getLogger("huey").setLevel(logging.CRITICAL)
        os.nice(settings.jobs_nice)
        bound_memory()
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    except SettingsError as error:
        print(f"worker: {error}", file=sys.stderr)  # noqa: T201  # as gunicorn_conf does
        return 1
    try:
        worker = Worker(settings)
    except (SettingsError, OSError) as error:  # OSError: the folder of the jobs
        log.critical("start_failed", reason=str(error))
        return 1
    worker.run(threading.Event())
    return 0


def _stop_on_signals(stop: threading.Event) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


if __name__ == "__main__":
    sys.exit(main())
