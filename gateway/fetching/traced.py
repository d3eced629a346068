"""A fetcher that writes OpenTelemetry spans. Needs the extra `tracing`."""

from typing import Unpack
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from gateway.errors import GatewayError
from gateway.fetching.fetcher import Fetcher, FetchOptions


class TracedFetcher:
    """Writes one span for each call of another fetcher.

    A span names the host and nothing else of the URL, which may contain passwords and tokens, and no trace header is
    sent to the host. OpenTelemetry's own instrumentation of requests guarantees neither.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._tracer = trace.get_tracer(__name__)

    def fetch(self, url: str, **options: Unpack[FetchOptions]) -> bytes:
        """Return the bytes behind a URL; see `Fetcher.fetch`."""
        with self._tracer.start_as_current_span(
            "fetch",
            kind=SpanKind.CLIENT,
            attributes={"server.address": _host(url)},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return self._fetcher.fetch(url, **options)
            except GatewayError as error:
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
