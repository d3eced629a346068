"""What counts as a mismatch, and what a server may answer instead of probabilities."""

import dataclasses
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from train.data.examples import Example
from train.evaluation.evaluate import Evaluation
from train.export.golden import TOLERANCE
from train.verification.verify import Answer, AnswerError, Gateway, compare, parse_answer, parse_batch

FIRST, SECOND = frozenset({0}), frozenset({1})
OFFLINE = Evaluation(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), np.eye(2, dtype=bool)[[0, 0]])
SAME = [Answer(FIRST, np.array([0.9, 0.1], np.float32), 1), Answer(SECOND, np.array([0.2, 0.8], np.float32), 1)]


def document(**changes: Any) -> dict[str, Any]:
    """An answer as the gateway gives it: highest score first."""
    predictions = [
        {"class": "b", "class_id": 1, "score": 0.75},
        {"class": "a", "class_id": 0, "score": 0.25},
    ]
    best = {"class": "b", "class_id": 1, "score": 0.75}
    return best | {"predictions": predictions, "model": {"name": "two", "version": 3}, "request_id": "r"} | changes


def test_equal_answers_have_no_mismatch():
    comparison = compare(SAME, OFFLINE, version=1)
    assert comparison.mismatches == ()
    assert comparison.largest_difference == 0
    assert (comparison.images, comparison.accuracy, comparison.offline_accuracy) == (2, 0.5, 0.5)


def test_rounding_is_no_mismatch_but_is_told():
    close = [Answer(FIRST, np.array([0.9 - TOLERANCE / 2, 0.1], np.float32), 1), SAME[1]]
    comparison = compare(close, OFFLINE, version=1)
    assert comparison.mismatches == ()
    assert comparison.largest_difference == pytest.approx(TOLERANCE / 2, rel=1e-2)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (Answer(FIRST, np.array([0.899, 0.101], np.float32), 1), "a probability differs by 0.001"),
        (Answer(FIRST, np.array([np.nan, 0.1], np.float32), 1), "a probability differs by nan"),
        (Answer(SECOND, np.array([0.9, 0.1], np.float32), 1), "classes [1], offline [0]"),
        (Answer(FIRST, np.array([0.9, 0.1], np.float32), 2), "version 2 answered, compared with version 1"),
        (AnswerError("no answer"), "no answer"),
    ],
)
def test_every_difference_is_a_mismatch(answer: Answer | AnswerError, problem: str):
    comparison = compare([answer, SAME[1]], OFFLINE, version=1)
    assert [(mismatch.index, mismatch.problem) for mismatch in comparison.mismatches] == [(0, problem)]


def test_an_image_without_answer_counts_as_wrong():
    assert compare([AnswerError("x"), SAME[1]], OFFLINE, version=1).accuracy == 0


def test_predictions_are_put_in_class_order():
    answer = parse_answer(json.dumps(document()).encode(), classes=2)
    assert (answer.classes, answer.version) == (SECOND, 3)
    np.testing.assert_array_equal(answer.probabilities, np.array([0.25, 0.75], np.float32))


@pytest.mark.parametrize("there", [[], [1], [0, 1]])
def test_a_multi_label_model_names_all_that_are_there(there: list[int]):
    listed = [{"class": "ab"[number], "class_id": number, "score": 0.5} for number in there]
    answer = parse_answer(json.dumps(document(classes=listed)).encode(), classes=2)
    assert answer.classes == frozenset(there)


def test_classes_at_their_thresholds_are_compared_one_and_all():
    offline = dataclasses.replace(OFFLINE, thresholds=np.array([0.2, 0.9], np.float32))
    answers = [dataclasses.replace(answer, classes=FIRST) for answer in SAME]
    comparison = compare(answers, offline, version=1)
    assert comparison.mismatches == ()
    assert (comparison.accuracy, comparison.offline_accuracy) == (1, 1)
    less = [answers[0], dataclasses.replace(answers[1], classes=frozenset())]
    (mismatch,) = compare(less, offline, version=1).mismatches
    assert (mismatch.index, mismatch.problem) == (1, "classes [], offline [0]")


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        json.dumps(document(predictions=document()["predictions"][:1])).encode(),
        json.dumps(document(model={"name": "two"})).encode(),
        json.dumps(document(class_id=None)).encode(),
        json.dumps(document(classes=[{"class": "a"}])).encode(),
    ],
)
def test_what_is_no_full_answer_is_refused(body: bytes):
    with pytest.raises(AnswerError, match="expected the scores of 2 classes"):
        parse_answer(body, classes=2)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"7"])
