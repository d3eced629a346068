"""Several images in one request, through nginx, gunicorn, gRPC and TensorFlow."""

import base64
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import requests

from tests.support.raw_server import RawServer
from tests.support.scores import SCORE_TOLERANCE
from tests.support.waiting import until
from tools.committed_models import newest_version

pytestmark = pytest.mark.timeout(600)  # the first test may write models, with TensorFlow, and start a stack


def post(stack, path="models/digits/predict", **arguments):
    return requests.post(f"{stack.url}/api/v1/{path}", timeout=60, **arguments)


def parts(golden):
    """Return each golden image as a part `image`."""
    return [("image", (f"{number}.png", data)) for number, (data, _, _) in enumerate(golden)]


def test_a_batch_of_files_gets_the_predictions_of_separate_requests(stack, golden):
    response = post(stack, files=parts(golden), params={"top_k": 10})

    assert response.status_code == 200, response.text
    results = response.json()["results"]
    for (_, label, probabilities), result in zip(golden, results, strict=True):
        assert result["class"] == label
        scores = {item["class_id"]: item["score"] for item in result["predictions"]}
        assert [scores[index] for index in range(10)] == pytest.approx(probabilities, abs=SCORE_TOLERANCE)
    assert response.json()["model"] == {"name": "digits", "version": int(newest_version("digits").name)}
    assert response.json()["request_id"] == response.headers["X-Request-ID"]


def test_results_and_problems_of_a_batch_are_in_the_order_of_its_images(stack, golden, image_host):
    folder, host = image_host
    instances = []
    for number, (data, _, _) in enumerate(golden[:4]):
        (folder / f"batch-{number}.png").write_bytes(data)
        instances += [
            {"url": f"http://{host}/batch-{number}.png"},
            {"image": base64.b64encode(data).decode()},
        ]
    instances[3:3] = [{"url": f"http://{host}/missing.png"}, {"image": base64.b64encode(data[:60]).decode()}]
    instances += [{"url": "http://192.168.0.1/"}, {"image": "%"}, {}]

    results = post(stack, json={"instances": instances}).json()["results"]

    labels = [label for _, label, _ in golden]
    expected = [label for label in labels[:4] for _ in range(2)]
    expected[3:3] = [422, 422]
    assert [result.get("class", result.get("status")) for result in results] == [*expected, 422, 400, 400]
    assert [result["type"] for result in results if "type" in result] == [
        "/problems/fetch-failed",
        "/problems/unreadable-image",
        "/problems/fetch-refused",
        "/problems/bad-request",
        "/problems/bad-request",
    ]


def test_images_of_malicious_servers_stop_no_others_and_uploads_do_not_wait_for_them(colour_stack, image_host):
    folder, host = image_host
    red = cv2.imencode(".png", np.full((32, 32, 3), (0, 0, 255), np.uint8))[1].tobytes()
    (folder / "red.png").write_bytes(red)
    ok, chunked = b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    replies = {
        "/endless": itertools.chain([chunked + b"-1\r\n"], itertools.repeat(bytes(65536))),
        "/negative": [chunked + b"-5\r\nabc\r\n"],
        "/length": [ok + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\nabc"],
        "/hints": [b"HTTP/1.1 103 Early Hints\r\n\r\n" * 3 + ok + b"Content-Encoding: utf-8\r\n\r\n" + red],
    }

    def reply(head, send):
        path = head.split()[1]
        for part in replies.get(path, ()):
            send(part)
        if path not in replies:
            server.closing.wait(30)  # silent

    with ThreadPoolExecutor(2) as clients, RawServer(reply) as server:
        instances = [{"url": server.url(path)} for path in replies] + [{"url": f"http://{host}/red.png"}]
        results = post(colour_stack, "predict", json={"instances": instances}).json()["results"]
        sent_bytes = server.sent_bytes

        silent = {"instances": [{"url": server.url(f"/{number}")} for number in range(64)]}
        slow = [clients.submit(post, colour_stack, "predict", json=silent) for _ in range(2)]
        until(lambda: len(server.requests) >= len(replies) + 2)
        upload = post(colour_stack, "predict", files={"image": red})
        assert not any(future.done() for future in slow)

    assert upload.status_code == 200
    assert [result.get("class", result.get("status")) for result in results] == [422, 422, 413, "red", "red"]
    assert sent_bytes < 40_000_000  # the socket buffers, and no more


def test_at_most_64_images_are_accepted(stack, golden):
    instances = [{"image": base64.b64encode(golden[number % 10][0]).decode()} for number in range(65)]

    response = post(stack, json={"instances": instances[:64]})
    refused = post(stack, json={"instances": instances})

    assert [result["class"] for result in response.json()["results"]] == [golden[n % 10][1] for n in range(64)]
    assert (refused.status_code, refused.json()["type"]) == (413, "/problems/too-many-images")
    assert refused.json()["max_images"] == 64


def test_a_batch_is_one_line_of_the_log(stack, golden):
    post(stack, files=parts(golden[:3]), headers={"X-Request-ID": "one-batch"})

    until(lambda: "one-batch" in stack.log("gateway"), within_s=10, what="line of the request")
    (line,) = [json.loads(line) for line in stack.log("gateway").splitlines() if "one-batch" in line]
    assert (line["status"], line["images"], line["failed"]) == (200, 3, 0)


def test_a_batch_for_a_multi_label_model_gets_the_classes_above_the_threshold(colour_stack):
    def paint(red, green, blue):
        return cv2.imencode(".png", np.full((20, 30, 3), (blue, green, red), np.uint8))[1].tobytes()

    files = [("file", paint(240, 200, 240)), ("file", paint(10, 20, 30))]

    first, second = post(colour_stack, "models/lights/predict", files=files).json()["results"]
    strict, _ = post(colour_stack, "models/lights/predict", files=files, data={"threshold": "0.9"}).json()["results"]

    assert {item["class"] for item in first["classes"]} == {"red", "green", "blue"}
    assert second["classes"] == []
    assert second["class"] == "blue"
    assert {item["class"] for item in strict["classes"]} == {"red", "blue"}
