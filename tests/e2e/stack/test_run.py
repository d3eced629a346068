"""`make run`: start, use and stop the whole stack."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import __version__
from tests.support.listeners import listeners
from tests.support.waiting import until
from tools import nginx
from tools.committed_models import newest_version

ROOT = Path(__file__).parents[3]
FIRST_MODEL = re.findall(r'name: "(.+)"', (ROOT / "serving_models/models.config").read_text())[0]
SERVED = {"name": FIRST_MODEL, "version": int(newest_version(FIRST_MODEL).name)}
PATIENCE_S = 60
pytestmark = pytest.mark.timeout(240)
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_nginx = pytest.mark.skipif(nginx.find() is None, reason="nginx is not installed")


def states(process_ids):
    """Return the states of the processes that still exist; Z is a zombie that waits for its parent."""
    ps = subprocess.run(
        ["ps", "-o", "stat=", "-p", ",".join(map(str, process_ids))], capture_output=True, text=True, check=False
    )
    return {line[0] for line in ps.stdout.split()}


def assert_nothing_is_left(run, processes):
    """Check that no process runs, no port is open, and only the logs remain."""
    assert processes
    assert states(processes) <= {"Z"}
    for port in run.ports.values():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
    assert {path.name for path in (run.folder / "run").iterdir()} - {"jobs"} == {"logs"}


def predict(run):
    """Run the command that the output suggests, and return the prediction."""
    (line,) = (line for line in run.output().splitlines() if line.startswith("or try"))
    command = line.removeprefix("or try").strip()
    assert command.startswith("curl -F image=@serving_models/")
    curl = subprocess.run(["bash", "-c", f"{command} -sS"], cwd=ROOT, capture_output=True, check=True)
    prediction = json.loads(curl.stdout)
    assert "class" in prediction, prediction
    return prediction


@needs_nginx
@needs_curl
def test_two_stacks_run_side_by_side_and_stop_separately(start_run):
    with start_run("one") as one, start_run("two") as two:
        one.wait_ready()
        two.wait_ready()
        if sys.platform == "linux":  # other systems have no /proc
            assert listeners(one.process.pid) == {("127.0.0.1", port) for port in one.ports.values()}
        processes = one.descendants(), two.descendants()
        assert predict(one)["model"] == predict(two)["model"] == SERVED
        for run in (one, two):
            run.wait_for_output("POST /api/v1/predict  200  ")
            assert "/readyz" not in run.output()
        logs = sorted(path.name for path in (one.folder / "run" / "logs").iterdir())
        assert logs == ["gateway.log", "jobs-worker.log", "model-server.log", "nginx.log"]

        # A stack stops when one of its programs ends; the other stack is not affected.
        os.kill(one.process_of("model_server"), signal.SIGKILL)
        assert one.process.wait(PATIENCE_S) == 1
        assert "make run: model-server ended by SIGKILL. The end of " in one.output()
        assert_nothing_is_left(one, processes[0])
        assert predict(two)["model"]["name"] == FIRST_MODEL

        # Ctrl-C in a terminal goes to the whole foreground group.
        os.killpg(two.process.pid, signal.SIGINT)
        assert two.process.wait(PATIENCE_S) == 0
        assert two.output().endswith("SIGINT: stopping ...\nStopped.\n")
        assert_nothing_is_left(two, processes[1])


@needs_curl
def test_without_nginx_the_gateway_listens_on_the_port(start_run):
    with start_run("direct", "--without-nginx") as run:
        run.wait_ready()
        processes = run.descendants()
        assert run.output().startswith(f"Image Gateway {__version__}\n")
        assert not any("nginx" in command for command in processes.values())
        assert predict(run)["model"] == SERVED

        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(PATIENCE_S) == 0
        assert_nothing_is_left(run, processes)


@needs_nginx
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can end a child with its parent")
def test_programs_end_when_make_run_is_killed(start_run):
    with start_run("killed") as run:
        run.wait_ready()
        processes = run.descendants()

        run.process.kill()
        run.process.wait(PATIENCE_S)
        until(lambda: states(processes) <= {"Z"}, PATIENCE_S)


@needs_nginx
def test_a_stop_during_the_start_leaves_nothing(start_run):
    with start_run("early") as run:
        run.wait_for_output(" s  ")  # the first result of a probe: all programs are started
        processes = run.descendants()

        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(PATIENCE_S) == 0
        assert_nothing_is_left(run, processes)


def test_a_damaged_configuration_ends_the_start(start_run, tmp_path):
    config = tmp_path / "models.config"
    config.write_text("this is not a configuration")

    with start_run("broken", f"--models-config={config}") as run:
        assert run.process.wait(PATIENCE_S) == 1
        assert f"\nmake run: {config} is not a model server configuration: 1:" in run.output()
