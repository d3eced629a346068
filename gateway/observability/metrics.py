"""Prometheus metrics, created once per process and shared by all workers through files.

Every label has a bounded set of values: routes by their rule, not their path; models and versions that are served, not
names from requests; problems by their type; classes up to a limit.
"""

import functools
import os
import struct
import tempfile
from pathlib import Path
from typing import TypeVar

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess, values
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from gateway import __version__
from gateway.errors import MetricsUnavailableError
from gateway.observability.metric_files import MULTIPROCESS_DIR, FileValue
from gateway.observability.process_metrics import ProcessCollector

FILE_BYTES = {
    "gauge_max": 64 * 1024,
    "gauge_livemin": 64 * 1024,
    "gauge_livesum": 64 * 1024,
    "counter": 512 * 1024,
    "histogram": 512 * 1024,
}
"""Space to reserve for each file of a process, by prometheus_client's name for its type and mode.

A series takes some 200 bytes: the counters of two models of a thousand classes and of eight others fit, and the
histograms of these ten. A file that grows beyond is not reserved in advance.
"""
FIRST_FILE = "gauge_max"
"""The file that each process has from its start."""
UNREAD = "gateway-unread-metrics-"
IN_MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  # the file system, not a file

log = structlog.get_logger(__name__)

if MULTIPROCESS_DIR in os.environ:  # set by `gunicorn_conf`
    values.ValueClass = FileValue

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)

ANSWERED = "answered"
"""Outcome of a success; the outcome of a failure is the slug of its error."""
OTHER_CLASS = "(other)"

REQUESTS = Counter(
    "gateway_requests_total",
    "Requests answered; model and version are empty if the request used none.",
    ["route", "method", "status", "outcome", "model", "version"],
)
REQUEST_SECONDS = Histogram("gateway_request_seconds", "Time to answer a request.", ["route"], buckets=SECONDS)
STAGE_SECONDS = Histogram(
    "gateway_stage_seconds",
    "Time that a prediction spent in a stage, added up over the images of a batch.",
    ["stage", "model"],
    buckets=SECONDS,
)
REQUESTS_IN_PROGRESS = Gauge(
    "gateway_requests_in_progress", "Requests in progress, including those that wait.", multiprocess_mode="livesum"
)
REQUEST_THREADS = Gauge(
    "gateway_request_threads",
    "Requests that all live workers can process at the same time.",
    multiprocess_mode="livesum",
)

IMAGES = Counter("gateway_images_total", "Images sent to a model.", ["model", "version", "outcome"])
TOP_CLASSES = Counter("gateway_top_class_total", "Images by the class with the highest score.", ["model", "class"])
TOP_SCORES = Histogram("gateway_top_score", "Highest score of an image.", ["model"], buckets=SCORES)
CACHE = Counter("gateway_cache_total", "Images by the result of the cache: hit, miss or collapsed.", ["outcome"])
FETCHES = Counter("gateway_fetches_total", "Images fetched by URL.", ["outcome"])

BUILD_INFO = Gauge(
    "gateway_build_info", "Always 1; the label is the gateway's version.", ["version"], multiprocess_mode="max"
)
BUILD_INFO.labels(__version__).set(1)

MODEL_VERSION = Gauge(
    "gateway_model_version",
    "Number of the version that is used, or 0 if there is none; the lowest of all workers.",
    ["model"],
    multiprocess_mode="livemin",
)
VERSION_STARTS = Counter(
    "gateway_version_starts_total", "Times that a worker began to use a version.", ["model", "version"]
)
SWAP_RETRIES = Counter(
    "gateway_swap_retries_total", "Requests retried because their version was unloaded meanwhile.", ["model"]
)


Metric = TypeVar("Metric", Counter, Gauge, Histogram)


@functools.cache
def child(metric: Metric, *values: str | int) -> Metric:
    """Return the child of a metric for these label values.

    Cached, because every request uses a dozen of them and prometheus_client looks each up under a lock. The cache is
    bounded because the values are.
    """
    return metric.labels(*values)


def allocate_files() -> None:
    """Reserve space for the metrics of this process, before its first metric; called after a fork.

    prometheus_client maps its files into memory, where a write without space ends the process with SIGBUS. A process
    that gets no space writes its metrics to a directory that is never read.
    """
    shared = Path(os.environ[MULTIPROCESS_DIR])
    try:
        shared.mkdir(parents=True, exist_ok=True)
        for kind, size in FILE_BYTES.items():
            _allocate(shared / f"{kind}_{os.getpid()}.db", size)
    except OSError as error:
        log.warning("metrics_unavailable", reason=error.strerror)
        os.environ[MULTIPROCESS_DIR] = tempfile.mkdtemp(prefix=UNREAD, dir=IN_MEMORY)


def _allocate(path: Path, size: int) -> None:
    """Let a file have at least this many bytes; a new one appears with all of them, for it may be read at any time."""
    if path.exists():  # of an earlier process with this id
        with path.open("ab") as file:
            file.write(bytes(max(0, size - file.tell())))
    else:
        unnamed = path.with_suffix(".new")
        unnamed.write_bytes(bytes(size))
        unnamed.rename(path)


def render(collector: Collector | None = None) -> tuple[bytes, str]:
    """Return the exposition page with the metrics of all workers, and its content type.

    Args:
        collector: Collects metrics that are not those of a process.

    Raises:
        MetricsUnavailableError: The files with the metrics were removed or damaged.
    """
    registry = CollectorRegistry()
    if collector is not None:
        registry.register(collector)
    if MULTIPROCESS_DIR not in os.environ:  # there is one process, whose own metrics prometheus_client has
        return generate_latest() + generate_latest(registry), CONTENT_TYPE_LATEST
    registry.register(ProcessCollector(os.getppid()))
    directory = Path(os.environ[MULTIPROCESS_DIR])
    if directory.name.startswith(UNREAD) or not (directory / f"{FIRST_FILE}_{os.getpid()}.db").exists():
        raise MetricsUnavailableError("The directory of the metrics was removed, or is full.")
    try:
        multiprocess.MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
        return generate_latest(registry), CONTENT_TYPE_LATEST
    except (OSError, ValueError, RuntimeError, LookupError, struct.error) as error:
        raise MetricsUnavailableError("The files of the metrics are damaged.") from error
