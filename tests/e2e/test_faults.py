"""A part of the stack dies, freezes or comes back."""

import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.stack import NGINX, START_S, answers, children, command_line
from tests.support.waiting import until
from tools.local_stack import LocalStack


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Programs that each test leaves running and working, whatever it did to them."""
    if not NGINX:
        pytest.skip("nginx is not installed")
    with LocalStack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack.start()


def ask(url, data, seen=None):
    """Post one image; note status, Retry-After and how long it took."""
    started = time.monotonic()
    response = requests.post(f"{url}/api/v1/models/digits/predict", files={"image": data}, timeout=15)
    if seen is not None:
        seen[response.status_code, response.headers.get("Retry-After"), time.monotonic() - started > 2] += 1
    return response


def all_workers_answer(stack, data):
    """Tell whether 20 answers in a row are right, which every worker has a part in."""
    return all(ask(stack.url, data).ok for _ in range(20))


def test_model_server_killed_under_load_and_started_again(stack, golden):
    data = golden[0][0]
    done = threading.Event()
    seen: Counter[tuple[int, str | None, bool]] = Counter()

    def keep_asking():
        while not done.is_set():
            ask(stack.url, data, seen)

    with ThreadPoolExecutor(8) as pool:
        try:
            asking = [pool.submit(keep_asking) for _ in range(8)]
            until(lambda: seen[200, None, False] > 50, within_s=20, what="50 answers")
            stack.end("model-server", signal.SIGKILL)
            until(lambda: seen[503, "1", False] > 50, within_s=20, what="50 refusals")
            assert ask(stack.url, data).json()["type"] == "/problems/model-unavailable"
            assert requests.get(f"{stack.url}/livez", timeout=5).status_code == 200
            assert requests.get(f"{stack.url}/readyz", timeout=5).status_code == 503
            stack.start_model_server()
            back = f"{stack.rest_url()}/v1/models/digits"
            until(lambda: answers(back), within_s=START_S, what="model server back")
            until(lambda: ask(stack.url, data).ok, within_s=2, what="answers again within 2 s")
        finally:
            done.set()
        for future in asking:
            future.result()
    assert {status for status, _, _ in seen} == {200, 503}
    assert not any(slow for _, _, slow in seen), "somebody had to wait"


def test_model_server_frozen_is_a_timeout(stack, golden):
    until(lambda: all_workers_answer(stack, golden[0][0]), within_s=20, what="every worker connected")
    pid = stack.pid("model-server")
    os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        response = ask(stack.url, golden[0][0])
        assert response.status_code == 504
        assert response.json()["type"] == "/problems/deadline-exceeded"
        assert time.monotonic() - started < stack.settings.request_deadline_s + 2
    finally:
        os.kill(pid, signal.SIGCONT)
    until(lambda: ask(stack.url, golden[0][0]).ok, within_s=10, what="answers after the thaw")


def test_gateway_away_is_answered_by_nginx(stack, golden):
    stack.end("gateway", signal.SIGTERM)
    response = ask(stack.url, golden[0][0])
    assert response.status_code == 503
    assert response.json()["type"] == "/problems/gateway-unavailable"
    assert response.headers["Retry-After"]
    stack.start_gateway()
    until(lambda: ask(stack.url, golden[0][0]).ok, within_s=20, what="answers again")


def test_a_killed_worker_is_replaced(stack, golden):
    workers = children(stack.pid("gateway"))
    assert workers
    for worker in workers:
        assert "gunicorn" in command_line(worker)
        os.kill(worker, signal.SIGKILL)
    until(lambda: ask(stack.url, golden[0][0]).ok, within_s=20, what="answers by new workers")
    gone = set(workers)
    until(lambda: gone.isdisjoint(children(stack.pid("gateway"))), within_s=20, what="the dead workers taken away")
    until(lambda: all_workers_answer(stack, golden[0][0]), within_s=20, what="every new worker answers")
