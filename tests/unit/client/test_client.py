"""The client against a fake gateway that keeps the contract: routes, forms and limits."""

import io
from http import HTTPStatus

import numpy as np
import pytest

from image_gateway_client import (
    AsyncClient,
    Client,
    Health,
    ModelVersion,
    NoAnswerError,
    Prediction,
    Problem,
    ProblemError,
    UnexpectedAnswerError,
)
from model_server.rest.app import html_error
from tests.support.contract_gateway import Reply, busy, problem


def summarize(outcomes):
    return [outcome.status if isinstance(outcome, Problem) else outcome.label for outcome in outcomes]


def test_one_image_is_sent_as_its_bytes(gateway, client):
    answer = client.classify(b"cat 1")
    assert (answer.label, answer.score, answer.model) == ("cat", 0.75, ModelVersion("pets", 3))
    assert answer.predictions == (Prediction("cat", 3, 0.75), Prediction("else", 0, 0.25))
    (seen,) = gateway.seen
    assert (seen.method, seen.path, seen.query, seen.images) == ("POST", "/api/v1/predict", {}, (b"cat 1",))
    assert seen.headers["Content-Type"] == "application/octet-stream"


def test_a_file_a_path_and_a_url(gateway, client, tmp_path):
    path = tmp_path / "x.jpg"
    path.write_bytes(b"dog 1")
    assert client.classify(path).label == client.classify(str(path)).label == "dog"
    assert client.classify(io.BytesIO(b"owl 1")).label == "owl"
    assert client.classify("https://a.example/bird").label == "bird"
    assert gateway.seen[-1].headers["Content-Type"] == "application/json"


def test_an_array_is_sent_as_png(gateway, client):
    gateway.script.append(problem(415))
    with pytest.raises(ProblemError):
        client.classify(np.zeros((4, 4, 3), np.uint8))
    assert gateway.batches[0][0].startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({}, "/api/v1/predict"),
        ({"model": None, "version": None}, "/api/v1/predict"),
        ({"model": "pets"}, "/api/v1/models/pets/predict"),
        ({"model": "pets", "version": 0}, "/api/v1/models/pets/versions/0/predict"),
        ({"model": "pets", "label": "stable"}, "/api/v1/models/pets/labels/stable/predict"),
        ({"model": "a b ?", "label": "ü"}, "/api/v1/models/a%20b%20%3F/labels/%C3%BC/predict"),
    ],
)
def test_a_model_a_version_and_a_label_have_their_routes(gateway, client, options, path):
    client.classify(b"cat", **options)
    client.classify_batch([b"cat", b"dog"], **options)
    assert {seen.path for seen in gateway.seen} == {path}


@pytest.mark.parametrize("name", ["", ".", "..", "pets/versions/1", "a\nb", "../pets"])
def test_a_name_that_would_lead_to_another_route_is_not_sent(gateway, client, name):
    for ask in (
        lambda: client.classify(b"cat", model=name),
        lambda: client.classify_many([b"cat"], model=name),
        lambda: client.classify_batch([b"cat"], model="pets", label=name),
        lambda: client.classify(b"cat", model="pets", version=name),
        lambda: client.submit_job([b"cat"], model=name),
        lambda: client.model(name),
    ):
        with pytest.raises(ValueError, match="is not a valid name of a"):
            ask()
    assert gateway.seen == []


@pytest.mark.parametrize("options", [{"version": 1}, {"label": "x"}, {"model": "m", "version": 1, "label": "x"}])
def test_options_that_contradict_each_other_are_refused_before_anything_is_sent(gateway, client, options):
    for ask in (lambda: client.classify(b"cat", **options), lambda: client.classify_many([b"cat"], **options)):
        with pytest.raises(ValueError, match=r"name it|not both"):
            ask()
    assert gateway.seen == []


@pytest.mark.parametrize(
    ("options", "query"),
    [
        ({"top_k": 3, "threshold": 0.25}, {"top_k": "3", "threshold": "0.25"}),
        ({"threshold": 0.0}, {"threshold": "0.0"}),
        ({"threshold": -0.0}, {"threshold": "0.0"}),
        ({"threshold": np.float32(-0.0)}, {"threshold": "0.0"}),
        ({"explain": True}, {"explain": "true"}),
        ({"explain": "raw"}, {"explain": "raw"}),
        ({"explain": False, "top_k": None, "threshold": None}, {}),
    ],
)
def test_options_are_sent_in_the_query_of_every_request_form(gateway, client, options, query):
    client.classify(b"cat", **options)
    client.classify_batch([b"cat", "http://a.example/dog"], **options)
    list(client.classify_many([b"cat", b"dog"], **options))
    assert [seen.query for seen in gateway.seen] == [query] * 3


