"""Spans of OpenTelemetry: of requests, of fetches and of calls to the model server. The extra `tracing` brings it.

Where they are sent, how many of them and under which name, the variables of OpenTelemetry say:
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
"""URLs that are asked all the time, and tell nothing."""
URL_ATTRIBUTES = ("http.target", "http.url", "url.query")
"""Attributes of a server's span in which the query stands, in the older and the newer conventions."""


def start() -> None:
    """Send spans from now on, and trace each call of Predict over channels made from now on; after the fork."""
    os.environ.setdefault("OTEL_SERVICE_NAME", SERVICE_NAME)
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    # W3C Trace Context alone. Baggage would carry whatever a client sends on to the model server.
    set_global_textmap(TraceContextTextMapPropagator())
    # The registry polls the versions every second.
    GrpcInstrumentorClient(filter_=filters.method_name("Predict")).instrument()  # type: ignore[no-untyped-call]


def instrument(app: Flask) -> None:
    """Trace the requests of an application, and let its log lines name the trace."""
    FlaskInstrumentor().instrument_app(  # type: ignore[no-untyped-call]
        app, excluded_urls=PROBES, response_hook=_without_query
    )
    before = app.before_request_funcs[None]
    before.insert(0, before.pop())  # so that a request that one of the others refuses is traced too
    app.before_request(_bind_trace)


def _bind_trace() -> None:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        structlog.contextvars.bind_contextvars(trace_id=trace.format_trace_id(context.trace_id))


def _without_query(span: Any, _: str, __: Any) -> None:
    for name in URL_ATTRIBUTES:
        if span.is_recording() and name in span.attributes:
            span.set_attribute(name, "" if name == "url.query" else request.path)
