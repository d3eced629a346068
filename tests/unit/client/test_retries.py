"""How long to wait before a retry."""

from datetime import UTC, datetime

import pytest

from image_gateway_client.retries import INITIAL_BACKOFF_S, MAX_BACKOFF_S, backoff_s, parse_retry_after

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 120 ", 120),
        ("Wed, 04 Mar 2026 12:00:30 GMT", 30),
        ("Wednesday, 04-Mar-26 12:00:30 GMT", 30),  # RFC 850's form, which recipients must take too
        ("Wed Mar  4 12:00:30 2026", 30),  # C's asctime, likewise
        ("Wed, 04 Mar 2026 13:00:30 +0100", 30),
        ("Wed, 04 Mar 2026 12:00:30 -0000", 30),
        ("Wed, 04 Mar 2026 11:00:00 GMT", 0),  # past
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("Wed, 99 Mar 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_in_all_its_forms(value, seconds):
    assert parse_retry_after(value, NOW) == seconds


def test_a_huge_number_is_infinite():
    assert parse_retry_after("9" * 400, NOW) == float("inf")


def test_pauses_double_up_to_the_maximum_and_have_a_minimum():
    for attempt in range(100):
        longest = min(MAX_BACKOFF_S, INITIAL_BACKOFF_S * 2**attempt)
        assert longest / 2 <= backoff_s(attempt) <= longest


def test_the_pause_after_any_number_of_attempts_is_finite():
    assert MAX_BACKOFF_S / 2 <= backoff_s(100_000) <= MAX_BACKOFF_S


def test_pauses_differ_so_that_clients_spread():
    assert len({backoff_s(3) for _ in range(20)}) > 10