def test_a_refused_image_raises_its_problem(client):
    with pytest.raises(ProblemError, match="422 The image cannot be decoded") as refused:
        client.classify(b"bad")
    assert refused.value.problem.type == "/problems/unreadable-image"
    assert refused.value.problem.request_id == "r-1"


def test_a_file_that_cannot_be_read_is_not_sent(gateway, client, tmp_path):
    with pytest.raises(FileNotFoundError):
        client.classify(tmp_path / "none.jpg")
    with Client(gateway.url, max_image_bytes=3) as small, pytest.raises(OSError, match="More than 3 bytes"):
        small.classify(b"four")
    assert gateway.seen == []


def test_a_batch_of_files_is_one_request_of_their_bytes(gateway, client):
    images = [b"cat 1", b"bad", bytes(range(256)) * 10 + b"\r\n--"]
    gateway.script.append(Reply({"results": [{"status": 422}] * 3, "model": None, "request_id": "r"}))
    assert summarize(client.classify_batch(images)) == [422] * 3
    assert gateway.batches == [tuple(images)]
    assert summarize(client.classify_batch([b"cat 1", b"bad", b"dog"])) == ["cat", 422, "dog"]


def test_a_batch_with_urls_keeps_its_order(gateway, client):
    assert summarize(client.classify_batch([b"cat", "http://a.example/dog", b"bad", b"owl"])) == [
        "cat",
        "dog",
        422,
        "owl",
    ]
    assert len(gateway.seen) == 1
    assert gateway.seen[0].headers["Content-Type"] == "application/json"


def test_a_batch_of_one_or_none(gateway, client):
    assert summarize(client.classify_batch([b"cat"])) == ["cat"]
    assert summarize(client.classify_batch([b"bad"])) == [422]
    assert client.classify_batch([]) == []
    assert len(gateway.seen) == 2


def test_a_batch_refused_as_a_whole_is_an_exception(gateway, client):
    gateway.script.append(problem(413))
    with pytest.raises(ProblemError, match="413"):
        client.classify_batch([b"cat", b"dog"])
    gateway.script.append(problem(404))
    with pytest.raises(ProblemError, match="404"):
        client.classify_batch([b"cat"])


OPTION = problem(400, type="/problems/bad-request", field="top_k")
NOT_EXPLAINABLE = problem(422, type="/problems/model-not-explainable")


@pytest.mark.parametrize("reply", [OPTION, NOT_EXPLAINABLE, problem(500, type="/problems/model-unusable")])
def test_a_fault_of_the_options_or_the_model_is_raised_however_many_images_there_are(gateway, client, reply):
    for images in ([b"cat"], [b"cat", b"dog"], ["https://a.example/cat"], [b"cat"] * 16):
        for ask in (client.classify_batch, lambda images: list(client.classify_many(images))):
            gateway.script.append(reply)
            with pytest.raises(ProblemError, match=str(reply.status)):
                ask(images)

    assert len(gateway.seen) == 8


def test_the_problem_of_an_image_is_its_outcome_however_many_images_there_are(gateway, client):
    gateway.max_bytes = 1000
    large = b"huge " + b"." * 2000

    for image, status in ((b"bad", 422), ("https://a.example/bad", 422), (large, 413)):
        assert summarize(client.classify_batch([image])) == [status]
        assert summarize(client.classify_many([image, b"cat"])) == [status, "cat"]


def test_a_file_in_a_batch_of_one_cannot_be_taken_for_json(gateway, client):
    client.classify_batch([b"cat"])
    assert gateway.seen[-1].headers["Content-Type"].startswith("multipart/form-data")


def test_another_number_of_results_than_images_is_an_error(gateway, client):
    gateway.script.append(Reply({"results": [], "model": None, "request_id": "r"}))
    with pytest.raises(UnexpectedAnswerError, match="the results of 2 images"):
        client.classify_batch([b"cat", b"dog"])


