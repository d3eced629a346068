"""A request that cannot be answered gets the right status and a problem that says what to do."""

import base64
import json
import socket
import struct
import zlib

import cv2
import numpy as np
import pytest
import requests

from tests.support.stack import processes_of
from tools.processes import resident_bytes

JPEG = cv2.imencode(".jpg", np.random.default_rng(1).integers(0, 256, (120, 90, 3), np.uint8))[1].tobytes()
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MULTIPART = {"Content-Type": "multipart/form-data; boundary=edge"}
PART_WITHOUT_NAME = b'--edge\r\nContent-Disposition: form-data; filename="a"\r\n\r\nbytes\r\n--edge--\r\n'
ENDLESS_HEADERS = b"--edge\r\n" + b"A: b\r\n" * 500_000
NOT_FOUND_URL = "http://127.0.0.1:9/x"


def png_bomb(side):
    """Return a valid PNG of side x side black pixels of one bit, compressed to a few kB."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((side // 8 + 1) * side), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


CASES = {
    "text file": ({"files": {"image": b"just text"}}, 415, "unsupported-image-format"),
    "raw text": ({"data": b"just text", "headers": {"Content-Type": "text/plain"}}, 415, "unsupported-media-type"),
    "bytes without a type": ({"data": b"\x01\x02\x03"}, 415, "unsupported-media-type"),
    "empty body": ({}, 400, "bad-request"),
    "empty image body": ({"data": b"", "headers": {"Content-Type": "image/png"}}, 400, "bad-request"),
    "empty file": ({"files": {"image": ("a.png", b"")}}, 400, "bad-request"),
    "truncated JPEG": ({"files": {"image": JPEG[: len(JPEG) // 2]}}, 422, "unreadable-image"),
    "bomb": ({"files": {"image": png_bomb(20_000)}}, 413, "image-too-large"),
    "too many bytes": ({"data": bytes(11 << 20), "headers": {"Content-Type": "image/png"}}, 413, "body-too-large"),
    "both": ({"json": {"url": NOT_FOUND_URL, "image": base64.b64encode(JPEG).decode()}}, 400, "bad-request"),
    "none": ({"json": {}}, 400, "bad-request"),
    "empty strings": ({"json": {"image_base64": "", "image_url": ""}}, 400, "bad-request"),
    "not JSON": ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "bad-request"),
    "not an object": ({"json": [1]}, 400, "bad-request"),
    "deeply nested": ({"data": b'{"url":' + b"[" * 5_000, "headers": JSON}, 400, "bad-request"),
    "very many objects": (
        {"data": b'{"instances":[' + b"{}," * 1_000_000 + b"{}]}", "headers": JSON},
        400,
        "bad-request",
    ),
    "very many fields": ({"data": b"url=&" * 1_000_000, "headers": FORM}, 400, "bad-request"),
    "part without a name": ({"data": PART_WITHOUT_NAME, "headers": MULTIPART}, 400, "bad-request"),
    "endless headers of a part": ({"data": ENDLESS_HEADERS, "headers": MULTIPART}, 400, "bad-request"),
    "text instead of a file": ({"files": {"file": (None, "some text!")}}, 400, "bad-request"),
    "half a character": ({"data": b'{"url": "http://a/\\ud800"}', "headers": JSON}, 422, "fetch-refused"),
    "other port": ({"json": {"url": "http://1.1.1.1:22/x"}}, 422, "fetch-refused"),
    "not base64": ({"json": {"image": "!!!"}}, 400, "bad-request"),
    "loopback": ({"json": {"url": "http://127.0.0.1/x"}}, 422, "fetch-refused"),
    "metadata address": ({"json": {"url": "http://169.254.169.254/latest"}}, 422, "fetch-refused"),
    "file URL": ({"json": {"url": "file:///etc/passwd"}}, 422, "fetch-refused"),
    "top_k": ({"files": {"image": JPEG}, "params": {"top_k": "0"}}, 400, "bad-request"),
}


def assert_problem(response, status, slug):
    """Check that a response is a complete problem, and return the problem."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.mark.parametrize("case", CASES)
def test_a_request_that_cannot_be_answered_is_a_problem(stack, case):
    arguments, status, slug = CASES[case]

    response = requests.post(stack.predict_url, timeout=20, **arguments)

    assert_problem(response, status, slug)


def test_gunicorn_refuses_a_query_that_is_not_utf8(stack):
    with socket.create_connection(("127.0.0.1", stack.ports.front), timeout=20) as connection:
        connection.sendall(b"POST /api/v1/predict?top_k=\xc6 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        head = connection.recv(65536)

    assert head.startswith(b"HTTP/1.1 400 ")


def test_the_problem_of_an_unknown_model_lists_the_models(stack):
    response = requests.post(f"{stack.url}/api/v1/models/cats/predict", files={"image": JPEG}, timeout=10)

    assert "digits" in assert_problem(response, 404, "model-not-found")["detail"]


def test_the_problem_of_a_wrong_method_lists_the_allowed_ones(stack):
    response = requests.get(stack.predict_url, timeout=10)

    assert_problem(response, 405, "method-not-allowed")
    assert set(response.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}


def test_an_unknown_path_is_not_found(stack):
    assert_problem(requests.get(f"{stack.url}/api/v2/predict", timeout=10), 404, "not-found")


def test_metrics_are_served_by_the_gateway_but_not_by_nginx(stack):
    outside = requests.get(f"{stack.url}/metrics", timeout=10)
    inside = requests.get(f"http://127.0.0.1:{stack.ports.gateway}/metrics", timeout=10)

    assert_problem(outside, 404, "not-found")
    assert "gateway_requests_total" in inside.text


def test_a_url_that_is_missing_or_serves_text_is_a_problem(stack, image_host):
    folder, host = image_host
    (folder / "words.png").write_text("not an image")

    missing = requests.post(stack.predict_url, json={"url": f"http://{host}/missing.png"}, timeout=10)
    text = requests.post(stack.predict_url, json={"url": f"http://{host}/words.png"}, timeout=10)

    assert "404" in assert_problem(missing, 422, "fetch-failed")["detail"]
    assert_problem(text, 415, "unsupported-image-format")


def test_memory_does_not_grow_under_invalid_requests(stack):
    def total_bytes():
        gateway = processes_of(stack.process, "gunicorn")
        assert gateway
        return sum(map(resident_bytes, gateway))

    def send_all_cases():
        for arguments, status, _ in CASES.values():
            assert requests.post(stack.predict_url, timeout=20, **arguments).status_code == status

    for _ in range(5):
        send_all_cases()  # until every worker has handled every case, and the allocator has reserved its memory
    before = total_bytes()

    for _ in range(10):
        send_all_cases()

    assert total_bytes() - before < 20 * 2**20


def test_problems_of_nginx_have_the_same_form(stack):
    response = requests.get(f"{stack.url}/{'a' * 10_000}", timeout=10)

    assert_problem(response, 414, "uri-too-long")
    assert json.loads(response.text)["status"] == 414
