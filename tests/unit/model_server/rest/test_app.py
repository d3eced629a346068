import gzip
import json
import re

import numpy as np
import pytest

from model_server.dataplane import DataPlane
from model_server.errors import Code, InvalidArgumentError, ServingError
from model_server.monitoring import Metrics, Monitoring
from model_server.rest.app import _STATUSES, Request, RestApp
from tfs_api.tensors import to_tensor_proto


@pytest.fixture
def app(models):
    return RestApp(DataPlane(models), Monitoring(Metrics(), "/counts"), timeout_s=1.5)


def send(app, method, path, body=b"", **headers):
    response = app.respond(Request(method, path, headers, body))
    return response.status, json.loads(response.body) if response.body.startswith(b"{") else response.body


def predict(app, document, path="/v1/models/half:predict", **headers):
    return send(app, "POST", path, json.dumps(document).encode(), **headers)


def test_predict_in_both_formats(app, servable):
    assert predict(app, {"instances": [1, 2]}) == (200, {"predictions": [2.0, 4.0]})
    assert predict(app, {"inputs": {"x": [1]}}) == (200, {"outputs": [2.0]})
    assert servable.calls[0][3] == 1.5


@pytest.mark.parametrize("path", ["/versions/3", "/labels/stable", "/versions/0003"])
def test_predict_with_a_version_or_a_label(app, path):
    assert predict(app, {"instances": [1]}, f"/v1/models/half{path}:predict")[0] == 200


def test_the_path_prefix_is_case_insensitive(app):
    assert predict(app, {"instances": [1]}, "/V1/Models/half:predict")[0] == 200


def test_a_gzipped_body_is_decompressed(app):
    body = gzip.compress(b'{"instances": [1]}')
    request = Request("POST", "/v1/models/half:predict", {"content-encoding": "gzip"}, body)
    assert app.respond(request).status == 200


@pytest.mark.parametrize(
    "body", [b'{"instances": [1]}', gzip.compress(b'{"instances": [1]}')[:-4], b""], ids=["plain", "cut off", "empty"]
)
def test_invalid_gzip_counts_as_an_empty_body(app, body):
    request = Request("POST", "/v1/models/half:predict", {"content-encoding": "gzip"}, body)
    response = app.respond(request)
    assert (response.status, json.loads(response.body)) == (400, {"error": "JSON Parse error: The document is empty"})


def test_a_gzip_bomb_is_not_decompressed(app, monkeypatch):
    monkeypatch.setattr("model_server.rest.app._MAX_UNCOMPRESSED_BYTES", 1000)
    body = gzip.compress(b'{"instances": [1' + b" " * 10_000 + b"]}")
    request = Request("POST", "/v1/models/half:predict", {"content-encoding": "gzip"}, body)
    assert app.respond(request).status == 400


@pytest.mark.parametrize(
    ("document", "status", "error"),
    [
        ([1], 400, "JSON Value: [1] Is not object"),
        (
            {"signature_name": "nope", "instances": [1]},
            400,
            'Serving signature name: "nope" not found in signature def',
        ),
        ({"instances": ["a"]}, 400, None),
    ],
)
def test_invalid_predict_requests_are_refused(app, servable, document, status, error):
    answer = predict(app, document)
    assert answer[0] == status
    assert error in (None, answer[1]["error"])
    assert servable.calls == []


def test_a_signature_without_inputs_cannot_be_called(app, servable, signature_def):
    servable.signatures = {"serving_default": signature_def({}, {"y": ("DT_FLOAT", [1])})}
    assert predict(app, {"inputs": {}}) == (400, {"error": "Failed to get input map for signature: serving_default"})


@pytest.mark.parametrize(("method", "output"), [("classify", "scores"), ("regress", "outputs")])
def test_classify_and_regress_accept_examples(app, servable, signature_def, method, output):
    servable.signatures = {"s": signature_def({"inputs": ("DT_STRING", [-1])}, {output: ("DT_FLOAT", [-1])})}
    servable.error = InvalidArgumentError("it came so far")
    document = {"signature_name": "s", "examples": [{}]}
    for path in ("half", "half/versions/3", "half/labels/stable"):
        assert predict(app, document, f"/v1/models/{path}:{method}") == (400, {"error": "it came so far"})
        assert servable.calls.pop() == ("s", {"inputs": [b""]}, [output], 1.5)


