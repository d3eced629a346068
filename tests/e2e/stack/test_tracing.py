"""Spans of the real gateway, as a collector receives them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.grpc_relay import Relay
from tests.support.otlp import Collector, attributes
from tests.support.raw_server import RawServer, answer
from tests.support.stack import START_S, answers
from tests.support.waiting import until
from tools.committed_models import golden_images
from tools.local_stack import LocalStack

ROOT = Path(__file__).parents[3]
IMAGE = next(golden_images("digits").glob("*.png")).read_bytes()
PATIENCE_S = 30
PREDICT = "/api/v1/models/digits/predict"
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"
SECRET = "s3cr3t-in-the-query"


@dataclass
class TracedGateway:
    """A gateway that exports spans, and the servers around it."""

    url: str
    collector: Collector
    relay: Relay
    host: RawServer
    log: Path

    def request(self, number: int, path: str = PREDICT, **options: Any) -> requests.Response:
        """Send a request as part of the caller's trace with this number, and wait for its span."""
        trace = f"{number:032x}"
        headers = {"traceparent": f"00-{trace}-{PARENT}-01", "baggage": f"user={SECRET}"}
        response = requests.request(
            options.pop("method", "POST"), self.url + path, headers=headers, timeout=30, **options
        )
        until(lambda: self.server_span(number), PATIENCE_S, "the request's span")
        return response

    def spans(self, number: int) -> list[Span]:
        return [span for span in self.collector.spans if span.trace_id.hex() == f"{number:032x}"]

    def server_span(self, number: int) -> Span | None:
        spans = [span for span in self.spans(number) if span.kind == Span.SPAN_KIND_SERVER]
        return spans[0] if spans else None

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedGateway]:
    """A traced gateway with a relay between it and the model server, a collector, and a host of images."""
    settings = {"GATEWAY_TRACING": "true", "GATEWAY_WORKERS": "2", "GATEWAY_FETCH_ALLOWED_HOSTS": "127.0.0.1"}
    with LocalStack(tmp_path_factory.mktemp("traced"), environment=settings) as stack:
        collector, relay = Collector(), Relay(stack.options.grpc_port)
        with collector.serving(), relay.serving() as port, RawServer(answer(IMAGE)) as host:
            stack.start_model_server()
            stack.start_gateway(
                {
                    "GATEWAY_TFS_TARGET": f"127.0.0.1:{port}",
                    "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                    "OTEL_BSP_SCHEDULE_DELAY": "50",
                }
            )
            until(lambda: answers(f"{stack.gateway_url}/readyz"), START_S, "gateway ready")
            yield TracedGateway(stack.gateway_url, collector, relay, host, stack.log("gateway"))


def test_a_request_belongs_to_the_callers_trace(traced: TracedGateway):
    assert traced.request(1, files={"image": IMAGE}).status_code == 200

    span = traced.server_span(1)
    assert span.name == "POST /api/v1/models/<model>/predict"
    assert span.parent_span_id.hex() == PARENT
    assert attributes(span)["http.route"] == "/api/v1/models/<model>/predict"
    (name,) = {
        item.value.string_value
        for request in traced.collector.requests
        for resource in request.resource_spans
        for item in resource.resource.attributes
        if item.key == "service.name"
    }
    assert name == "image-gateway"


def test_the_model_server_receives_the_trace(traced: TracedGateway):
    response = traced.request(2, files={"image": IMAGE})
    request_id = response.headers["X-Request-ID"]

    (metadata,) = [metadata for _, metadata in traced.relay.calls if metadata.get("x-request-id") == request_id]
    version, trace, parent, flags = metadata["traceparent"].split("-")
    assert (version, trace, flags) == ("00", f"{2:032x}", "01")
    (call,) = [span for span in traced.spans(2) if span.span_id.hex() == parent]
    assert call.name == "/tensorflow.serving.PredictionService/Predict"
    assert call.parent_span_id == traced.server_span(2).span_id
    assert "baggage" not in metadata


