import json
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from gateway import __version__
from tools import nginx

ROOT = Path(__file__).parents[3]
FIRST_MODEL = re.findall(r'name: "(.+)"', (ROOT / "serving_models/models.config").read_text())[0]
PATIENCE_S = 60
pytestmark = pytest.mark.timeout(240)
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
needs_nginx = pytest.mark.skipif(nginx.find() is None, reason="nginx is not installed")


def states(process_ids):
    """What `ps` says of those processes that are still there; Z is a zombie that waits for its parent."""
    listed = subprocess.run(
        ["ps", "-o", "stat=", "-p", ",".join(map(str, process_ids))], capture_output=True, text=True, check=False
    )
    return {line[0] for line in listed.stdout.split()}


def assert_nothing_is_left(run, processes):
    """Check processes, ports and files."""
    assert states(processes) <= {"Z"}
    for port in run.ports.values():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=1)
    assert [path.name for path in (run.folder / "run").iterdir()] == ["logs"]


def predict(run):
    """Send what the output proposes to send."""
    (line,) = (line for line in run.output().splitlines() if line.startswith("or try"))
    command = line.removeprefix("or try").strip()
    assert command.startswith("curl -F image=@serving_models/")
    done = subprocess.run(["bash", "-c", f"{command} -sS"], cwd=ROOT, capture_output=True, check=True)
    answer = json.loads(done.stdout)
    assert "class" in answer, answer
    return answer


@needs_nginx
@needs_curl
def test_two_stacks_side_by_side_from_start_to_end(start_run):
    with start_run("one") as one, start_run("two") as two:
        one.wait_ready()
        two.wait_ready()
        processes = one.descendants(), two.descendants()
        assert predict(one)["model"] == predict(two)["model"] == {"name": FIRST_MODEL, "version": 1}
        logs = sorted(path.name for path in (one.folder / "run" / "logs").iterdir())
        assert logs == ["gateway.log", "model-server.log", "nginx.log"]

        # A program of one that dies takes that stack down, and leaves the other alone.
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
def test_without_nginx_the_gateway_is_on_the_port(start_run):
    with start_run("direct", "--without-nginx") as run:
        run.wait_ready()
        processes = run.descendants()
        assert run.output().startswith(f"Image Gateway {__version__}\n")
        assert not any("nginx" in command for command in processes.values())
        assert predict(run)["model"] == {"name": FIRST_MODEL, "version": 1}

        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(PATIENCE_S) == 0
        assert_nothing_is_left(run, processes)


@needs_nginx
def test_a_stop_during_the_start_leaves_nothing(start_run):
    with start_run("early") as run:
        run.wait_for_output(" s  ")  # the first answer of the probe: all are started
        processes = run.descendants()
        run.process.send_signal(signal.SIGTERM)
        assert run.process.wait(PATIENCE_S) == 0
        assert_nothing_is_left(run, processes)


def test_models_that_cannot_be_loaded_end_the_start(start_run, tmp_path):
    config = tmp_path / "models.config"
    config.write_text("this is no configuration")
    with start_run("broken", f"--models-config={config}") as run:
        assert run.process.wait(PATIENCE_S) == 1
        told = run.output()
        assert "ended with exit status" in told
        assert "models.config" in told
