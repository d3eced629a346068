"""A stopping gateway drains until load balancers have noticed, or until a second signal."""

import signal
from pathlib import Path

import pytest

from bench.drill_stack import DrillStack
from tests.support.stack import NGINX
from tools.local_stack import START_S
from tools.waiting import wait_until

pytestmark = pytest.mark.skipif(not NGINX, reason="nginx is not installed")


def test_a_second_signal_ends_draining(tmp_path: Path):
    longer_than_the_test_s = "600"
    with DrillStack(tmp_path, environment={"GATEWAY_DRAIN_DELAY_S": longer_than_the_test_s}) as stack:
        stack.start()

        stack.send_signal("gateway", signal.SIGTERM)
        wait_until(lambda: not stack.is_ready(), START_S, "the gateway is draining")
        assert stack.workers()

        assert stack.end("gateway", signal.SIGTERM) == 0
