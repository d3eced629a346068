"""A fetcher that counts outcomes for the metrics."""

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.fetching.fetcher import Allowance, Fetcher
from gateway.observability import metrics


class CountedFetcher:
    """Counts the outcomes of another fetcher."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def fetch(self, url: str, *, deadline: Deadline, allowance: Allowance) -> bytes:
        """Return the bytes behind a URL; see `Fetcher.fetch`."""
        try:
            content = self._fetcher.fetch(url, deadline=deadline, allowance=allowance)
        except GatewayError as error:
            metrics.FETCHES.labels(error.slug).inc()
            raise
        metrics.FETCHES.labels(metrics.ANSWERED).inc()
        return content
