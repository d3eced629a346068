"""How long to wait before another try."""

from datetime import UTC, datetime

import pytest

from image_gateway_client.retries import FIRST_PAUSE_S, LONGEST_PAUSE_S, parse_retry_after, pause_s

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


def test_an_absurd_number_is_longer_than_any_wait():
    assert parse_retry_after("9" * 400, NOW) == float("inf")


def test_pauses_double_up_to_the_longest_and_are_never_short():
    for attempt in range(100):
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
        assert longest / 2 <= pause_s(attempt) <= longest


def test_pauses_differ_so_that_clients_spread():
    assert len({pause_s(3) for _ in range(20)}) > 10
