import grpc
import pytest

from gateway.deadline import Deadline
from gateway.errors import DeadlineExceededError
from gateway.model_client import retry_policy
from gateway.model_client.retry_policy import QUEUE_FULL, Failure, RetryBudget, RetryPolicy, is_overload

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
LATE = grpc.StatusCode.DEADLINE_EXCEEDED
POLICY = RetryPolicy(call_deadline_s=4, max_retries=3, hang_threshold_s=1)


class StatusError(grpc.RpcError):
    """An error as gRPC raises it."""

    def __init__(self, code: grpc.StatusCode, details: str | None = None) -> None:
        super().__init__()
        self._code = code
        self._details = details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details


def failure(code: grpc.StatusCode, duration_s: float = 0.01, details: str | None = None) -> Failure:
    return Failure(StatusError(code, details), duration_s)


def should_retry(*failures: Failure, within_s: float = 60) -> bool:
    return POLICY.should_retry(failures, Deadline.after(within_s))


# Whether to call again


def test_an_unavailable_server_is_called_once_more():
    assert should_retry(failure(UNAVAILABLE))
    assert not should_retry(failure(UNAVAILABLE), failure(UNAVAILABLE))


@pytest.mark.parametrize("last", [failure(LATE), failure(UNAVAILABLE, 1.1)], ids=["late", "cut off"])
def test_a_call_without_an_answer_is_repeated_as_often_as_allowed(last: Failure):
    earlier = [failure(LATE)] * POLICY.max_retries

    assert should_retry(last)
    assert should_retry(*earlier[:-1], last)
    assert not should_retry(*earlier, last)


def test_an_unavailable_server_counts_as_hung_only_beyond_the_threshold():
    first = failure(UNAVAILABLE)

    assert not should_retry(first, failure(UNAVAILABLE, 1.0))
    assert should_retry(first, failure(UNAVAILABLE, 1.01))


def test_no_other_error_is_retried():
    other_codes = set(grpc.StatusCode) - {grpc.StatusCode.OK, UNAVAILABLE, LATE}

    assert [code for code in other_codes if should_retry(failure(code, 2))] == []


@pytest.mark.parametrize("duration_s", [0.01, 2])
def test_a_server_whose_queue_is_full_is_not_called_again(duration_s: float):
    for details in (
        f"{QUEUE_FULL}; currently 2 batches enqueued and max_enqueued_batches is 2",
        f"{QUEUE_FULL}; task size is 8 but scheduling capacity is only 4 (num_enqueued_batches=1)",
    ):
        full = failure(UNAVAILABLE, duration_s, details)

        assert is_overload(full.error)
        assert not should_retry(full)


def test_only_refusals_for_lack_of_room_are_overload():
    assert is_overload(failure(grpc.StatusCode.RESOURCE_EXHAUSTED).error)
    for other in (
        failure(UNAVAILABLE),
        failure(UNAVAILABLE, details="Socket closed"),
        failure(LATE, details=QUEUE_FULL),
    ):
        assert not is_overload(other.error)


def test_nothing_is_retried_after_the_deadline():
    assert not should_retry(failure(UNAVAILABLE), within_s=0)
    assert not should_retry(failure(LATE), within_s=0)


# How long a call may take


def test_a_first_call_may_take_until_the_earlier_deadline():
    assert POLICY.timeout_s(Deadline.after(60), 0) == 4
    assert POLICY.timeout_s(Deadline.after(2), 0) == pytest.approx(2, abs=0.5)


def test_a_retry_may_take_half_of_the_time_left():
    for failures in range(1, POLICY.max_retries):
        assert POLICY.timeout_s(Deadline.after(60), failures) == 2
        assert POLICY.timeout_s(Deadline.after(2), failures) == pytest.approx(1, abs=0.25)


def test_the_last_retry_leaves_no_time_for_another():
    assert POLICY.timeout_s(Deadline.after(60), POLICY.max_retries) == 4
    assert POLICY.timeout_s(Deadline.after(2), POLICY.max_retries) == pytest.approx(2, abs=0.5)


def test_a_call_that_will_not_be_repeated_may_take_the_whole_time():
    for failures in range(POLICY.max_retries + 1):
        timeout_s = POLICY.timeout_s(Deadline.after(60), failures, can_repeat=False)
        assert timeout_s == pytest.approx(60, abs=0.5)


def test_no_call_is_made_after_the_deadline():
    for failures in range(POLICY.max_retries + 1):
        for can_repeat in (False, True):
            with pytest.raises(DeadlineExceededError):
                POLICY.timeout_s(Deadline.after(0), failures, can_repeat=can_repeat)


# Which error to report


def test_the_last_error_is_reported():
    unavailable, internal = failure(UNAVAILABLE), failure(grpc.StatusCode.INTERNAL)

    assert POLICY.error_to_report([internal]) is internal.error
    assert POLICY.error_to_report([unavailable, internal]) is internal.error


def test_an_unavailable_server_is_reported_although_the_last_call_ran_out_of_time():
    first, second, late = failure(UNAVAILABLE), failure(UNAVAILABLE), failure(LATE)

    assert POLICY.error_to_report([first, second, late]) is second.error


def test_a_server_that_never_answered_is_reported_as_late():
    first, last = failure(LATE), failure(LATE)

    assert POLICY.error_to_report([first, last]) is last.error


# How much is repeated in all


def test_a_budget_allows_so_many_rows_at_once_and_then_a_share_of_those_answered():
    budget = RetryBudget(3, ratio=0.1, rows_per_s=0)
    assert not budget.is_spent
    assert [budget.spend(1) for _ in range(5)] == [True] * 3 + [False] * 2
    assert budget.is_spent

    budget.earn(9)
    assert not budget.spend(1)
    budget.earn(1)
    assert [budget.spend(1), budget.spend(1)] == [True, False]


def test_a_call_with_many_rows_is_repeated_once_and_paid_for_later():
    budget = RetryBudget(4, ratio=0.1, rows_per_s=0)
    assert [budget.spend(32), budget.spend(1)] == [True, False]

    budget.earn(280)
    assert not budget.spend(1)
    budget.earn(10)
    assert budget.spend(1)


def test_a_budget_never_exceeds_its_maximum():
    budget = RetryBudget(2, ratio=0.5, rows_per_s=0)
    for _ in range(100):
        budget.earn(1)
    assert [budget.spend(1) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("rows", [1, 7, 32])
def test_over_time_repeated_rows_are_a_tenth_of_those_answered(rows: int):
    budget = RetryBudget(40, ratio=0.1, rows_per_s=0)
    repeated = 0
    for _ in range(5000):
        budget.earn(rows)
        repeated += rows * budget.spend(rows)

    assert repeated <= 0.1 * 5000 * rows + 40 + rows


def test_a_budget_recovers_with_time(monkeypatch: pytest.MonkeyPatch):
    now_s = [1000.0]
    monkeypatch.setattr(retry_policy.time, "monotonic", lambda: now_s[0])
    budget = RetryBudget(4, rows_per_s=0.5)
    assert budget.spend(8)

    now_s[0] += 9
    assert budget.is_spent
    now_s[0] += 1
    assert budget.spend(1)
    now_s[0] += 1000
    assert [budget.spend(1) for _ in range(5)] == [True] * 4 + [False]
