"""`image-gateway serve` starts the whole stack from a folder of the checkout, and Ctrl-C stops it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from image_gateway_client import Client
from image_gateway_client.keys import add_key
from tests.support.stack import NGINX, READY_TEXT, ROOT, START_S, free_ports, listens
from tests.support.waiting import until


@pytest.mark.skipif(not NGINX, reason="nginx is not installed")
def test_the_service_is_started_and_stopped(tmp_path):
    ports = free_ports()
    program = Path(sys.executable).with_name("image-gateway")
    command = [program, "serve", "-p", str(ports.front), "--gateway-port", str(ports.gateway)]
    command += ["--grpc-port", str(ports.grpc), "--rest-port", str(ports.rest), "--run-dir", str(tmp_path / "run")]
    printed = tmp_path / "printed"
    key = add_key("door", tmp_path / "keys")
    environment = {**os.environ, "GATEWAY_API_KEYS_FILE": os.path.relpath(tmp_path / "keys", ROOT / "docs")}

    with printed.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT / "docs", env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        until(lambda: process.poll() is not None or READY_TEXT in printed.read_text(), START_S, "stack ready")
        assert process.poll() is None, printed.read_text()
        with Client(f"http://127.0.0.1:{ports.front}", api_key=key) as client:
            label = client.classify(ROOT / "examples/macaws.jpg").label
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)

    assert label == "macaw"
    assert process.returncode == 0
    assert not listens(ports.front)
