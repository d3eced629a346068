"""More requests than can be answered are refused at once; health checks are answered, and those let in are not lost."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from bench.drill_stack import DrillStack
from bench.faults import MAIN
from tests.support.waiting import until
from tools import nginx

pytestmark = pytest.mark.timeout(300)
WORKING, WAITING = 2, 3
ANSWER_S = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Have a gateway that takes on little, and much time for it."""
    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    environment = {
        "GATEWAY_WORKERS": "1",
        "GATEWAY_THREADS": str(WORKING),
        "GATEWAY_MAX_WAITING": str(WAITING),
        "GATEWAY_MAX_WAIT_S": "50",
        "GATEWAY_REQUEST_DEADLINE_S": "60",
        "GATEWAY_MODEL_DEADLINE_S": "60",
        "GATEWAY_WORKER_TIMEOUT_S": "90",
        "GATEWAY_MODELS_POLL_S": "60",  # the frozen model server shall not be found out
    }
    with DrillStack(tmp_path_factory.mktemp("overload"), environment=environment) as stack:
        yield stack.start()


@pytest.mark.parametrize("nginx_in_front", [True, False])
def test_what_is_too_much_is_refused_and_what_was_let_in_is_answered(stack, nginx_in_front):
    url = stack.url if nginx_in_front else stack.gateway_url
    picture = (stack.golden / "00.png").read_bytes()

    def ask(_=None):
        headers = {"Content-Type": "image/png"}
        return requests.post(f"{url}/api/v1/predict", data=picture, headers=headers, timeout=ANSWER_S)

    assert ask().ok
    with ThreadPoolExecutor(20) as pool:
        stack.send_signal(MAIN, signal.SIGSTOP)
        try:
            asked = [pool.submit(ask) for _ in range(20)]
            until(lambda: sum(future.done() for future in asked) == 20 - WORKING - WAITING, ANSWER_S, "others refused")
            for _ in range(3):
                assert requests.get(f"{url}/livez", timeout=ANSWER_S).status_code == 200
                assert requests.get(f"{url}/readyz", timeout=ANSWER_S).status_code == 503  # but it is answered
        finally:
            stack.send_signal(MAIN, signal.SIGCONT)
        answers = [future.result() for future in asked]
    assert sum(answer.ok for answer in answers) == WORKING + WAITING
    for answer in answers:
        if not answer.ok:
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/overloaded")
            assert int(answer.headers["Retry-After"]) > 0