def test_fetches_are_spans_of_the_request_and_do_not_send_the_trace_to_hosts(traced: TracedGateway):
    urls = [traced.host.url(f"/{number}?sig={SECRET}") for number in range(3)]

    response = traced.request(3, json={"instances": [{"url": url} for url in urls]})

    assert response.status_code == 200
    assert [result["class"] for result in response.json()["results"]]
    fetches = [span for span in traced.spans(3) if span.name == "fetch"]
    assert len(fetches) == 3
    assert {span.parent_span_id for span in fetches} == {traced.server_span(3).span_id}
    assert {attributes(span)["server.address"] for span in fetches} == {"127.0.0.1"}
    heads = "".join(traced.host.requests).lower()
    assert SECRET in heads  # as part of the URLs
    assert "traceparent" not in heads
    assert "baggage" not in heads


def test_spans_of_failures_have_the_status_error(traced: TracedGateway):
    assert traced.request(4, json={"url": f"http://127.0.0.1:1/{SECRET}?sig={SECRET}"}).status_code == 422
    (fetch,) = [span for span in traced.spans(4) if span.name == "fetch"]
    assert (fetch.status.code, fetch.status.message) == (Status.STATUS_CODE_ERROR, "FetchError")
    assert traced.request(5, json={"url": "http://[broken"}).status_code == 422
    assert attributes(traced.server_span(5))["http.status_code"] == "422"


def test_spans_hold_no_query_no_credentials_and_no_headers(traced: TracedGateway):
    assert traced.request(6, f"{PREDICT}?key={SECRET}", files={"image": IMAGE}).status_code == 400
    assert traced.request(7, f"/nothing?key={SECRET}", method="GET").status_code == 404
    traced.request(8, json={"url": f"http://user:{SECRET}@127.0.0.1:{traced.host.port}/{SECRET}"})

    assert attributes(traced.server_span(6))["http.target"] == PREDICT
    assert SECRET not in str(traced.collector.requests)


def test_log_lines_name_the_trace(traced: TracedGateway):
    traced.request(9, files={"image": IMAGE})

    def request_lines() -> list[dict[str, Any]]:
        return [line for line in traced.lines() if line.get("trace_id") == f"{9:032x}" and line["event"] == "request"]

    (line,) = until(request_lines, PATIENCE_S, "the request's line")
    assert line["status"] == 200


def test_probes_and_refreshes_of_the_registry_are_not_traced(traced: TracedGateway):
    def refreshes() -> int:
        return sum(method.endswith("/GetModelStatus") for method, _ in traced.relay.calls)

    earlier = refreshes()
    for path in ("/livez", "/readyz", "/metrics"):
        assert answers(traced.url + path)
    until(lambda: refreshes() > earlier + 4, PATIENCE_S, "the registry refreshed")
    traced.request(10, files={"image": IMAGE})

    names = {span.name for span in traced.collector.spans}
    assert names
    assert not [name for name in names if "GetModelStatus" in name or "livez" in name or "readyz" in name]
    assert "GET /metrics" not in names


def test_a_start_without_the_tracing_extra_names_it(tmp_path: Path):
    (tmp_path / "opentelemetry").mkdir()
    hidden = "raise ModuleNotFoundError('No module named opentelemetry')"
    (tmp_path / "opentelemetry" / "__init__.py").write_text(hidden, encoding="utf-8")
    command = [sys.executable, "-m", "gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "GATEWAY_TRACING": "true", "GATEWAY_BIND": "127.0.0.1:0"}

    process = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert process.returncode != 0
    (failure,) = [line for line in map(json.loads, process.stderr.splitlines()) if line["level"] == "critical"]
    assert failure["event"] == "start_failed"
    assert failure["reason"].startswith("GATEWAY_TRACING=true needs the extra `tracing`: ")
    assert " tools/uv.py install .venv --extra tracing." in process.stderr


@pytest.mark.parametrize(("setting", "loaded"), [("false", False), ("true", True)])
def test_opentelemetry_is_loaded_only_if_tracing_is_on(setting: str, *, loaded: bool):
    program = (
        "import os, runpy, sys\n"
        "runpy.run_path('gateway/gunicorn_conf.py')['on_starting'](None)\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')], len(os.listdir('/proc/self/task')))"
    )
    environment = {**os.environ, "GATEWAY_TRACING": setting}

    process = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )

    modules, threads = process.stdout.rsplit(maxsplit=1)
    assert (modules != "[]") == loaded
    assert threads == "1"  # threads of the master would not exist in its forked workers
