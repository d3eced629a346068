"""A fetcher that counts outcomes for the metrics."""

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.fetching.fetcher import UNLIMITED, Allowance, Fetcher
from gateway.fetching.lookups import SharedLookups
from gateway.observability import metrics


class CountedFetcher:
    """Counts the outcomes of another fetcher."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def fetch(
        self,
        url: str,
        *,
        deadline: Deadline,
        client: str = "",
        allowance: Allowance = UNLIMITED,
        lookups: SharedLookups | None = None,
    ) -> bytes:
        """Return the bytes behind a URL; see `Fetcher.fetch`."""
        try:
            content = self._fetcher.fetch(url, deadline=deadline, client=client, allowance=allowance, lookups=lookups)
        except GatewayError as error:
            metrics.FETCHES.labels(error.slug).inc()
            raise
        metrics.FETCHES.labels(metrics.ANSWERED).inc()
        return content
