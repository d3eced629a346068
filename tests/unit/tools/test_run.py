import fcntl
import os
import socket
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tools import nginx, ports, run


@pytest.fixture
def models_config(tmp_path):
    config = tmp_path / "models" / "models.config"
    config.parent.mkdir()
    config.touch()
    return config


@pytest.fixture
def arguments(tmp_path, models_config):
    """A command line with free ports, and a folder of its own."""
    port, grpc_port, rest_port = ports.find(3)
    return [
        "--without-nginx",
        *(f"--port={port}", f"--grpc-port={grpc_port}", f"--rest-port={rest_port}"),
        *(f"--models-config={models_config}", f"--run-dir={tmp_path / 'run'}"),
    ]


def complaint(capsys, arguments):
    """Run what cannot start and return what it says."""
    assert run.main(arguments) == 1
    told = capsys.readouterr()
    assert told.out == ""
    return told.err


def test_the_defaults_are_the_ports_of_the_manual():
    options = run.parse([])
    assert options.ports == {"PORT": 8080, "GRPC_PORT": 8500, "REST_PORT": 8501, "GATEWAY_PORT": 8000}
    assert options.host == "127.0.0.1"
    assert options.run_dir == Path.cwd() / ".run"


def test_without_nginx_the_gateway_needs_no_port_of_its_own():
    assert "GATEWAY_PORT" not in run.parse(["--without-nginx"]).ports


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", ""])
def test_what_is_no_port_is_told(capsys, port):
    with pytest.raises(SystemExit):
        run.parse([f"--port={port}"])
    assert f"argument --port: {port!r} is no port number; 1 to 65535 are" in capsys.readouterr().err


def test_missing_models_are_named_with_the_variable(capsys, arguments, models_config):
    models_config.unlink()
    assert complaint(capsys, arguments) == (
        f"make run: There is no {models_config}. MODELS_CONFIG names the models to serve.\n"
    )


def test_a_taken_port_is_named_with_the_variable(capsys, arguments):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        told = complaint(capsys, [*arguments, f"--rest-port={port}"])
    assert told.startswith(f"make run: REST_PORT={port} is taken by another program. Choose another port: make run")


def test_a_setting_that_the_gateway_cannot_use_is_told_before_anything_starts(capsys, arguments, monkeypatch):
    monkeypatch.setenv("GATEWAY_THREADS", "many")
    assert "make run: GATEWAY_THREADS='many'" in complaint(capsys, arguments)


def test_a_folder_in_use_is_told(capsys, arguments, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        told = complaint(capsys, arguments)
    finally:
        os.close(lock)
    assert told == (
        f"make run: {folder} is in use by another `make run`. Give this one a folder of its own: "
        "make run RUN_DIR=.run2\n"
    )


def test_a_folder_that_cannot_be_made_is_told(capsys, arguments, tmp_path):
    (tmp_path / "run").touch()
    assert complaint(capsys, arguments).startswith(f"make run: RUN_DIR={tmp_path / 'run'} cannot be used: ")


def test_the_scratch_folder_is_gone_afterwards_and_the_logs_stay(arguments, tmp_path):
    options = run.parse(arguments)
    with run.scratch_folder(options) as scratch:
        (scratch / "nginx.pid").touch()
        (options.logs / "gateway.log").touch()

    left = [str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*")]
    assert sorted(left) == ["logs", "logs/gateway.log"]


def test_where_nginx_cannot_be_had_the_gateway_is_served_directly(arguments, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(nginx, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    options = run.parse([argument for argument in arguments if argument != "--without-nginx"])

    assert run.find_nginx(options) is None
    told = capsys.readouterr().out
    assert "nginx is not installed; installing it" in told
    assert f"Going on without nginx, the gateway itself on port {options.port}: none of apt-get" in told


def test_the_welcome_has_a_command_line_that_works(arguments, models_config, monkeypatch):
    golden = models_config.parent / "digits" / "1" / "assets.extra" / "golden"
    golden.mkdir(parents=True)
    for name in ("b.png", "a 1.png"):
        (golden / name).touch()
    monkeypatch.chdir(models_config.parents[1])
    options = run.parse(arguments)

    lines = run.welcome(options).splitlines()
    url = f"http://localhost:{options.port}"
    assert lines[1] == f"Open    {url}"
    assert lines[2] == (f"or try  curl -F image=@'models/digits/1/assets.extra/golden/a 1.png' {url}/api/v1/predict")
    assert lines[3] == "Logs    run/logs"


def test_without_samples_the_welcome_names_a_picture_of_your_own(arguments):
    assert "image=@picture.png" in run.welcome(run.parse(arguments))


class Answers(BaseHTTPRequestHandler):
    """Gives the answers it was made with, one after the other."""

    left: list

    def do_GET(self):
        status, body = self.left.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


@contextmanager
def answering(port, answers):
    handler = type("Now", (Answers,), {"left": list(answers)})
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield
        server.shutdown()
        thread.join()


YES = (200, b'{"status": "ready"}')
LOADING = (503, b'{"type": "/problems/model-unavailable", "detail": "digits is loading."}')


def test_the_probe_tells_each_change_once(arguments, capsys, monkeypatch):
    monkeypatch.setattr(run, "STEADY_S", 0)
    options = run.parse(arguments)
    probe = run.Probe(options)
    assert [probe.ready(), probe.ready()] == [False, False]
    with answering(options.port, [LOADING, LOADING, (502, b"<html>"), YES]):
        assert [probe.ready() for _ in range(4)] == [False, False, False, True]

    told = [line.partition(" s  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert told == ["no answer yet", "digits is loading.", "status 502", "ready"]


def test_ready_is_what_stays_ready(arguments, monkeypatch):
    monkeypatch.setattr(run, "STEADY_S", 0.2)
    options = run.parse(arguments)
    probe = run.Probe(options)
    with answering(options.port, [YES, LOADING, *[YES] * 1000]):
        assert [probe.ready(), probe.ready()] == [False, False]
        began = time.monotonic()
        while not probe.ready():
            assert time.monotonic() - began < 10

    assert time.monotonic() - began >= 0.2


def test_output_that_nobody_reads_stops_nothing(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    broken = os.fdopen(writer, "w")
    monkeypatch.setattr("sys.stdout", broken)
    run.say("to nobody")
    with pytest.raises(BrokenPipeError):
        broken.close()
