"""Faults really done while users ask: no answer is wrong, and nothing is lost that the drill does not name."""

import pytest

from bench.asking import RIGHT, WRONG, Asking
from bench.faults import DRILLS, THREE_SERVERS, Drill, run
from bench.parts import HERE, Parts
from tools import nginx

pytestmark = pytest.mark.timeout(600)  # it ends after so many answers, however long a busy machine needs for them
LONGEST_S = 2.0
SHORT = tuple(drill for drill in DRILLS if drill.seconds <= 10)
"""Minutes are for the report; shorter times of the same are among these."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    environment = {"GATEWAY_DRAIN_DELAY_S": "5", "GATEWAY_WORKERS": "2"}
    with Parts(tmp_path_factory.mktemp("parts"), environment=environment) as parts:
        yield parts.start()


@pytest.mark.parametrize("drill", SHORT, ids=lambda drill: drill.name)
def test_users_are_told_nothing_wrong_and_lose_no_more_than_they_must(parts: Parts, drill: Drill):
    asking = run(drill, parts, seconds=min(drill.seconds, LONGEST_S))
    assert_no_more_lost(asking, drill)


def assert_no_more_lost(asking: Asking, drill: Drill) -> None:
    assert asking.told[RIGHT] >= 100
    assert asking.told[WRONG] == 0
    assert set(asking.told) - {RIGHT} <= drill.costs, asking.told


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    environment = {"GATEWAY_WORKERS": "2", "GATEWAY_MODEL_DEADLINE_S": "1"}
    with Parts(tmp_path_factory.mktemp("three"), hosts=(HERE,) * 3, environment=environment) as parts:
        yield parts.start()


@pytest.mark.parametrize("drill", THREE_SERVERS, ids=lambda drill: drill.name)
def test_of_three_model_servers_one_may_go_and_come_back_without_loss(three: Parts, drill: Drill):
    assert_no_more_lost(run(drill, three, seconds=LONGEST_S), drill)
