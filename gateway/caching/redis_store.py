"""A cache store in Redis, shared by all workers and gateways that use it."""

import time
from collections.abc import Sequence

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.caching.caching_predictor import CLAIMED
from gateway.deadline import Deadline

PREFIX = "image-gateway:"
POLL_S = 0.01
PAUSE_S = 1.0
"""How long Redis is not used after a failure; until then every key counts as missing."""

log = structlog.get_logger(__name__)


class RedisStore:
    """A `gateway.caching.caching_predictor.Store` in Redis 7, bounded by its own `maxmemory` and eviction.

    While Redis is unreachable, nothing is stored and every prediction is computed.

    Args:
        url: Such as `redis://host:6379/0`.
        ttl_s: How long an entry is stored.
        timeout_s: Maximum wait for a reply from Redis.
    """

    def __init__(self, url: str, *, ttl_s: float, timeout_s: float) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
        )
        self._ttl_s = ttl_s
        self._resume_s = 0.0

    def find(self, keys: Sequence[str], *, claim_s: float) -> list[bytes | None]:
        """Look up and claim, in one round trip; see `Store`."""
        if self._paused:
            return [None] * len(keys)
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                # Returns the value; if there is none, sets the claim.
                pipeline.set(PREFIX + key, CLAIMED, nx=True, get=True, px=_milliseconds(claim_s))
            return list(pipeline.execute())
        except redis.RedisError as error:
            self._pause(error)
            return [None] * len(keys)

    def settle(self, key: str, value: bytes | None) -> None:
        """Replace the claim by a value; see `Store`."""
        if self._paused:
            return
        try:
            if value is None:
                self._redis.delete(PREFIX + key)
            else:
                self._redis.set(PREFIX + key, value, px=_milliseconds(self._ttl_s))
        except redis.RedisError as error:
            self._pause(error)

    def wait(self, key: str, *, deadline: Deadline) -> bytes | None:
        """Poll the key; see `Store`. The claim of a worker that died expires."""
        while not self._paused:
            try:
                value = self._redis.get(PREFIX + key)
            except redis.RedisError as error:
                self._pause(error)
                break
            if value != CLAIMED:
                return value if isinstance(value, bytes) else None
            time.sleep(deadline.remaining_s(POLL_S))
        return None

    @property
    def _paused(self) -> bool:
        return time.monotonic() < self._resume_s

    def _pause(self, error: redis.RedisError) -> None:
        log.warning("cache_away", reason=str(error), pause_s=PAUSE_S)
        self._resume_s = time.monotonic() + PAUSE_S


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
