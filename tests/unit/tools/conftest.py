import os
import signal
import sys

import pytest

from tools.stack import Program


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def make_program(tmp_path):
    """Make a program of the stack from the Python text that it runs."""

    def make(name, text, *, stop_signal=signal.SIGTERM, stop_timeout_s=10.0):
        script = tmp_path / f"{name}.py"
        script.write_text(text, encoding="utf-8")
        return Program(
            name=name,
            command=(sys.executable, str(script)),
            directory=tmp_path,
            environment={**os.environ, "PYTHONUNBUFFERED": "1"},
            stop_signal=stop_signal,
            stop_timeout_s=stop_timeout_s,
        )

    return make


@pytest.fixture
def printed(logs):
    """Whether a program has printed something."""

    def check(name, text):
        return text in (logs / f"{name}.log").read_text(encoding="utf-8")

    return check