@pytest.mark.parametrize("method", ["classify", "regress"])
@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        (b"", 400, "JSON Parse error: The document is empty"),
        (b"[]", 400, "JSON Value: [] Is not object"),
        (b'{"signature_name": "nope", "examples": [{}]}', 400, "No signature was found with the name: nope"),
    ],
)
def test_invalid_example_requests_are_refused(app, method, body, status, error):
    assert send(app, "POST", f"/v1/models/half:{method}", body) == (status, {"error": error})


def test_pages_of_other_origins_may_read_responses_with_cors(models):
    app = RestApp(DataPlane(models), Monitoring(Metrics(), ""), timeout_s=1, cors=True)
    allowed = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, GET",
        "Access-Control-Allow-Headers": "Content-Type",
    }
    for method, path in (("GET", "/v1/models/half"), ("GET", "/v1/models/nope"), ("OPTIONS", "/v1/models/half")):
        assert app.respond(Request(method, path)).headers == allowed
    assert app.respond(Request("GET", "/nope")).headers == {}


def test_status(app):
    status = {"version": "3", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    for path in ("/v1/models/half", "/v1/models/half/versions/3", "/v1/models/half/labels/any"):
        assert send(app, "GET", path) == (200, {"model_version_status": [status]})


def test_metadata(app):
    status, document = send(app, "GET", "/v1/models/half/metadata")
    assert status == 200
    assert document["model_spec"] == {"name": "half", "version": "3", "signature_name": ""}
    signature = document["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["x"] == {
        "name": "x_node:0",
        "dtype": "DT_FLOAT",
        "tensor_shape": {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False},
    }


def test_whole_numbers_in_metadata_have_no_decimal_point(app, servable, signature_def):
    floats = ("DT_FLOAT", [])
    half, whole = to_tensor_proto(np.float32(0.5)), to_tensor_proto(np.float32(0))
    for default, number in ((half, 0.5), (whole, 100.0)):
        default.ClearField("tensor_content")
        default.float_val.append(number)
    servable.signatures = {"s": signature_def({"a": floats, "b": floats}, {}, {"a": half, "b": whole})}
    body = app.respond(Request("GET", "/v1/models/half/metadata")).body.decode()
    assert re.findall(r'"float_val": \[\s*(\S+)\s*\]', body) in (["0.5", "100"], ["100", "0.5"])


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/v1/models/nope", 404, "no nope"),
        ("GET", "/v1/models/a%2Fb", 404, "no a/b"),
        ("GET", "/v1/models/half?x=1", 404, "no half?x=1"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", "/v1/models/", 400, "Malformed request: GET /v1/models/"),
        ("GET", "/v1/models/half/", 400, "Malformed request: GET /v1/models/half/"),
        ("GET", "/v1/models/half/versions/abc", 400, "Malformed request: GET /v1/models/half/versions/abc"),
        ("GET", "/v1/models/half:predict", 400, "Malformed request: GET /v1/models/half:predict"),
        ("PUT", "/v1/models/half", 400, "Malformed request: PUT /v1/models/half"),
        ("POST", "/v1/models/half", 400, "Malformed request: POST /v1/models/half"),
        ("POST", "/v1/models/half:predict?a=1", 400, "Malformed request: POST /v1/models/half:predict?a=1"),
        ("POST", "/v1/models/half:PREDICT", 400, "Malformed request: POST /v1/models/half:PREDICT"),
        ("POST", "/v1/models/half%3Apredict", 400, "Malformed request: POST /v1/models/half%3Apredict"),
        ("POST", "/v1/models/nope:predict", 400, "JSON Parse error: The document is empty"),
    ],
)
def test_invalid_paths_are_refused(app, method, path, status, error):
    assert send(app, method, path) == (status, {"error": error})


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/models/half", "/metrics", "/favicon.ico"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_other_paths_are_not_found_and_close_the_connection(app, method, path):
    response = app.respond(Request(method, path))
    assert (response.status, response.content_type, response.close) == (404, "text/html", True)


