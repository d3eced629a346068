"""A fetcher that counts outcomes for the metrics."""

from typing import Unpack

from gateway.errors import GatewayError
from gateway.fetching.fetcher import Fetcher, FetchOptions
from gateway.observability import metrics


class CountedFetcher:
    """Counts the outcomes of another fetcher."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def fetch(self, url: str, **options: Unpack[FetchOptions]) -> bytes:
        """Return the bytes behind a URL; see `Fetcher.fetch`."""
        try:
            content = self._fetcher.fetch(url, **options)
        except GatewayError as error:
            metrics.FETCHES.labels(error.slug).inc()
            raise
        metrics.FETCHES.labels(metrics.ANSWERED).inc()
        return content
