"""How long to wait before a request is sent again."""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 8.0


def pause_s(attempt: int) -> float:
    """Choose the pause after a failed attempt when the gateway asks for none.

    Doubles from `FIRST_PAUSE_S` up to `LONGEST_PAUSE_S`; at least half of it, the rest by chance, so that many clients
    do not come back at the same moment ("equal jitter" in M. Brooker, Exponential Backoff And Jitter, AWS, 2015).

    Args:
        attempt: Which one failed, from 0.
    """
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0**attempt)
    return random.uniform(longest / 2, longest)  # noqa: S311  # no secret


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Read a Retry-After header, seconds or an HTTP date (RFC 9110 section 10.2.3), as seconds from now, at least 0.

    Returns:
        None where there is none or it cannot be understood.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:  # "-0000": UTC all the same (RFC 5322 section 3.3)
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
