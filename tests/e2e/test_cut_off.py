"""One of two model servers is cut off: its packets vanish, and nobody says so."""

import contextlib
import os
import subprocess

import pytest

from bench.asking import RIGHT, Asking
from bench.parts import HERE, START_S, Host, Parts, wait_until
from tools import nginx

pytestmark = pytest.mark.timeout(600)
NAME = f"cut{os.getpid()}"
NEAR, FAR = "10.203.117.1", "10.203.117.2"
LAID = (
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
    """Lay a cable to a network namespace, where a program is as on another machine."""
    try:
        for command in LAID:
            ip(command)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace can be made here: {error}")
    else:
        yield Host(FAR, ("ip", "netns", "exec", NAME))
    finally:
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            ip(f"ip netns delete {NAME}")


def test_requests_go_on_at_the_other_one_and_it_is_used_again_when_it_is_back(tmp_path, far):
    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    with Parts(tmp_path, hosts=(HERE, far), environment={"GATEWAY_WORKERS": "2"}) as parts:
        parts.start()
        golden = parts.base / "1" / "assets.extra" / "golden"
        with Asking(parts.predict_url, golden) as asking:
            wait_until(lambda: parts.calls(1) > 20, START_S, "both are in use")
            ip(f"ip -n {NAME} link set far down")
            asking.await_answers(500)
            here = parts.calls(0)
            asking.await_answers(200)
            assert parts.calls(0) - here >= 150  # the one that is left answers nearly all
            ip(f"ip -n {NAME} link set far up")
            wait_until(lambda: parts.serves(1), START_S, "it can be reached again")
            before = parts.calls(1)
            wait_until(lambda: parts.calls(1) > before + 20, START_S, "it is used again")
            asking.await_answers(50)
    assert asking.told.keys() == {RIGHT}, asking.told
