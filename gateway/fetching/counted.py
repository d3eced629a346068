"""Collaborators that count what comes of their work."""

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.http.problems import PROBLEMS
from gateway.observability import metrics
from gateway.prediction.image_loader import Fetcher


class CountedFetcher:
    """Counts what comes of another fetcher's work."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def fetch(self, url: str, *, deadline: Deadline) -> bytes:
        """Give the bytes behind a URL; see `Fetcher`."""
        try:
            content = self._fetcher.fetch(url, deadline=deadline)
        except GatewayError as error:
            metrics.FETCHES.labels(PROBLEMS[type(error)].slug).inc()
            raise
        metrics.FETCHES.labels(metrics.ANSWERED).inc()
        return content
