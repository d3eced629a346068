import base64
import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.fake_model_server import INSPECTION_CALLS, FakeModelServer

PREDICT = "/api/v1/predict"
URL = "https://photos.example/a.png"
STAGE = re.compile(r"([a-z]+);dur=([0-9]+\.[0-9]{3})")


def stages(header: str) -> list[str]:
    """Return the names of the stages in a Server-Timing header."""
    matches = [STAGE.fullmatch(entry) for entry in header.split(", ")]
    assert all(matches), header
    return [match[1] for match in matches if match]


# Server-Timing


def test_a_prediction_reports_its_stages(client: FlaskClient, images_by_url: dict[str, bytes], png: bytes):
    images_by_url[URL] = png
    prediction_stages = ["decode", "preprocess", "predict", "total"]
    batch = {"instances": [{"image": base64.b64encode(png).decode()}, {"url": URL}, {"image": "AAAA"}]}

    from_bytes = client.post(PREDICT, data=png, content_type="image/png")
    from_url = client.post(PREDICT, json={"url": URL})
    from_batch = client.post(PREDICT, json=batch)

    assert stages(from_bytes.headers["Server-Timing"]) == ["receive", *prediction_stages]
    assert stages(from_url.headers["Server-Timing"]) == ["receive", "fetch", *prediction_stages]
    assert stages(from_batch.headers["Server-Timing"]) == ["receive", "fetch", *prediction_stages]


def test_the_stages_of_a_single_image_take_no_longer_than_the_request(client: FlaskClient, png: bytes):
    header = client.post(PREDICT, data=png, content_type="image/png").headers["Server-Timing"]
    times = [float(STAGE.fullmatch(entry)[2]) for entry in header.split(", ")]
    assert sum(times[:-1]) <= times[-1] + 0.005  # each is rounded


def test_a_problem_reports_the_stages_before_it(client: FlaskClient, server: FakeModelServer, png: bytes):
    refused = client.post(PREDICT, data=b"hello", content_type="image/png")
    assert (refused.status_code, stages(refused.headers["Server-Timing"])) == (415, ["receive", "decode", "total"])

    invalid = client.post(PREDICT, json={"top_k": 0, "url": URL})
    assert (invalid.status_code, stages(invalid.headers["Server-Timing"])) == (400, ["receive", "total"])

    server.away = True
    away = client.post(PREDICT, data=png, content_type="image/png")
    assert (away.status_code, stages(away.headers["Server-Timing"])[-2:]) == (503, ["predict", "total"])


def test_other_responses_report_no_stages(client: FlaskClient):
    assert "Server-Timing" not in client.get("/livez").headers
    assert "Server-Timing" not in client.get(PREDICT).headers


# Host


@pytest.mark.parametrize("host", ["gateway.example", "GATEWAY:8080", "[::1]:8080", "a" * 64 + ".example", "a b", ""])
def test_a_request_is_answered_whatever_name_the_gateway_was_called_by(client: FlaskClient, host: str):
    found, missing = client.get("/livez", headers={"Host": host}), client.get("/no/such/path", headers={"Host": host})

    assert (found.status_code, missing.status_code) == (200, 404)


# X-Request-Timeout


def predict(client: FlaskClient, timeout: str, png: bytes) -> tuple[int, dict[str, object]]:
    response = client.post(PREDICT, data=png, content_type="image/png", headers={"X-Request-Timeout": timeout})
    return response.status_code, response.get_json(force=True)


def test_a_caller_may_limit_its_wait(client: FlaskClient, png: bytes):
    for timeout in ("9", "9.5", "9.999999999", "1000", "009"):
        assert predict(client, timeout, png)[0] == 200, timeout


def test_a_request_fails_after_the_callers_timeout(client: FlaskClient, server: FakeModelServer, png: bytes):
    assert predict(client, "5", png)[0] == 200

    status, document = predict(client, "0.000000001", png)

    assert (status, document["type"]) == (504, "/problems/deadline-exceeded")
    assert (
        document["detail"]
        == "The request was not answered within 1e-09 s. Send it again, with fewer or smaller images."
    )
    assert server.calls["predict"] == INSPECTION_CALLS + 1  # the request that had enough time


def test_a_caller_cannot_exceed_the_configured_deadline(make_app: Callable[..., Flask], png: bytes):
    status, document = predict(make_app(request_deadline_s=1e-9).test_client(), "1000", png)
    assert (status, document["detail"]) == (
        504,
        "The request was not answered within 1e-09 s. Send it again, with fewer or smaller images.",
    )


def test_an_invalid_timeout_is_refused(client: FlaskClient, png: bytes):
    for timeout in ("", "0", "0.0", "-1", "+1", "1s", "soon", "nan", "inf", "1e3", ".5", "5.", "1,5", "9" * 50):
        status, document = predict(client, timeout, png)

        assert (status, document["type"]) == (400, "/problems/bad-request"), timeout
        assert "X-Request-Timeout must be a number of seconds above 0" in str(document["detail"]), timeout
        assert document["request_id"], timeout


# HEAD and OPTIONS


GET_PATHS = ["/livez", "/readyz", "/metrics", "/", "/api/v1/models", "/api/v1/models/pets", "/api/v1/openapi.json"]
POST_PATHS = [
    "/api/v1/predict",
    "/api/v1/models/pets/predict",
    "/api/v1/models/pets/versions/1/predict",
    "/api/v1/models/pets/labels/stable/predict",
]


def test_head_returns_the_headers_of_get_without_the_body(client: FlaskClient):
    for path in GET_PATHS:
        with client.get(path) as get, client.head(path) as head:
            assert head.status_code == get.status_code == 200, path
            assert head.data == b"", path
            assert head.content_type == get.content_type, path


def test_predict_accepts_only_post(client: FlaskClient):
    for path in POST_PATHS:
        for method in ("HEAD", "GET", "PUT", "DELETE"):
            response = client.open(path, method=method)
            assert response.status_code == 405, (method, path)
            assert set(response.allow) == {"POST", "OPTIONS"}, (method, path)


def test_options_lists_the_allowed_methods(client: FlaskClient):
    for paths, methods in ((GET_PATHS, {"GET", "HEAD", "OPTIONS"}), (POST_PATHS, {"POST", "OPTIONS"})):
        for path in paths:
            response = client.options(path)
            assert (response.status_code, set(response.allow), response.data) == (200, methods, b""), path
