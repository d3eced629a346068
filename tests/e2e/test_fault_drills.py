"""Faults really done while users ask: no answer is wrong, and nothing is lost that the drill does not name."""

import pytest

from bench.classification_load import WRONG, ClassificationLoad
from bench.drill_stack import DrillStack
from bench.faults import DRILLS, THREE_SERVERS, Drill, run
from tools import nginx
from tools.load_generator import OK
from tools.local_stack import LOCALHOST

pytestmark = pytest.mark.timeout(600)  # it ends after so many answers, however long a busy machine needs for them
LONGEST_S = 2.0
SHORT = tuple(drill for drill in DRILLS if drill.seconds <= 10)
"""Minutes are for the report; shorter times of the same are among these."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    environment = {"GATEWAY_DRAIN_DELAY_S": "5", "GATEWAY_WORKERS": "2"}
    with DrillStack(tmp_path_factory.mktemp("stack"), environment=environment) as stack:
        yield stack.start()


@pytest.mark.parametrize("drill", SHORT, ids=lambda drill: drill.name)
def test_users_are_told_nothing_wrong_and_lose_no_more_than_they_must(stack: DrillStack, drill: Drill):
    load = run(drill, stack, seconds=min(drill.seconds, LONGEST_S))
    assert_no_more_lost(load, drill)


def assert_no_more_lost(load: ClassificationLoad, drill: Drill) -> None:
    assert load.counts[OK] >= 100
    assert load.counts[WRONG] == 0
    assert set(load.counts) - {OK} <= drill.costs, load.counts


@pytest.fixture(scope="module")
def three_servers(tmp_path_factory):
    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    environment = {"GATEWAY_WORKERS": "2", "GATEWAY_MODEL_DEADLINE_S": "1"}
    with DrillStack(tmp_path_factory.mktemp("three-servers"), hosts=(LOCALHOST,) * 3, environment=environment) as stack:
        yield stack.start()


@pytest.mark.parametrize("drill", THREE_SERVERS, ids=lambda drill: drill.name)
def test_of_three_model_servers_one_may_go_and_come_back_without_loss(three_servers: DrillStack, drill: Drill):
    assert_no_more_lost(run(drill, three_servers, seconds=LONGEST_S), drill)
