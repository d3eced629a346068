"""What Prometheus counts, made once per process and shared by all workers through files."""

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest, multiprocess
from prometheus_client.exposition import CONTENT_TYPE_LATEST

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of prometheus_client itself, set by `gunicorn_conf`: where workers leave their counts."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

REQUESTS = Counter("gateway_requests_total", "Requests answered.", ["route", "method", "status"])
REQUEST_SECONDS = Histogram("gateway_request_seconds", "Time to an answer.", ["route"], buckets=SECONDS)
PREDICTIONS = Counter("gateway_predictions_total", "Images classified.", ["model", "version"])
CACHE = Counter("gateway_cache_total", "Images by how the cache took part: hit, miss or collapsed.", ["outcome"])
PROBLEMS = Counter("gateway_problems_total", "Requests refused or failed.", ["problem"])


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
