"""How gunicorn runs the gateway: `gunicorn -c gateway/gunicorn_conf.py gateway.wsgi:app`.

All of it comes from `gateway.settings`. The modules are imported once, before the workers are forked, which then
share their memory and are ready in a tenth of the time. The application itself is not preloaded: a gRPC channel
must be opened after the fork.
"""

import gc
import importlib
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.health import draining
from gateway.observability.logs import logging_config
from gateway.runtime.malloc import bound_memory
from gateway.settings import Settings, SettingsError

try:
    settings = Settings.from_env(os.environ)
except SettingsError as error:
    sys.exit(f"gateway: {error}")

bind = settings.bind
workers = settings.workers
worker_class = "gateway.runtime.gunicorn_worker.Worker"
# Beyond those that work or wait, see `gateway.http.admission`: refusals, health checks and pages need one for a moment.
SPARE_THREADS = 4
threads = settings.threads + settings.max_waiting + SPARE_THREADS
timeout = settings.worker_timeout_s
graceful_timeout = settings.graceful_timeout_s
# Longer than nginx keeps an idle connection, so that it is never we who close one that nginx is about to use.
keepalive = 75
# A worker's heartbeat is a file's time stamp: memory, where there is some, so that a slow disk cannot stop it.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # names the file system, no file
control_socket_disable = True
logger_class = "gateway.runtime.gunicorn_worker.ErrorLogger"
logconfig_dict = logging_config(level=settings.log_level, as_json=settings.log_json)

START_POLL_S = 0.02
METRICS_DIR = "PROMETHEUS_MULTIPROC_DIR"


def on_starting(_: Any) -> None:
    """Give the workers an empty directory for their counts, then import what they will run.

    In this order: prometheus_client looks for the directory when it is imported.
    """
    if METRICS_DIR not in os.environ:
        os.environ[METRICS_DIR] = tempfile.mkdtemp(prefix="gateway-metrics-")
    directory = Path(os.environ[METRICS_DIR])
    directory.mkdir(parents=True, exist_ok=True)
    for left in directory.glob("*.db"):
        left.unlink()
    # The linear algebra under numpy and OpenCV is not used here; its threads would not outlive the fork either.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    bound_memory()
    # OpenCV looks for its own limit when it is imported. Ours is applied first; this one is behind it.
    os.environ["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(settings.max_pixels)
    gc.disable()  # looking for garbage, of which imports leave next to none, took a tenth of their time
    app = importlib.import_module("gateway.app")
    if settings.tracing:
        try:
            app.load_tracing()
        except SettingsError as error:
            sys.exit(f"gateway: {error}")
    # What was imported stays. Looking through it for garbage again and again took a thirtieth of a request's time, and
    # the marks left in it would end the sharing of its memory.
    gc.collect()
    gc.freeze()
    gc.enable()


def when_ready(arbiter: Any) -> None:
    """Have SIGTERM turn readiness off first, and stop after `drain_delay_s`; a second one stops at once."""

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


def post_worker_init(worker: Any) -> None:
    """Wait for the default model before requests are taken, at most `start_wait_s`; until then they queue up."""
    registry = importlib.import_module("gateway.wsgi").registry
    give_up_s = time.monotonic() + settings.start_wait_s
    while worker.alive and time.monotonic() < give_up_s:
        try:
            registry.refresh(registry.default, deadline=Deadline.after(settings.model_deadline_s))
        except GatewayError:
            worker.notify()
            time.sleep(START_POLL_S)
        else:
            return


def child_exit(_: Any, worker: Any) -> None:
    """Take a worker that has ended out of what counts the workers alive; what it counted stays."""
    importlib.import_module("prometheus_client.multiprocess").mark_process_dead(worker.pid)


def on_exit(_: Any) -> None:
    """Leave no counts behind."""
    shutil.rmtree(os.environ[METRICS_DIR], ignore_errors=True)
