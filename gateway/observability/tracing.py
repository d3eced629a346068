"""OpenTelemetry spans of requests, fetches and calls to the model server. Needs the extra `tracing`.

Their destination, sampling and service name are configured by OpenTelemetry's own environment variables:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

import os
from typing import Any

import structlog
from flask import Flask, request
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.flask import FlaskInstrumentor
from opentelemetry.instrumentation.grpc import GrpcInstrumentorClient, filters
from opentelemetry.propagate import set_global_textmap
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

SERVICE_NAME = "image-gateway"
PROBES = "^[^:]+://[^/]+/(livez|readyz|metrics)$"
"""URLs that are requested constantly and need no spans."""
URL_ATTRIBUTES = ("http.target", "http.url", "url.query")
"""Attributes of a server span that contain the query, in the old and the new semantic conventions."""


def start() -> None:
    """Start sending spans, and trace calls of Predict on channels opened from now on. Call it after the fork."""
    os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE_NAME)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    # Only W3C Trace Context: baggage would forward anything that a client sends to the model server.
    set_global_textmap(TraceContextTextMapPropagator())
    # The registry polls the versions every second.
    GrpcInstrumentorClient(filter_=filters.method_name("Predict")).instrument()  # type: ignore[no-untyped-call]


def instrument(app: Flask) -> None:
    """Trace the requests of an application, and add the trace id to its log lines."""
    FlaskInstrumentor().instrument_app(  # type: ignore[no-untyped-call]
        app, excluded_urls=PROBES, response_hook=_remove_query
    )
    before = app.before_request_funcs[None]
    before.insert(0, before.pop())  # first, so that requests that another hook refuses are traced too
    app.before_request(_bind_trace)


def _bind_trace() -> None:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        structlog.contextvars.bind_contextvars(trace_id=trace.format_trace_id(context.trace_id))


def _remove_query(span: Any, _: str, __: Any) -> None:
    for name in URL_ATTRIBUTES:
        if span.is_recording() and name in span.attributes:
            span.set_attribute(name, "" if name == "url.query" else request.path)