def test_an_invalid_escape_is_a_bad_request(app):
    assert app.respond(Request("GET", "/v1/models/half%ZZ")).status == 400


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_version_beyond_int64_is_refused_without_a_body(app, method):
    suffix = ":predict" if method == "POST" else ""
    response = app.respond(Request(method, f"/v1/models/half/versions/{2**63}{suffix}"))
    assert (response.status, response.body) == (400, b"")


@pytest.mark.parametrize(("origin", "status"), [("http://example.com", 200), ("null", 400), (None, 400)])
def test_preflight_requests(app, origin, status):
    headers = {} if origin is None else {"origin": origin}
    assert app.respond(Request("OPTIONS", "/v1/models/half:predict", headers)).status == status


def test_every_code_has_a_status(app, servable):
    for code in Code:
        servable.error = ServingError("what happened", code)
        assert predict(app, {"instances": [1]}) == (_STATUSES[code], {"error": "what happened"}), code
        assert (_STATUSES[code] < 400) == (code is Code.OK), code


def test_an_unexpected_error_is_logged_but_not_shown_to_the_client(app, servable, caplog):
    servable.error = ZeroDivisionError("secret")
    assert predict(app, {"instances": [1]}) == (500, {"error": "Internal error, see the server's log"})
    assert "secret" in caplog.text


def test_an_error_quotes_bytes_that_are_not_utf_8(app, servable):
    servable.error = InvalidArgumentError("bytes \udcff")
    response = app.respond(Request("POST", "/v1/models/half:predict", {}, b'{"instances": [1]}'))
    assert b"bytes \xff" in response.body


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_requests_are_counted_on_the_metrics_page(app, servable, method):
    predict(app, {"instances": [1]})
    predict(app, {"instances": [1]}, path="/v1/models/nope:predict")
    servable.error = InvalidArgumentError("no")
    predict(app, {"instances": [1]})
    send(app, "GET", "/v1/models/half")
    response = app.respond(Request(method, "/counts"))
    assert (response.status, response.content_type) == (200, "text/plain")
    lines = [
        line for line in response.body.decode().splitlines() if line.startswith(":tensorflow:serving:request_count")
    ]
    assert lines == [
        ':tensorflow:serving:request_count{model_name="half",status="INVALID_ARGUMENT"} 1',
        ':tensorflow:serving:request_count{model_name="half",status="OK"} 1',
        ':tensorflow:serving:request_count{model_name="nope",status="NOT_FOUND"} 1',
    ]
    assert b'request_latency_count{model_name="half",API="predict",entrypoint="REST"} 1\n' in response.body


@pytest.mark.parametrize("path", ["/counts/", "/counts?x=1", ""])
def test_only_the_exact_path_is_the_metrics_page(app, path):
    assert app.respond(Request("GET", path)).status == 404


def test_the_metrics_page_is_off_by_default(models):
    app = RestApp(DataPlane(models), Monitoring(Metrics()), timeout_s=1.5)
    assert [app.respond(Request("GET", path)).status for path in ("", "/monitoring/prometheus/metrics")] == [404, 404]


def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(app, monkeypatch):
    monkeypatch.setattr("model_server.rest.app._MAX_JSON_VALUES", 5)

    assert predict(app, {"instances": [1, 2, 3]})[0] == 200
    assert predict(app, {"instances": [1, 2, 3, 4, 5]}) == (
        400,
        {"error": "The body has about 6 JSON values; at most 5 are accepted"},
    )


@pytest.mark.parametrize("digits", [20, 5000])
def test_a_version_with_any_number_of_digits_is_out_of_range(app, digits):
    assert predict(app, {"instances": [1]}, f"/v1/models/half/versions/{'9' * digits}:predict") == (400, b"")
    assert predict(app, {"instances": [1]}, f"/v1/models/half/versions/{'3'.rjust(digits, '0')}:predict")[0] == 200


def test_deep_nesting_is_invalid(app):
    nested = "[" * 950 + "1" + "]" * 950
    status, answer = send(app, "POST", "/v1/models/half:predict", f'{{"instances": [{nested}, {nested}]}}'.encode())

    assert status == 400, answer