def test_many_images_are_answered_in_order(gateway, client, tmp_path):
    images = [tmp_path / "none" if n % 7 == 3 else b"bad" if n % 5 == 4 else b"n%d" % n for n in range(100)]
    expected = [None if n % 7 == 3 else 422 if n % 5 == 4 else f"n{n}" for n in range(100)]
    assert summarize(client.classify_many(iter(images), batch_size=8)) == expected
    assert max(map(len, gateway.batches)) <= 8
    assert len(gateway.batches) == 13


def test_many_images_are_split_to_fit_the_limits_of_the_gateway(gateway, client):
    gateway.max_images, gateway.max_bytes = 5, 5000
    images = [b"n%d " % n + b"." * (300 * n % 2000) for n in range(60)] + [b"huge " + b"." * 6000]
    assert summarize(client.classify_many(images)) == [f"n{n}" for n in range(60)] + [413]


def test_an_image_that_fails_the_model_fails_alone(gateway, client):
    gateway.failing = {b"n5": 502, b"n11": 504, b"n12": 500}
    outcomes = summarize(client.classify_many([b"n%d" % n for n in range(16)]))
    assert outcomes == [{5: 502, 11: 504, 12: 500}.get(n, f"n{n}") for n in range(16)]


def test_an_unusable_gateway_raises_after_the_outcomes_so_far(gateway, client):
    gateway.failing = {b"n6": 401}
    outcomes = client.classify_many([b"n%d" % n for n in range(9)], batch_size=2)
    assert summarize(next(outcomes) for _ in range(6)) == [f"n{n}" for n in range(6)]
    with pytest.raises(ProblemError, match="401"):
        next(outcomes)


def test_a_busy_gateway_only_delays(gateway, client):
    gateway.script.extend([busy(503), busy(429)])
    assert summarize(client.classify_many([b"n%d" % n for n in range(40)], batch_size=4)) == [
        f"n{n}" for n in range(40)
    ]


def test_no_images_send_no_request(gateway, client):
    assert list(client.classify_many([])) == []
    assert gateway.seen == []


def test_a_batch_size_below_1_is_refused(client):
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        client.classify_many([b"cat"], batch_size=0)


@pytest.mark.parametrize("one", ["photo.jpg", b"bytes", bytearray(b"bytes"), memoryview(b"bytes")])
def test_a_single_image_in_place_of_several_is_refused(gateway, client, one):
    for ask in (client.classify_batch, client.classify_many):
        with pytest.raises(TypeError, match="put it into a list"):
            ask(one)
    assert gateway.seen == []


def test_models(gateway, client):
    pets, birds = client.models()
    assert (pets.name, pets.default, pets.version, pets.labels) == ("pets", True, 3, ("cat", "dog"))
    assert (birds.available, birds.reason) == (False, "birds is loading.")
    assert client.model("pets").versions[0].labels == ("stable",)
    assert client.model("pets").card["metrics"] == {"accuracy": 0.9}
    with pytest.raises(ProblemError, match="404"):
        client.model("no such model")
    assert gateway.seen[-1].path == "/api/v1/models/no%20such%20model"


def test_health(gateway, client):
    assert client.health() == Health(ready=True, model=ModelVersion("pets", 3))
    assert client.ready()
    gateway.script.extend([busy(), busy()])
    state = client.health()
    assert (state.ready, state.model, state.problem.title) == (False, None, "Busy")
    assert not client.ready()
    gateway.script.append(Reply(b"<html>"))
    with pytest.raises(UnexpectedAnswerError):
        client.ready()


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (Reply(b"<html>", 404, {"Content-Type": "text/html"}), "404 Not Found: Is http://.* an Image Gateway"),
        (Reply({"detail": "Not Found"}, 404, {"Content-Type": "application/json"}), "404 .*Not Found"),
        (problem(404, "Not Found", type="/problems/not-found"), "404 Not Found"),
        (Reply({"error": "no"}, 403, {"Content-Type": "application/json"}), "403 Forbidden"),
        (Reply(html_error(HTTPStatus.NOT_FOUND).body, 404, {"Content-Type": "text/html"}), "is TensorFlow Serving"),
        (Reply({"ready": True}), r"expected the answer of /readyz, received \{\"ready\": true\} \(model is missing\)"),
    ],
)
def test_another_program_is_not_a_gateway_that_is_not_ready(gateway, client, reply, message):
    for ask in (client.health, client.ready):
        gateway.script.append(reply)
        with pytest.raises(UnexpectedAnswerError, match=message):
            ask()


