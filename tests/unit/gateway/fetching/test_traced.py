import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from gateway.deadline import Deadline
from gateway.errors import FetchRefusedError
from gateway.fetching import traced
from gateway.fetching.fetcher import DisabledFetcher
from gateway.fetching.traced import TracedFetcher

URL = "https://user:password@photos.example/cat.png?token=secret"


class ConstantFetcher:
    def fetch(self, url: str, **_: object) -> bytes:  # noqa: ARG002  # the parameters of the protocol
        return b"image"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Collect the spans of fetchers that are made from now on."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traced.trace, "get_tracer", provider.get_tracer)
    return exporter


def test_a_span_names_the_host_and_nothing_else_of_the_url(spans: InMemorySpanExporter):
    assert TracedFetcher(ConstantFetcher()).fetch(URL, deadline=Deadline.after(5)) == b"image"

    (span,) = spans.get_finished_spans()
    assert (span.name, dict(span.attributes)) == ("fetch", {"server.address": "photos.example"})
    assert span.status.status_code is StatusCode.UNSET


def test_a_span_of_a_failure_has_the_name_of_the_error_and_no_message(spans: InMemorySpanExporter):
    with pytest.raises(FetchRefusedError):
        TracedFetcher(DisabledFetcher()).fetch(URL, deadline=Deadline.after(5))

    (span,) = spans.get_finished_spans()
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "FetchRefusedError")
    assert span.events == ()


def test_a_malformed_url_has_no_host(spans: InMemorySpanExporter):
    TracedFetcher(ConstantFetcher()).fetch("http://[", deadline=Deadline.after(5))

    assert spans.get_finished_spans()[0].attributes == {"server.address": ""}
