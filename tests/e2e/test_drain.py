"""The end of a gateway that is told to stop: it waits until nobody sends to it any more, unless it is told again."""

import signal
from pathlib import Path

import pytest

from bench.parts import START_S, Parts, wait_until
from tests.support.stack import NGINX

pytestmark = pytest.mark.skipif(not NGINX, reason="nginx is not installed")


def test_a_second_signal_ends_the_wait(tmp_path: Path):
    longer_than_the_test_s = "600"
    with Parts(tmp_path, environment={"GATEWAY_DRAIN_DELAY_S": longer_than_the_test_s}) as parts:
        parts.start()
        parts.send("gateway", signal.SIGTERM)
        wait_until(lambda: not parts.ready(), START_S, "the gateway says that it is about to stop")
        assert parts.workers()
        assert parts.end("gateway", signal.SIGTERM) == 0
