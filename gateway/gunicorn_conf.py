"""Configuration of gunicorn: `gunicorn -c gateway/gunicorn_conf.py gateway.wsgi:app`.

Everything comes from `gateway.settings`. The modules are imported once, before the workers are forked: the workers then
share their memory and start ten times as fast. The application itself is not preloaded, because a gRPC channel must be
opened after the fork.
"""

import gc
import importlib
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import getproxies_environment

import structlog

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.health import draining
from gateway.observability.logs import configure, log_stray_output, logging_config
from gateway.runtime import listening
from gateway.runtime.malloc import bound_memory
from gateway.runtime.stray_output import StrayOutput
from gateway.settings import Settings, SettingsError

try:
    settings = Settings.from_env(os.environ)
except SettingsError as error:
    sys.exit(f"gateway: {error}")

SPARE_THREADS = 4
"""Threads for refusals, health checks and pages while all others work or wait (see `gateway.capacity`)."""
IDLE_CONNECTIONS = 860
"""Connections of a worker that may stay open between requests, in addition to one for each thread."""
MIN_IDLE_CONNECTIONS = 64
"""At least as many as nginx keeps open to the gateway."""
OTHER_FILES = 64
"""Open files of a worker that are not connections of callers: logs, metrics, the model server, Redis."""
START_POLL_S = 0.02
METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"


def _count_connections(threads: int) -> int:
    """Return how many connections a worker accepts, within the limit of open files, which is raised if permitted.

    Exits if the limit is too low: a worker that has no idle connections closes each connection after its response.
    """
    other_files = OTHER_FILES + settings.threads + settings.fetch_threads  # each of these threads may fetch an image
    min_files = threads + MIN_IDLE_CONNECTIONS + other_files
    limit = _raise_file_limit(threads + IDLE_CONNECTIONS + other_files)
    if limit < min_files:
        sys.exit(
            f"gateway: GATEWAY_THREADS={settings.threads}, GATEWAY_MAX_WAITING={settings.max_waiting} and "
            f"GATEWAY_FETCH_THREADS={settings.fetch_threads} need {min_files} open files in each worker, but the limit "
            f"is {limit}. Lower these settings, or raise the limit (`ulimit -n`)."
        )
    return min(threads + IDLE_CONNECTIONS, limit - other_files)


def _raise_file_limit(files: int) -> int:
    """Raise the soft limit of open files to `files` where the hard limit permits it; return what may be open.

    A terminal on macOS permits 256, and any number on demand.
    """
    limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return files
    if limit < files:
        limit = files if hard_limit == resource.RLIM_INFINITY else min(files, hard_limit)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard_limit))
    return limit


bind = listening.expand(settings.bind)
workers = settings.workers
worker_class = "gateway.runtime.gunicorn_worker.Worker"
threads = settings.places + SPARE_THREADS
worker_connections = _count_connections(threads)
timeout = settings.worker_timeout_s
graceful_timeout = settings.graceful_timeout_s
# Longer than nginx keeps an idle connection, so that gunicorn never closes one that nginx is about to use.
keepalive = 75
# What fits into one of nginx's buffers: its limits are also those of a gateway without nginx. A header may be a space
# longer behind nginx than in front of it.
limit_request_line = 8190
limit_request_field_size = 8200
# Headers of proxies: the application reads the only one that it needs, X-Forwarded-For, by itself.
secure_scheme_headers: dict[str, str] = {}
forwarder_headers = ""
# A worker's heartbeat is the time stamp of a file; in memory, a slow disk cannot delay it.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # the file system, not a file
control_socket_disable = True
logger_class = "gateway.runtime.gunicorn_worker.ErrorLogger"
logconfig_dict = logging_config(level=settings.log_level, as_json=settings.log_json)


def on_starting(_: Any) -> None:
    """Make an empty directory for the metrics of the workers, then import the modules that they run.

    The order matters: prometheus_client reads the directory from the environment when it is imported.
    """
    if METRICS_DIR not in os.environ:
        os.environ[METRICS_DIR] = tempfile.mkdtemp(prefix="gateway-metrics-")
    directory = Path(os.environ[METRICS_DIR])
    directory.mkdir(parents=True, exist_ok=True)
    for stale_file in directory.glob("*.db"):
        stale_file.unlink()
    # The gateway needs no parallel linear algebra, and OpenBLAS' threads would not survive the fork.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.platform == "darwin" and not getproxies_environment():
        # Otherwise a worker that exports traces asks macOS for proxies, with a framework that ends forked processes.
        os.environ["no_proxy"] = "*"
    bound_memory()
    # A second line of defence behind the gateway's own limit. OpenCV reads it when it is imported.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(settings.max_pixels)
    gc.disable()  # imports leave hardly any garbage, and looking for it took a tenth of their time
    importlib.import_module("gateway.app")
    if settings.tracing:
        try:
            importlib.import_module("gateway.services").load_tracing()
        except SettingsError as error:
            configure(level=settings.log_level, as_json=settings.log_json)
            structlog.get_logger(__name__).critical("start_failed", reason=str(error))
            sys.exit(1)
    # Imported objects are never freed. Scanning them for garbage took 3 % of the time of a request, and the collector's
    # marks would make every worker copy the shared memory.
    gc.collect()
    gc.freeze()
    gc.enable()


def when_ready(arbiter: Any) -> None:
    """Let SIGTERM switch readiness off first, and stop after `drain_delay_s`; a second SIGTERM stops at once."""

    def stop(*_: object) -> None:
        arbiter.signal(signal.SIGTERM, None)

    def drain(*_: object) -> None:
        if draining.is_active() or settings.drain_delay_s == 0:
            stop()
        else:
            draining.start()
            signal.setitimer(signal.ITIMER_REAL, settings.drain_delay_s)

    signal.signal(signal.SIGALRM, stop)
    signal.signal(signal.SIGTERM, drain)
    configure(level=settings.log_level, as_json=settings.log_json)
    arbiter.stray_output = StrayOutput(log_stray_output)


def post_fork(arbiter: Any, _: Any) -> None:
    """Prepare a new worker: its output goes to the log, and its metrics have space."""
    arbiter.stray_output.redirect()
    importlib.import_module("gateway.observability.metrics").allocate_files()


def post_worker_init(worker: Any) -> None:
    """Wait up to `start_wait_s` for the default model before accepting requests, which queue up meanwhile."""
    registry = importlib.import_module("gateway.wsgi").registry
    deadline_s = time.monotonic() + settings.start_wait_s
    while worker.alive and time.monotonic() < deadline_s:
        try:
            registry.refresh(registry.default, deadline=Deadline.after(settings.model_deadline_s))
        except GatewayError:
            worker.notify()
            time.sleep(START_POLL_S)
        else:
            return


def child_exit(_: Any, worker: Any) -> None:
    """Remove a worker that has ended from the gauges of live workers; its counters stay."""
    importlib.import_module("prometheus_client.multiprocess").mark_process_dead(worker.pid)


def on_exit(arbiter: Any) -> None:
    """Log the last output of the workers, and delete their metrics."""
    if hasattr(arbiter, "stray_output"):
        arbiter.stray_output.close()
    shutil.rmtree(os.environ[METRICS_DIR], ignore_errors=True)
