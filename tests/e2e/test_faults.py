"""A program of the stack is killed, suspended or started again."""

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from gateway.settings import Settings
from tests.support.processes import command_line, suspend
from tests.support.stack import NGINX, START_S, answers
from tests.support.waiting import SOON_S, until
from tools.local_stack import LocalStack

SLOW_S = 0.8 * Settings.from_env({}).model_deadline_s


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack that every test leaves working."""
    if not NGINX:
        pytest.skip("nginx is not installed")
    with LocalStack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack.start()


def post(url, data, outcomes=None):
    """Post one image; count the outcome by status, Retry-After, and whether it took most of a call's deadline."""
    started = time.monotonic()
    response = requests.post(f"{url}/api/v1/models/digits/predict", files={"image": data}, timeout=15)
    if outcomes is not None:
        outcomes[response.status_code, response.headers.get("Retry-After"), time.monotonic() - started > SLOW_S] += 1
    return response


def all_workers_answer(stack, data):
    """Return whether 20 requests in a row succeed, so that every worker has answered some."""
    return all(post(stack.url, data).ok for _ in range(20))


def test_a_killed_model_server_causes_fast_503_until_it_is_back(stack, golden):
    data = golden[0][0]
    done = threading.Event()
    outcomes: Counter[tuple[int, str | None, bool]] = Counter()

    def send_until_done():
        while not done.is_set():
            post(stack.url, data, outcomes)

    with ThreadPoolExecutor(8) as pool:
        try:
            senders = [pool.submit(send_until_done) for _ in range(8)]
            until(lambda: outcomes[200, None, False] > 50, within_s=20, what="50 successes")

            stack.end("model-server", signal.SIGKILL)
            until(lambda: outcomes[503, "1", False] > 50, within_s=20, what="50 refusals")
            assert post(stack.url, data).json()["type"] == "/problems/model-unavailable"
            assert requests.get(f"{stack.url}/livez", timeout=SOON_S).status_code == 200
            assert requests.get(f"{stack.url}/readyz", timeout=SOON_S).status_code == 503

            stack.start_model_server()
            status_url = f"{stack.rest_url()}/v1/models/digits"
            until(lambda: answers(status_url), within_s=START_S, what="model server back")
            until(lambda: post(stack.url, data).ok, within_s=SOON_S, what="success")
        finally:
            done.set()
        for future in senders:
            future.result()

    assert {status for status, _, _ in outcomes} == {200, 503}
    assert not any(slow for _, _, slow in outcomes), f"a response took more than {SLOW_S} s"


def test_a_suspended_model_server_is_a_timeout(stack, golden):
    until(lambda: all_workers_answer(stack, golden[0][0]), within_s=20, what="every worker connected")
    pid = stack.pid("model-server")

    suspend(pid)
    try:
        started = time.monotonic()
        response = post(stack.url, golden[0][0])
        assert response.status_code == 504
        assert response.json()["type"] == "/problems/deadline-exceeded"
        assert time.monotonic() - started < stack.settings.request_deadline_s + SOON_S
    finally:
        os.kill(pid, signal.SIGCONT)

    until(lambda: post(stack.url, golden[0][0]).ok, within_s=SOON_S, what="success after the resumption")


def test_nginx_answers_for_a_stopped_gateway(stack, golden):
    stack.end("gateway", signal.SIGTERM)

    response = post(stack.url, golden[0][0])

    assert response.status_code == 503
    assert response.json()["type"] == "/problems/gateway-unavailable"
    assert response.headers["Retry-After"]
    stack.start_gateway()
    until(lambda: post(stack.url, golden[0][0]).ok, within_s=20, what="success with the new gateway")


def test_killed_workers_are_replaced(stack, golden):
    workers = set(stack.workers())
    assert workers

    for worker in workers:
        assert "gunicorn" in command_line(worker)
        os.kill(worker, signal.SIGKILL)

    until(lambda: post(stack.url, golden[0][0]).ok, within_s=20, what="success with new workers")
    until(lambda: workers.isdisjoint(stack.workers()), within_s=20, what="the killed workers removed")
    until(lambda: all_workers_answer(stack, golden[0][0]), within_s=20, what="every new worker answers")