def test_what_is_no_json_object_is_refused(body: bytes):
    for parse in (lambda: parse_answer(body, classes=2), lambda: parse_batch(body, classes=2, count=1)):
        with pytest.raises(AnswerError, match="expected"):
            parse()


def batch(*results: Any) -> bytes:
    return json.dumps({"results": results, "model": {"name": "two", "version": 3}, "request_id": "r"}).encode()


def test_of_a_batch_each_image_has_its_answer_or_its_problem():
    result = {name: value for name, value in document().items() if name not in {"model", "request_id"}}
    problem = {"type": "/problems/unreadable-image", "title": "x", "status": 422, "detail": "is cut off"}
    first, second, third = parse_batch(batch(result, problem, result), classes=2, count=3)
    assert isinstance(first, Answer)
    assert isinstance(third, Answer)
    assert (first.classes, first.version) == (third.classes, third.version) == (SECOND, 3)
    assert isinstance(second, AnswerError)
    assert str(second) == "answered 422: is cut off"


@pytest.mark.parametrize("results", [[], [document(), document()], [None], [{"predictions": []}]])
def test_what_is_no_batch_of_that_size_is_refused(results: list[Any]):
    with pytest.raises(AnswerError, match="expected"):
        parse_batch(batch(*results), classes=2, count=1)


def test_more_classes_than_the_model_has_are_refused():
    with pytest.raises(AnswerError, match="found others besides"):
        parse_answer(json.dumps(document()).encode(), classes=1)


@pytest.fixture
def wire() -> Iterator[tuple[str, list[tuple[str, str | None, bytes]]]]:
    """A server that answers by the body it gets; its URL, and the (path, content type, body) it was sent."""
    requests: list[tuple[str, str | None, bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):  # http.server's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            requests.append((self.path, self.headers["Content-Type"], body))
            busy = body == b"busy"
            images = body.count(b'name="image"')
            said = batch(*[document()] * images) if images else json.dumps(document()).encode()
            answer = b'{"title": "Model server is overloaded"}' if busy else said
            self.send_response(503 if busy else 200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", requests
    server.shutdown()
    server.server_close()
    thread.join()


def test_raw_bytes_go_to_the_named_model_with_their_own_type(wire):
    url, requests = wire
    png = b"\x89PNG\r\n\x1a\n rest"
    with Gateway(url, "two", classes=2) as gateway:
        assert gateway.classify(png).classes == SECOND
    assert requests == [("/api/v1/models/two/predict?top_k=2", "image/png", png)]


def test_answers_keep_the_order_and_failures_their_place(wire):
    url, _ = wire
    counted = []
    with Gateway(url, "two", classes=2, connections=3) as gateway:
        examples = [Example(b"busy" if number % 3 == 0 else b"ok", (0,)) for number in range(10)]
        answers = gateway.classify_all(examples, counted.append)
    assert [isinstance(answer, AnswerError) for answer in answers] == [number % 3 == 0 for number in range(10)]
    assert counted == [1] * 10
    assert "answered 503" in str(answers[0])
    assert "overloaded" in str(answers[0])


def test_images_go_in_batches_and_a_last_one_alone(wire):
    url, requests = wire
    counted = []
    with Gateway(url, "two", classes=2, connections=1) as gateway:
        answers = gateway.classify_all([Example(bytes([65 + number]), (0,)) for number in range(7)], counted.append, 3)
    assert [answer.classes for answer in answers] == [SECOND] * 7
    assert counted == [3, 3, 1]
    assert [kind.split(";")[0] for _, kind, _ in requests] == ["multipart/form-data"] * 2 + ["image/unknown"]
    assert [body.count(b'name="image"') for _, _, body in requests] == [3, 3, 0]


def test_a_gateway_that_is_not_there_is_told_by_its_url():
    with Gateway("http://127.0.0.1:1", "two", classes=2) as gateway, pytest.raises(AnswerError, match=r"127\.0\.0\.1"):
        gateway.classify(b"x")
