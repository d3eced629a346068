"""Under overload, excess requests are refused at once, accepted ones succeed, and health checks are answered."""

import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from bench.drill_stack import DrillStack
from bench.faults import MAIN
from tests.support.processes import suspend
from tests.support.waiting import until
from tools import nginx

pytestmark = pytest.mark.timeout(300)
THREADS, MAX_WAITING = 2, 3
RESPONSE_S = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """A stack whose gateway accepts few requests at once, but has long deadlines."""
    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    environment = {
        "GATEWAY_WORKERS": "1",
        "GATEWAY_THREADS": str(THREADS),
        "GATEWAY_MAX_WAITING": str(MAX_WAITING),
        "GATEWAY_MAX_WAIT_S": "50",
        "GATEWAY_REQUEST_DEADLINE_S": "60",
        "GATEWAY_MODEL_DEADLINE_S": "60",
        "GATEWAY_WORKER_TIMEOUT_S": "90",
        "GATEWAY_MODELS_POLL_S": "60",  # so that the gateway does not notice the suspended model server
    }
    with DrillStack(tmp_path_factory.mktemp("overload"), environment=environment) as stack:
        yield stack.start()


@pytest.mark.parametrize("behind_nginx", [True, False], ids=["through nginx", "direct"])
def test_excess_requests_are_refused_and_accepted_ones_succeed(stack, behind_nginx):
    url = stack.url if behind_nginx else stack.gateway_url
    image = (stack.golden / "00.png").read_bytes()

    def post(_=None):
        headers = {"Content-Type": "image/png"}
        return requests.post(f"{url}/api/v1/predict", data=image, headers=headers, timeout=RESPONSE_S)

    assert post().ok
    with ThreadPoolExecutor(20) as pool:
        suspend(stack.pid(MAIN))
        try:
            futures = [pool.submit(post) for _ in range(20)]
            excess = 20 - THREADS - MAX_WAITING
            until(lambda: sum(future.done() for future in futures) == excess, RESPONSE_S, "excess requests refused")
            for _ in range(3):
                assert requests.get(f"{url}/livez", timeout=RESPONSE_S).status_code == 200
                assert requests.get(f"{url}/readyz", timeout=RESPONSE_S).status_code == 503  # answered at once
        finally:
            stack.send_signal(MAIN, signal.SIGCONT)
        responses = [future.result() for future in futures]

    refused = [response for response in responses if not response.ok]
    assert len(refused) == excess
    for response in refused:
        assert (response.status_code, response.json()["type"]) == (503, "/problems/overloaded")
        assert int(response.headers["Retry-After"]) > 0
