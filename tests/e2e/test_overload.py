"""More requests than can be answered are refused at once; health checks are answered, and those let in are not lost."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from bench.faults import MAIN
from bench.parts import Parts
from tests.support.waiting import until
from tools import nginx

pytestmark = pytest.mark.timeout(300)
WORKING, WAITING = 2, 3
ANSWER_S = 60


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
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
    with Parts(tmp_path_factory.mktemp("overload"), environment=environment) as parts:
        yield parts.start()


@pytest.mark.parametrize("nginx_in_front", [True, False])
def test_what_is_too_much_is_refused_and_what_was_let_in_is_answered(parts, nginx_in_front):
    url = parts.url if nginx_in_front else f"http://127.0.0.1:{parts.servers[0].gateway_port}"
    picture = (parts.base / "1" / "assets.extra" / "golden" / "00.png").read_bytes()

    def ask(_=None):
        headers = {"Content-Type": "image/png"}
        return requests.post(f"{url}/api/v1/predict", data=picture, headers=headers, timeout=ANSWER_S)

    assert ask().ok
    with ThreadPoolExecutor(20) as pool:
        parts.send(MAIN, signal.SIGSTOP)
        try:
            asked = [pool.submit(ask) for _ in range(20)]
            until(lambda: sum(future.done() for future in asked) == 20 - WORKING - WAITING, ANSWER_S, "others refused")
            for _ in range(3):
                assert requests.get(f"{url}/livez", timeout=ANSWER_S).status_code == 200
                assert requests.get(f"{url}/readyz", timeout=ANSWER_S).status_code == 503  # but it is answered
        finally:
            parts.send(MAIN, signal.SIGCONT)
        answers = [future.result() for future in asked]
    assert sum(answer.ok for answer in answers) == WORKING + WAITING
    for answer in answers:
        if not answer.ok:
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/overloaded")
            assert int(answer.headers["Retry-After"]) > 0
