"""The queue that wakes workers up: huey, over SQLite or Redis.

A task only says what to look at. All else is in the `JobStore`, so a task that is lost with its worker, or that is
delivered twice, changes nothing.
"""

import importlib
import json
import sqlite3
from collections.abc import Callable
from typing import Any

import structlog
from huey import Huey
from huey.registry import Message
from huey.serializer import Serializer
from huey.storage import RedisStorage, SqliteStorage

from gateway.jobs.redis_timeouts import SOCKET_TIMEOUT_S
from gateway.settings import Settings, SettingsError

NAME = "imagegateway"
FILE = "queue.sqlite"

log = structlog.get_logger(__name__)


class JsonMessages(Serializer):  # type: ignore[misc]  # huey has no types
    """Tasks as JSON: pickle, huey's default, would run what anyone writes to Redis."""

    def _serialize(self, data: Any) -> bytes:
        return json.dumps([list(arg) if isinstance(arg, tuple) else arg for arg in data]).encode()

    def _deserialize(self, data: bytes) -> Any:
        return Message(*json.loads(data))


class WakeUps:
    """Wakes workers up.

    Args:
        queue: See `make_queue`.
        handler: Computes the next chunk of a job, if it is still this turn; None in a gateway, which only wakes.
    """

    def __init__(self, queue: Huey, handler: Callable[[str, int], None] | None = None) -> None:
        def run_chunk(job_id: str, turn: int) -> None:
            if handler is not None:
                handler(job_id, turn)

        self.queue = queue
        self._run_chunk = queue.task(name="run_chunk")(run_chunk)

    def wake(self, job_id: str, turn: int) -> None:
        """Have a worker compute the next chunk of a job."""
        try:
            self._run_chunk(job_id, turn)
        except Exception as error:  # noqa: BLE001  # whatever the storage raises: the store has the job woken again
            log.warning("wake_up_lost", reason=str(error))


def make_queue(settings: Settings) -> Huey:
    """Return the queue that the settings define.

    Raises:
        SettingsError: The folder of the jobs cannot be used.
    """
    options: dict[str, Any] = {"name": NAME, "results": False, "serializer": JsonMessages()}
    if settings.jobs == "redis":
        redis = importlib.import_module("redis")
        pool = redis.ConnectionPool.from_url(
            settings.redis_url, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=SOCKET_TIMEOUT_S
        )
        return Huey(**options, storage_class=RedisStorage, connection_pool=pool)
    # A wake-up that a power failure takes is made again, so that it need not wait for the disk.
    options |= {"storage_class": SqliteStorage, "filename": str(settings.jobs_dir / FILE), "fsync": False}
    try:
        settings.jobs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Huey(**options)
    except (OSError, sqlite3.Error) as error:
        raise SettingsError(f"GATEWAY_JOBS_DIR={settings.jobs_dir} cannot be used: {error}") from error
