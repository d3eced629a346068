"""Compute how long to wait before a retry."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

INITIAL_BACKOFF_S = 0.25
MAX_BACKOFF_S = 8.0
MAX_DOUBLINGS = 16
"""After which the pause has long been the longest; larger powers of 2 are no floating-point numbers."""


def backoff_s(attempt: int) -> float:
    """Return the pause after a failed attempt without Retry-After, in seconds.

    It doubles from `INITIAL_BACKOFF_S` up to `MAX_BACKOFF_S`. Half of it is random, so that many clients do not return
    at the same moment ("equal jitter" in M. Brooker, Exponential Backoff And Jitter, AWS, 2015).

    Args:
        attempt: Number of the failed attempt, from 0.
    """
    longest_s = min(MAX_BACKOFF_S, INITIAL_BACKOFF_S * 2.0 ** min(attempt, MAX_DOUBLINGS))
    return random.uniform(longest_s / 2, longest_s)  # noqa: S311  # not a secret


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Convert a Retry-After header, in seconds or an HTTP date (RFC 9110 section 10.2.3), to seconds from now.

    Returns:
        At least 0; None if there is no header or it is not valid.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000" means UTC (RFC 5322 section 3.3)
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
