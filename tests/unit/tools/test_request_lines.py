import json

import pytest

from gateway.http.request_context import QUIET_ROUTES
from tools.request_lines import HEALTH_CHECKS, MAX_LINES, RequestLines


@pytest.fixture
def log(tmp_path):
    """Return a function that logs a request, by the gateway unless another program is named."""

    def log(program="gateway", **fields):
        line = {"level": "info", "event": "request", "method": "POST", "path": "/api/v1/predict", "status": 200}
        with (tmp_path / f"{program}.log").open("a", encoding="utf-8") as file:
            file.write(f"{json.dumps({**line, 'duration_ms': 12.6, **fields})}\n")

    return log


@pytest.fixture
def lines(tmp_path):
    return RequestLines(tmp_path)


def test_a_request_is_one_line_with_its_class_problem_or_images(lines, log):
    log(**{"class": "macaw"})
    log(images=3)
    log(status=415, problem="unsupported-format")
    log(method="GET", path="/")

    assert lines.read() == [
        "POST /api/v1/predict  200  macaw  13 ms",
        "POST /api/v1/predict  200  3 images  13 ms",
        "POST /api/v1/predict  415  unsupported-format  13 ms",
        "GET /  200  13 ms",
    ]
    assert lines.read() == []


def test_the_line_of_a_batch_counts_its_failed_images(lines, log):
    log(images=1, failed=0)
    log(images=3, failed=2)

    assert lines.read() == [
        "POST /api/v1/predict  200  1 image  13 ms",
        "POST /api/v1/predict  200  3 images, 2 failed  13 ms",
    ]


def test_the_line_of_a_request_that_cannot_be_read_has_no_gaps(lines, log):
    log("nginx", method="", path="(not printable ASCII)", status=400, problem="bad-request")
    log("nginx", method="CONNECT", path="", status=400, problem="bad-request")

    assert lines.read() == ["(not printable ASCII)  400  bad-request  13 ms", "CONNECT  400  bad-request  13 ms"]


def test_of_nginx_only_its_own_refusals_are_shown(lines, log):
    log("nginx", duration_ms=14)
    log("nginx", status=413, problem="body-too-large", duration_ms=0)

    assert lines.read() == ["POST /api/v1/predict  413  body-too-large  0 ms"]


def test_earlier_requests_health_checks_and_debugging_are_left_out(tmp_path, log):
    log(path="/earlier")
    lines = RequestLines(tmp_path)

    for path in HEALTH_CHECKS:
        log(path=path)
    log("nginx", path="/readyz", status=503, problem="gateway-unavailable")
    log(level="debug")

    assert lines.read() == []


def test_paths_that_the_gateway_logs_at_level_debug_are_health_checks():
    assert HEALTH_CHECKS == QUIET_ROUTES


def test_control_characters_are_escaped_and_long_paths_cut(lines, log):
    log(path="/\x1b[31m\nforged 200", **{"class": "a\rb"})
    log(path="/" + "x" * 5000, **{"class": "y" * 5000})

    forged, long = lines.read()

    assert forged == r"POST /\x1b[31m\nforged 200  200  a\rb  13 ms"
    assert len(long) < 300


def test_many_requests_at_once_are_counted(lines, log):
    for _ in range(MAX_LINES + 2):
        log()
    log(status=503)

    *_, last = found = lines.read()

    assert len(found) == MAX_LINES + 1
    assert last == "... and 3 more: 2 with status 200, 1 with status 503"


def test_lines_that_are_not_requests_say_nothing(tmp_path, lines, log):
    (tmp_path / "gateway.log").write_text('"event": "request"\n{"event": "request"}\n[]\n{"event": "request", "x')
    log("nginx", event="other", problem="x")

    assert lines.read() == []
