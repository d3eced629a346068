"""One of two model servers is cut off: its packets are lost without an error."""

import contextlib
import os
import subprocess

import pytest

from bench.classification_load import ClassificationLoad
from bench.drill_stack import DrillStack
from tools import nginx
from tools.load_generator import OK
from tools.local_stack import LOCALHOST, START_S, Host
from tools.waiting import wait_until

pytestmark = pytest.mark.timeout(600)
NAME = f"cut{os.getpid()}"
NEAR, FAR = "10.203.117.1", "10.203.117.2"
COMMANDS = (
    f"ip netns add {NAME}",
    f"ip link add {NAME} type veth peer name far netns {NAME}",
    f"ip address add {NEAR}/30 dev {NAME}",
    f"ip link set {NAME} up",
    f"ip -n {NAME} address add {FAR}/30 dev far",
    f"ip -n {NAME} link set far up",
    f"ip -n {NAME} link set lo up",
)


def ip(command):
    subprocess.run(command.split(), check=True, capture_output=True, timeout=30)


@pytest.fixture(scope="module")
def far():
    """A network namespace, connected by a virtual cable, where programs run as on another machine."""
    try:
        for command in COMMANDS:
            ip(command)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"network namespaces cannot be created here: {error}")
    else:
        yield Host(FAR, ("ip", "netns", "exec", NAME))
    finally:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            ip(f"ip netns delete {NAME}")


def test_no_request_fails_while_one_model_server_is_cut_off_and_comes_back(tmp_path, far):
    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    # One call for each request, as under Compose and Kubernetes, so that calls can be compared with answers.
    environment = {"GATEWAY_WORKERS": "2", "GATEWAY_CALLS_IN_FLIGHT": "0"}
    with DrillStack(tmp_path, hosts=(LOCALHOST, far), environment=environment) as stack:
        stack.start()
        with ClassificationLoad(stack.predict_url, stack.golden) as load:
            wait_until(lambda: stack.serves(1), START_S, "the second model server can be reached")
            wait_until(lambda: stack.calls(1) > 20, START_S, "both model servers are used")

            ip(f"ip -n {NAME} link set far down")
            load.await_successes(500)
            before = stack.calls(0)
            load.await_successes(200)
            assert stack.calls(0) - before >= 150  # the remaining one answers nearly all

            ip(f"ip -n {NAME} link set far up")
            wait_until(lambda: stack.serves(1), START_S, "the second model server can be reached again")
            before = stack.calls(1)
            wait_until(lambda: stack.calls(1) > before + 20, START_S, "the second model server is used again")
            load.await_successes(50)

    assert load.counts.keys() == {OK}, load.counts
