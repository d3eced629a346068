"""What Prometheus counts, made once per process and shared by all workers through files.

Every value of a label comes from a closed set: routes by their rule, never by their path; models and versions that
were found to be served, never as a request names them; problems by their type; classes up to a limit.
"""

import functools
import os
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of prometheus_client itself, set by `gunicorn_conf`: where workers leave their counts."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)

ANSWERED = "answered"
"""Outcome of what was no problem; the outcome of what was one is the last part of its type."""
OTHER_CLASS = "(other)"

REQUESTS = Counter(
    "gateway_requests_total",
    "Requests answered; model and version are empty where none was chosen.",
    ["route", "method", "status", "outcome", "model", "version"],
)
REQUEST_SECONDS = Histogram("gateway_request_seconds", "Time to an answer.", ["route"], buckets=SECONDS)
STAGE_SECONDS = Histogram(
    "gateway_stage_seconds",
    "Time that a prediction spent in a stage; the images of a batch added up.",
    ["stage", "model"],
    buckets=SECONDS,
)
REQUESTS_IN_PROGRESS = Gauge(
    "gateway_requests_in_progress", "Requests in progress, waiting ones included.", multiprocess_mode="livesum"
)
REQUEST_THREADS = Gauge(
    "gateway_request_threads", "Requests that all workers alive work on at a time.", multiprocess_mode="livesum"
)

IMAGES = Counter("gateway_images_total", "Images put to a model.", ["model", "version", "outcome"])
TOP_CLASSES = Counter("gateway_top_class_total", "Images by the class with the highest score.", ["model", "class"])
TOP_SCORES = Histogram("gateway_top_score", "Highest score of an image.", ["model"], buckets=SCORES)
CACHE = Counter("gateway_cache_total", "Images by how the cache took part: hit, miss or collapsed.", ["outcome"])
FETCHES = Counter("gateway_fetches_total", "Pictures fetched by URL.", ["outcome"])

MODEL_VERSION = Gauge(
    "gateway_model_version",
    "Number of the version that answers, 0 while none does; the lowest of all workers.",
    ["model"],
    multiprocess_mode="livemin",
)
VERSION_STARTS = Counter(
    "gateway_version_starts_total", "Times that a version began to answer, in each worker.", ["model", "version"]
)
SWAP_RETRIES = Counter(
    "gateway_swap_retries_total", "Requests asked again because the version had gone meanwhile.", ["model"]
)


Metric = TypeVar("Metric", Counter, Gauge, Histogram)


@functools.cache
def part(metric: Metric, *values: str | int) -> Metric:
    """Give the part of a metric that has these values of its labels.

    Remembered, since every request asks for a dozen of them and prometheus_client looks each up under a lock; the
    values are of closed sets.
    """
    return metric.labels(*values)


def render() -> tuple[bytes, str]:
    """Write all counts, of every worker where there are several.

    Returns:
        The page and its content type.
    """
    registry = CollectorRegistry()
    if MULTIPROCESS_DIR not in os.environ:
        return generate_latest(), CONTENT_TYPE_LATEST
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
