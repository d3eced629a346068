"""Metrics of jobs, read from the store whenever they are scraped: they are the same in every gateway."""

from collections.abc import Iterator

import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.errors import GatewayError
from gateway.jobs.store import JobStore

FINISHED = ("done", "failed", "cancelled")
GAUGES = {
    "unfinished": ("gateway_jobs_unfinished", "Jobs that are queued or running."),
    "chunks": ("gateway_jobs_chunks", "Chunks of jobs that are not computed yet: the length of the queue."),
    "bytes": ("gateway_jobs_stored_bytes", "Size of all jobs, images and results."),
}

log = structlog.get_logger(__name__)


class JobCollector(Collector):
    """Collects the counts of a store; while it cannot be read, there are none."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        try:
            totals = self._store.totals()
        except GatewayError as error:
            log.warning("job_metrics_unavailable", reason=error.detail, cause=str(error.__cause__))
            return
        yield CounterMetricFamily("gateway_jobs_created", "Jobs accepted.", totals.get("created", 0))
        finished = CounterMetricFamily("gateway_jobs_finished", "Jobs finished.", labels=["status"])
        for status in FINISHED:
            finished.add_metric([status], totals.get(status, 0))
        yield finished
        images = CounterMetricFamily("gateway_job_images", "Images of jobs that have a result.", labels=["outcome"])
        for outcome in ("answered", "problems"):
            images.add_metric([outcome], totals.get(outcome, 0))
        yield images
        for name, (metric, text) in GAUGES.items():
            yield GaugeMetricFamily(metric, text, totals.get(name, 0))
