"""A gateway or a worker of jobs that cannot start says why in one line of its log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
GUNICORN = ("gunicorn", "-c", "gateway/gunicorn_conf.py", "gateway.wsgi:app")
LIMIT_S = 60


@pytest.mark.parametrize("module", [GUNICORN, ("gateway.jobs.worker",)])
def test_a_setting_that_only_the_application_can_check_is_one_critical_line(module: tuple[str, ...], tmp_path: Path):
    settings = {
        "GATEWAY_BIND": f"unix:{tmp_path}/socket",
        "GATEWAY_WORKERS": "2",
        "GATEWAY_MODELS": "cifar10,digits",
        "GATEWAY_DEFAULT_MODEL": "nope",
        "GATEWAY_JOBS": "sqlite",
        "GATEWAY_JOBS_DIR": str(tmp_path),
    }

    done = subprocess.run(
        [sys.executable, "-m", *module],
        cwd=ROOT,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    failures = {(line["event"], line["reason"]) for line in lines if line["level"] == "critical"}
    assert done.returncode in {1, 4}
    assert failures == {("start_failed", "GATEWAY_DEFAULT_MODEL='nope' is not among cifar10, digits")}
    assert not any("exception" in line for line in lines)
