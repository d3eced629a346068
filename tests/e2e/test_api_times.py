"""Deadlines of callers, Server-Timing, HEAD, OPTIONS and CORS, through nginx and in a browser."""

import re
import socket

import pytest
import requests

pytestmark = pytest.mark.timeout(600)  # the first test may write models, with TensorFlow, and start a stack
TIMING = re.compile(r"[a-z]+;dur=[0-9.]+(, [a-z]+;dur=[0-9.]+)*")


@pytest.fixture
def silent_host():
    """The host:port of a server that accepts connections and never responds."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def stages(response):
    """Return the names of the stages in Server-Timing."""
    assert TIMING.fullmatch(response.headers["Server-Timing"])
    return [entry.partition(";")[0] for entry in response.headers["Server-Timing"].split(", ")]


def test_every_response_lists_its_stages(stack, golden):
    response = requests.post(stack.predict_url, files={"image": golden[0][0]}, timeout=30)
    problem = requests.post(stack.predict_url, json={"image": "AAAA"}, timeout=30)

    assert stages(response) == ["receive", "decode", "preprocess", "predict", "total"]
    assert (problem.status_code, stages(problem)) == (415, ["receive", "decode", "total"])


def test_a_request_ends_at_its_callers_deadline(colour_stack, silent_host):
    response = requests.post(
        f"{colour_stack.url}/api/v1/predict",
        json={"url": f"http://{silent_host}/"},
        headers={"X-Request-Timeout": "2"},
        timeout=30,
    )

    assert (response.status_code, response.json()["type"]) == (504, "/problems/deadline-exceeded")
    assert "within 2 s" in response.json()["detail"]
    assert stages(response) == ["receive", "fetch", "total"]


def test_a_batch_ends_at_its_callers_deadline(colour_stack, silent_host):
    response = requests.post(
        f"{colour_stack.url}/api/v1/predict",
        json={"instances": [{"url": f"http://{silent_host}/{number}"} for number in range(3)]},
        headers={"X-Request-Timeout": "2"},
        timeout=30,
    )

    assert (response.status_code, response.json()["type"]) == (504, "/problems/deadline-exceeded")


def test_a_timeout_that_is_not_a_number_is_refused(stack, golden):
    response = requests.post(
        stack.predict_url, files={"image": golden[0][0]}, headers={"X-Request-Timeout": "soon"}, timeout=30
    )

    assert (response.status_code, response.json()["type"]) == (400, "/problems/bad-request")


def test_head_and_options_pass_nginx(stack):
    head = requests.head(f"{stack.url}/api/v1/models", timeout=10)
    options = requests.options(stack.predict_url, timeout=10)
    refused = requests.head(stack.predict_url, timeout=10)

    assert (head.status_code, head.content) == (200, b"")
    assert (options.status_code, options.headers["Allow"].count("POST")) == (200, 1)
    assert (refused.status_code, "POST" in refused.headers["Allow"]) == (405, True)


def test_other_origins_have_no_access_by_default(stack):
    response = requests.get(f"{stack.url}/api/v1/models", headers={"Origin": "https://app.example"}, timeout=10)

    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("Access-Control")]


SEND_RED_DOT = """async (url) => {
    const image = "R0lGODlhAQABAIAAAP8AAP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==";
    const headers = { "Content-Type": "application/json", "X-Request-Timeout": "20", "X-Request-ID": "from-a-page" };
    const response = await fetch(url, { method: "POST", body: JSON.stringify({ image }), headers });
    const readable = [response.headers.get("X-Request-ID"), response.headers.get("Server-Timing")];
    return [response.status, ...readable, (await response.json()).class];
}"""


def test_a_page_of_an_allowed_origin_can_send_requests_and_read_headers(browser, colour_stack, image_host):
    folder, host = image_host
    (folder / "page.html").write_text("<!doctype html><title>Elsewhere</title>", encoding="utf-8")
    page = browser.new_page()
    page.goto(f"http://{host}/page.html")

    status, request_id, timing, label = page.evaluate(SEND_RED_DOT, f"{colour_stack.url}/api/v1/predict")

    page.close()
    assert (status, request_id, label) == (200, "from-a-page", "red")
    assert TIMING.fullmatch(timing)