def test_a_proxy_without_the_gateway_behind_it_is_not_ready(gateway, client):
    gateway.script.append(Reply(b"<h1>Bad Gateway</h1>", 502, {"Content-Type": "text/html"}))

    assert not client.ready()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"timeout": 3}, TypeError, r"Client\(\) has no option 'timeout'. Did you mean 'timeout_s'\?"),
        ({"ulr": "http://localhost"}, TypeError, "Did you mean 'url'"),
        ({"max_image_bytes": -5}, ValueError, "max_image_bytes must be from 1 to 1073741824, not -5"),
        ({"max_image_bytes": 10**18}, ValueError, "max_image_bytes must be from 1 to"),
        ({"timeout_s": float("inf")}, ValueError, "timeout_s must be above 0 and at most 2592000 seconds, not inf"),
        ({"connect_timeout_s": 1e10}, ValueError, "connect_timeout_s must be above 0 and at most"),
    ],
)
def test_settings_that_cannot_be_are_refused(kind, settings, error, message):
    with pytest.raises(error, match=message):
        kind("http://localhost", **settings)


def test_an_unreachable_gateway_is_not_ready():
    with Client("http://127.0.0.1:1") as client:
        assert not client.ready()
        with pytest.raises(NoAnswerError):
            client.health()


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("host", ["a..b", "xn--", "256.1.1.1", "a" * 64 + ".example"])
def test_a_host_that_cannot_be_one_is_refused_at_once(kind, host):
    with pytest.raises(ValueError, match=f"^'http://{host}' is not a valid gateway URL"):
        kind(f"http://{host}")


@pytest.mark.parametrize(
    "arguments", [{"url": "localhost"}, {"api_key": ""}, {"timeout_s": 0}, {"retries": -1}, {"connections": 0}]
)
def test_arguments_out_of_range_are_refused_at_once(arguments):
    with pytest.raises(ValueError, match=r"valid gateway URL|API key|must be"):
        Client(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topk": 3}, r"has no option 'topk'. Did you mean 'top_k'\? Accepted: explain, label, model, .*version\.$"),
        ({"modell": "digits"}, r"Did you mean 'model'\?"),
        ({"Threshold": 0.5}, r"Did you mean 'threshold'\?"),
        ({"xyz": None}, r"has no option 'xyz'. Accepted:"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_one(gateway, client, options, message):
    for name, ask in (
        ("classify", lambda: client.classify(b"cat", **options)),
        ("classify_batch", lambda: client.classify_batch([b"cat"], **options)),
        ("classify_many", lambda: client.classify_many([b"cat"], **options)),
    ):
        with pytest.raises(TypeError, match=rf"^{name}\(\) {message}" if message.startswith("has") else message):
            ask()
    assert gateway.seen == []


def test_a_batch_counts_its_outcomes(client):
    batch = client.classify_batch([b"cat", b"bad", b"dog"])

    assert (len(batch), batch.answered, batch.failed) == (3, 2, 1)
    assert client.classify_batch([]).answered == 0


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_the_environment_may_name_the_gateway_and_the_key(monkeypatch, kind):
    monkeypatch.setenv("IMAGE_GATEWAY_URL", "http://gateway.example:81/gw")
    monkeypatch.setenv("IMAGE_GATEWAY_API_KEY", "k-1")

    endpoint = kind.from_env(timeout_s=3)._endpoint

    assert (endpoint.url, endpoint.headers["Authorization"]) == ("http://gateway.example:81/gw", "Bearer k-1")
    assert endpoint.limits.timeout_s == 3
    assert kind.from_env(api_key="k-2")._endpoint.headers["Authorization"] == "Bearer k-2"
    assert "k-1" not in repr(endpoint)


def test_empty_variables_leave_the_defaults(monkeypatch):
    monkeypatch.setenv("IMAGE_GATEWAY_URL", "")
    monkeypatch.setenv("IMAGE_GATEWAY_API_KEY", "")

    endpoint = Client.from_env()._endpoint

    assert endpoint.url == "http://localhost:8080"
    assert "Authorization" not in endpoint.headers


def test_an_unknown_setting_is_refused():
    with pytest.raises(TypeError, match=r"from_env\(\) has no option 'timeout'. Did you mean 'timeout_s'\?"):
        Client.from_env(timeout=3)


def test_the_version_of_the_gateway(gateway, client):
    gateway.script.append(Reply({"name": "image-gateway", "version": "7.8.9"}))
    assert client.version() == "7.8.9"
    assert gateway.seen[0].path == "/version"
    with pytest.raises(ProblemError, match="404"):
        client.version()
