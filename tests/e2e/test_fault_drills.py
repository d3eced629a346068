"""Faults injected under load: no response is wrong, and only the failures that the drill names occur."""

import pytest

from bench.classification_load import WRONG, ClassificationLoad
from bench.drill_stack import DrillStack
from bench.faults import DRILLS, THREE_SERVERS, Drill, run
from tools import nginx
from tools.load_generator import OK
from tools.local_stack import LOCALHOST

pytestmark = [
    pytest.mark.in_order,  # some drills undo what earlier ones did, such as a new version
    pytest.mark.timeout(600),  # a drill ends after a number of responses, however long a busy machine takes for them
]
LONGEST_S = 2.0
SHORT = tuple(drill for drill in DRILLS if drill.seconds <= 10)
"""The longer drills are variants of these; the reliability report runs them."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    if nginx.find() is None:
        pytest.skip("nginx is not installed")
    environment = {"GATEWAY_DRAIN_DELAY_S": "5", "GATEWAY_WORKERS": "2"}
    with DrillStack(tmp_path_factory.mktemp("stack"), environment=environment) as stack:
        yield stack.start()


@pytest.mark.parametrize("drill", SHORT, ids=lambda drill: drill.name)
def test_a_fault_causes_no_wrong_response_and_only_the_named_failures(stack: DrillStack, drill: Drill):
    load = run(drill, stack, seconds=min(drill.seconds, LONGEST_S))
    assert_only_named_failures(load, drill)


def assert_only_named_failures(load: ClassificationLoad, drill: Drill) -> None:
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
def test_losing_one_of_three_model_servers_fails_no_request(three_servers: DrillStack, drill: Drill):
    assert_only_named_failures(run(drill, three_servers, seconds=LONGEST_S), drill)
