"""Programs under measurement: waited for, and not once they have ended."""

import http.server
import sys
from pathlib import Path

import pytest

from bench.services import await_ok, running
from tools.ports import find


def test_a_program_that_ends_is_not_waited_for(tmp_path: Path):
    (port,) = find(1)
    command = [sys.executable, "-c", "raise SystemExit(1)"]
    with (
        running("short", command, tmp_path / "log") as service,
        pytest.raises(RuntimeError, match="short ended before it answered"),
    ):
        await_ok(service, f"http://127.0.0.1:{port}/")


def test_a_program_is_waited_for_until_it_answers(tmp_path: Path):
    (port,) = find(1)
    command = [sys.executable, "-m", http.server.__name__, "--bind=127.0.0.1", str(port)]
    with running("files", command, tmp_path / "log") as service:
        await_ok(service, f"http://127.0.0.1:{port}/README.md")
        assert not service.ended
        assert service.cpu_s() > 0
        assert service.rss_bytes()[service.pid] > 0
