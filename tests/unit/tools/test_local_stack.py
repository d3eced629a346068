"""When a stack counts as ready."""

from collections.abc import Callable

import pytest

from tools import local_stack
from tools.local_stack import STEADY_S, wait_until_steady

PROBE_S = 2 * STEADY_S


class Clock:
    """A stack whose time passes only in its probes, of which each takes longer than it must be steady."""

    def __init__(self, *answers: bool) -> None:
        self.now_s = 0.0
        self.answers = list(answers)

    def monotonic(self) -> float:
        return self.now_s

    def is_ready(self) -> bool:
        self.now_s += PROBE_S
        return self.answers.pop(0)

    def wait_until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        while not condition():
            assert self.now_s < timeout_s


@pytest.mark.parametrize(
    "answers",
    [(True, True), (False, True, True), (True, False, True, True)],
    ids=["at once", "later", "interrupted"],
)
def test_a_stack_is_steady_from_its_first_positive_answer_on(monkeypatch: pytest.MonkeyPatch, answers: tuple[bool]):
    clock = Clock(*answers)
    monkeypatch.setattr(local_stack, "time", clock)

    wait_until_steady(clock, clock.is_ready, timeout_s=60)

    assert clock.answers == []
