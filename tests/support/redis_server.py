"""A real Redis on a free port, which stores nothing on disk."""

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from tests.support.processes import suspend
from tests.support.waiting import until
from tools import ports

REDIS_SERVER = shutil.which("redis-server") or ""
START_S = 30


@dataclass
class RedisServer:
    """Can be stopped, suspended and started again on the same port."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start Redis, and wait until it answers."""
        command = [REDIS_SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", self.folder]
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        until(self._answers, START_S, "Redis answering")

    def stop(self) -> None:
        """Kill Redis, even if it is suspended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def suspend(self) -> None:
        """Suspend Redis, with its connections open."""
        assert self.process is not None
        suspend(self.process.pid)

    def _answers(self) -> bool:
        with redis.Redis(port=self.port, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


def make_redis(folder: Path) -> RedisServer:
    """Return a Redis on a free port, which is not started yet."""
    if not REDIS_SERVER:
        pytest.skip("redis-server is not installed")
    (port,) = ports.find(1)
    return RedisServer(folder, port)
