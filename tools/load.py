"""Send requests to a service for some time, and measure its answers."""

import contextlib
import http.client
import itertools
import math
import statistics
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to send, and for how long.

    Attributes:
        path: Where to, below the service's URL.
        images: Encoded pictures, sent one at a time in turn.
        concurrency: Requests at a time.
        seconds: How long; a fifth of it more is sent first, and not counted.
    """

    path: str
    images: Sequence[bytes]
    concurrency: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """What a load met.

    Attributes:
        answers: How many there were, those before counting began included.
        rate: Answers a second.
        p50_ms: Median of the answer times.
        p99_ms: Their 99th percentile.
        failures: Requests that were not answered with 200.
    """

    answers: int
    rate: float
    p50_ms: float
    p99_ms: float
    failures: int


def measure(url: str, load: Load) -> Measurement:
    """Send a load to a service and measure its answers."""
    start_s = time.monotonic() + load.seconds / 5
    end_s = start_s + load.seconds
    with ThreadPoolExecutor(load.concurrency) as pool:
        answered = pool.map(lambda first: list(_ask(url, load, first, end_s)), range(load.concurrency))
        answers = [answer for of_one in answered for answer in of_one]
    counted = [(duration_s, right) for began_s, duration_s, right in answers if began_s >= start_s]
    failures = sum(not right for _, right in counted)
    if len(counted) <= 1:
        return Measurement(len(answers), 0.0, math.inf, math.inf, failures)
    rate = (len(counted) - failures) / load.seconds
    percentiles = statistics.quantiles((duration_s * 1e3 for duration_s, _ in counted), n=100, method="inclusive")
    return Measurement(len(answers), rate, percentiles[49], percentiles[98], failures)


def _connection(url: str) -> http.client.HTTPConnection:
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.netloc, timeout=ANSWER_TIMEOUT_S)


def is_ready(url: str) -> bool:
    """Tell whether the service at a URL says that it is ready."""
    with contextlib.closing(_connection(url)) as connection:
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def _ask(url: str, load: Load, first: int, end_s: float) -> Iterator[tuple[float, float, bool]]:
    """Send pictures over a connection until `end_s`; yield when each was sent, how long it took, if all was well."""
    with contextlib.closing(_connection(url)) as connection:
        for index in itertools.count(first):
            began_s = time.monotonic()
            if began_s > end_s:
                return
            image = load.images[index % len(load.images)]
            try:
                connection.request("POST", load.path, image, {"Content-Type": "application/octet-stream"})
                response = connection.getresponse()
                response.read()
                right = response.status == http.HTTPStatus.OK
            except (OSError, http.client.HTTPException):
                connection.close()
                right = False
            yield began_s, time.monotonic() - began_s, right
