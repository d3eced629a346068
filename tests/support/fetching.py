"""The parts of fetching, with limits that a test changes where they matter to it."""

from typing import Any

from gateway.fetching.addresses import AddressGuard
from gateway.fetching.destinations import Destinations
from gateway.fetching.fetch import FetchLimits
from gateway.fetching.pool import PoolLimits


def fetch_limits(**changed: Any) -> FetchLimits:
    limits = {
        "deadline_s": 5,
        "max_bytes": 1000,
        "max_redirects": 3,
        "max_url_length": 8192,
        "lookup_s": 5,
        "connections_per_host": 8,
        "max_wait_s": 30,
    }
    return FetchLimits(**{**limits, **changed})


def pool_limits(**changed: Any) -> PoolLimits:
    limits = {"threads": 16, "threads_per_client": 6, "requests": 64, "max_wait_s": 30}
    return PoolLimits(**{**limits, **changed})


def address_guard(*, lookup_s: float = 5, **rules: Any) -> AddressGuard:
    return AddressGuard(Destinations(**rules), lookup_s=lookup_s)
