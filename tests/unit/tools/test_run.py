import contextlib
import fcntl
import io
import json
import os
import socket
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from gateway import __version__
from gateway.settings import PREFIX, Settings
from tools import invocation, nginx, ports, readiness_probe, run, run_folder, start_checks, terminal
from tools.models_config import add_entry, display_path

PATH_SETTINGS = [name for name, field in Settings.model_fields.items() if "Path" in str(field.annotation)]


@pytest.fixture
def models_config(tmp_path):
    config = tmp_path / "models" / "models.config"
    (config.parent / "digits" / "1").mkdir(parents=True)
    (config.parent / "digits" / "1" / "saved_model.pb").write_bytes(b"graph")
    add_entry(config, "digits", str(config.parent / "digits"))
    return config


@pytest.fixture
def arguments(tmp_path, models_config):
    """A command line with free ports and its own folder."""
    port, grpc_port, rest_port = ports.find(3)
    return [
        "--without-nginx",
        *(f"--port={port}", f"--grpc-port={grpc_port}", f"--rest-port={rest_port}"),
        *(f"--models-config={models_config}", f"--run-dir={tmp_path / 'run'}"),
    ]


def error_of(capsys, arguments):
    """Run a command that cannot start and return its error message."""
    assert run.main(arguments) == 1
    output = capsys.readouterr()
    assert output.out == f"Image Gateway {__version__}\n"
    return output.err


def test_the_defaults_are_the_documented_ports():
    options = run.parse([])
    assert options.ports == {"PORT": 8080, "GRPC_PORT": 8500, "REST_PORT": 8501, "GATEWAY_PORT": 8000}
    assert options.host == "127.0.0.1"
    assert options.run_dir == Path.cwd() / ".run"


def test_without_nginx_there_is_no_separate_gateway_port():
    assert "GATEWAY_PORT" not in run.parse(["--without-nginx"]).ports


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", ""])
def test_an_invalid_port_is_reported(capsys, port):
    with pytest.raises(SystemExit):
        run.parse([f"--port={port}"])
    assert f"PORT: {port!r} is not a port number. Choose one from 1 to 65535." in capsys.readouterr().err


def test_missing_models_are_reported_with_the_variable(capsys, arguments, models_config):
    models_config.unlink()
    assert error_of(capsys, arguments) == (
        f"make run: {models_config} does not exist. Set MODELS_CONFIG to a file that lists the models.\n"
    )


def test_a_folder_in_place_of_the_list_of_models_is_reported(capsys, arguments, models_config):
    assert error_of(capsys, [*arguments, f"--models-config={models_config.parent}"]) == (
        f"make run: {models_config.parent} is a folder. Set MODELS_CONFIG to a file that lists the models.\n"
    )


def test_a_used_port_is_reported_with_the_variable(capsys, arguments):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = error_of(capsys, [*arguments, f"--rest-port={port}"])
    assert message.startswith(f"make run: REST_PORT={port} is used by another program. Choose other ports: make run")


def test_messages_name_what_users_of_image_gateway_serve_type(capsys, arguments, monkeypatch, tmp_path, models_config):
    monkeypatch.setenv(invocation.SERVE_FOLDER, str(tmp_path / "elsewhere"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        used = error_of(capsys, [*arguments, f"--rest-port={port}"])
    with pytest.raises(SystemExit):
        run.parse(["--unknown"])
    usage = capsys.readouterr().err
    models_config.unlink()
    missing = error_of(capsys, arguments)

    assert used.startswith(f"image-gateway serve: --rest-port={port} is used by another program. Choose other ports: ")
    assert "--rest-port=" in used.partition("image-gateway serve --")[2]
    assert usage == "image-gateway serve: unrecognized arguments: --unknown\n"
    assert missing.endswith(f"{models_config} does not exist. Set --models-config to a file that lists the models.\n")


def test_printed_paths_lead_there_from_the_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert display_path(tmp_path / "a" / "b.png") == "a/b.png"

    monkeypatch.setenv(invocation.SERVE_FOLDER, str(tmp_path / "a"))

    assert display_path(tmp_path / "a" / "b.png") == "b.png"
    assert display_path(tmp_path / "c.png") == str(tmp_path / "c.png")


def test_an_invalid_setting_is_reported_before_anything_starts(capsys, arguments, monkeypatch):
    monkeypatch.setenv("GATEWAY_THREADS", "many")
    assert "make run: GATEWAY_THREADS='many'" in error_of(capsys, arguments)


@pytest.mark.parametrize("variable", [f"{PREFIX}{name.upper()}" for name in PATH_SETTINGS])
def test_paths_in_settings_are_meant_from_the_folder_of_the_user(tmp_path, variable):
    paths = start_checks.resolve_paths({variable: " a/b ", "PATH": "bin"}, tmp_path)

    assert paths == {variable: str(tmp_path / "a/b")}
    assert start_checks.resolve_paths({variable: "/etc/x"}, tmp_path) == {variable: "/etc/x"}
    assert start_checks.resolve_paths({variable: ""}, tmp_path) == {}


def test_every_setting_of_a_path_is_known():
    assert set(PATH_SETTINGS) > {"api_keys_file", "cards_dir", "fetch_ca_bundle", "jobs_dir", "models_config"}
    assert all(isinstance(Settings.model_fields[name].default, Path | None) for name in PATH_SETTINGS)


def test_a_file_of_keys_that_cannot_be_used_is_one_line_before_anything_starts(
    capsys, arguments, monkeypatch, tmp_path
):
    keys = tmp_path / "keys"
    monkeypatch.setenv(invocation.SERVE_FOLDER, str(tmp_path))
    monkeypatch.setenv("GATEWAY_API_KEYS_FILE", keys.name)

    missing = error_of(capsys, arguments)
    keys.write_text("one:aa:bb\n")
    damaged = error_of(capsys, arguments)

    assert missing == f"image-gateway serve: GATEWAY_API_KEYS_FILE: {keys} cannot be read: No such file or directory.\n"
    assert damaged.startswith(f"image-gateway serve: {keys}: line 1 is not NAME:SALT:HASH.")
    assert damaged.count("\n") == 1


def test_a_folder_in_use_is_reported(capsys, arguments, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        message = error_of(capsys, arguments)
    finally:
        os.close(lock)
    options = run.parse([*arguments, f"--run-dir={folder}2"])
    proposed = invocation.with_options(run.repeated_options(options))
    assert f" PORT={options.port} " in proposed
    assert proposed.endswith("run2")
    assert message == (f"make run: {folder} is in use by another `make run`. Choose another folder: {proposed}\n")


def test_a_run_is_seen_while_it_uses_its_folder(arguments):
    options = run.parse(arguments)

    with run_folder.scratch_folder(options, {}):
        assert run_folder.is_running(options.run_dir)
    assert not run_folder.is_running(options.run_dir)
    assert not run_folder.is_running(options.run_dir / "missing")


def test_a_folder_that_cannot_be_created_is_reported(capsys, arguments, tmp_path):
    (tmp_path / "run").touch()
    assert error_of(capsys, arguments).startswith(f"make run: RUN_DIR={tmp_path / 'run'} cannot be used: ")


def test_the_scratch_folder_is_removed_and_the_logs_are_kept(arguments, tmp_path):
    options = run.parse(arguments)
    with run_folder.scratch_folder(options, {}) as scratch:
        (scratch / "nginx.pid").touch()
        (options.logs / "gateway.log").touch()

    files = [str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*")]
    assert sorted(files) == ["logs", "logs/gateway.log"]


@pytest.fixture
def without_nginx(monkeypatch, tmp_path):
    """A system that has no nginx."""
    monkeypatch.setattr(nginx, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.mark.usefixtures("without_nginx")
def test_a_missing_nginx_is_one_line_with_the_command_that_installs_it(arguments, capsys):
    options = run.parse([argument for argument in arguments if argument != "--without-nginx"])

    assert start_checks.find_nginx(options) is None

    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"nginx is not installed: the gateway itself listens on port {options.port}.")
    assert line.endswith("make nginx")


@pytest.mark.usefixtures("without_nginx")
def test_https_needs_nginx(capsys, arguments, tmp_path):
    options = [*arguments, f"--tls-dir={tmp_path}"]

    missing = error_of(capsys, [option for option in options if option != "--without-nginx"])
    left_out = error_of(capsys, options)

    assert missing == "make run: TLS_DIR is set, but HTTPS needs nginx: install it by `make nginx`.\n"
    assert left_out == "make run: TLS_DIR is set, but HTTPS needs nginx: leave out --without-nginx.\n"


def test_ports_in_use_are_one_line_with_a_command_to_paste(capsys, arguments, models_config, tmp_path):
    (tmp_path / "run").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        used = {"PORT": one.getsockname()[1], "GRPC_PORT": two.getsockname()[1]}
        options = [*arguments, *(f"--{name.lower().replace('_', '-')}={port}" for name, port in used.items())]
        message = error_of(capsys, options)
        with run_folder.scratch_folder(run.parse(arguments), {}):
            beside = error_of(capsys, options)

    command = message.partition("Choose other ports: ")[2].split()
    values = dict(word.split("=") for word in command[2:])
    assert message.count("\n") == 1
    assert command[:2] == ["make", "run"]
    assert values["MODELS_CONFIG"] == str(models_config)
    assert values["REST_PORT"] == str(run.parse(arguments).rest_port)
    assert len({values[name] for name in ("PORT", "GRPC_PORT", "REST_PORT")} - {*map(str, used.values())}) == 3
    assert f" RUN_DIR={tmp_path / 'run'} " in f"{message.strip()} "
    assert f" RUN_DIR={tmp_path / 'run2'} " in f"{beside.strip()} "


@pytest.mark.parametrize("host", ["192.0.2.1", "nowhere.invalid", "a..b"])
def test_an_address_of_another_machine_is_named_before_anything_starts(capsys, arguments, host):
    message = error_of(capsys, [*arguments, f"--host={host}"])

    assert message == (
        f"make run: HOST={host} is not an address of this machine. Use HOST=127.0.0.1, or 0.0.0.0 for all addresses.\n"
    )


@pytest.mark.parametrize("setting", ["DEFAULT_MODEL", "MODELS"])
def test_a_model_that_is_not_in_the_configuration_is_named_before_anything_starts(
    capsys, arguments, models_config, monkeypatch, setting
):
    monkeypatch.setenv(f"GATEWAY_{setting}", "nope")

    message = error_of(capsys, arguments)

    assert message == f"make run: GATEWAY_{setting}: 'nope' is not in {models_config}, which lists digits.\n"


@pytest.mark.usefixtures("without_nginx")
def test_a_folder_of_jobs_that_cannot_be_made_is_named_before_anything_starts(
    capsys, arguments, models_config, monkeypatch, tmp_path
):
    (models_config.parent / "digits" / "1" / "model.tflite").touch()
    (tmp_path / "file").touch()
    monkeypatch.setenv("GATEWAY_JOBS_DIR", str(tmp_path / "file" / "jobs"))

    message = error_of(capsys, arguments)

    assert message == f"make run: GATEWAY_JOBS_DIR={tmp_path / 'file' / 'jobs'} cannot be used: Not a directory.\n"


@pytest.fixture
def without_tensorflow(tmp_path, monkeypatch):
    """An environment that has no TensorFlow and is not the one of this checkout, into which it would be installed."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "environment"))


@pytest.mark.usefixtures("without_tensorflow")
def test_without_tensorflow_only_the_models_that_need_it_are_left_out(models_config):
    version = models_config.parent / "flowers" / "1"
    version.mkdir(parents=True)
    (version / "model.tflite").write_bytes(b"model")
    add_entry(models_config, "flowers", str(version.parent))

    (line,) = start_checks.install_tensorflow(models_config)

    assert line.startswith("digits cannot be served: TensorFlow is needed for models without model.tflite (digits).")


@pytest.mark.usefixtures("without_tensorflow")
def test_nothing_starts_if_all_models_need_tensorflow(capsys, arguments):
    message = error_of(capsys, arguments)

    assert message.startswith("make run: TensorFlow is needed for models without model.tflite (digits). Install the")


def test_the_welcome_has_a_working_command_line(arguments, models_config, monkeypatch):
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


def test_without_golden_images_the_welcome_sends_a_photo(arguments):
    sample = run.welcome(run.parse(arguments)).partition("image=@")[2].split()[0]

    assert sample.startswith("examples/")
    assert Path(sample).is_file()


class Answers(BaseHTTPRequestHandler):
    """Gives one answer after the other."""

    remaining: list

    def do_GET(self):
        status, body = self.remaining.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815  # the base class looks for this name

    def log_message(self, *_):
        """Log nothing."""


@contextmanager
def answering(port, answers):
    handler = type("Now", (Answers,), {"remaining": list(answers)})
    with ThreadingHTTPServer(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield
        server.shutdown()
        thread.join()


YES = (200, b'{"status": "ready"}')
STARTING = (503, b'{"type": "/problems/gateway-unavailable", "detail": "The gateway does not respond."}')
LOADING = (503, b'{"type": "/problems/model-unavailable", "detail": "digits is loading. Try again shortly."}')


def test_the_probe_prints_each_change_once(arguments, capsys, monkeypatch):
    monkeypatch.setattr(readiness_probe, "STEADY_S", 0)
    options = run.parse(arguments)
    probe = readiness_probe.Probe(options)
    assert [probe.ready(), probe.ready()] == [False, False]
    with answering(options.port, [STARTING, LOADING, LOADING, (502, b"<html>"), YES]):
        assert [probe.ready() for _ in range(5)] == [False, False, False, False, True]

    printed = [line.partition(" s  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert printed == [
        "waiting for the programs",
        "waiting for the gateway",
        "digits is loading.",
        "status 502",
        "ready",
    ]


NO_VALUES = b'{"type": "/problems/not-ready", "detail": "digits: no values.", "missing": ["golden image"]}'
NO_VERSION = b'{"type": "/problems/not-ready", "detail": "digits: no values.", "missing": ["version", "card"]}'


def model_server_states(*states):
    """Return an answer of the model server about a model with these versions."""
    return 200, json.dumps({"model_version_status": [{"state": state} for state in states]}).encode()


@pytest.fixture
def impatient(monkeypatch):
    """Let an unusable default model hold up the start for no time."""
    monkeypatch.setattr(readiness_probe, "UNUSABLE_S", 0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("problem", "states", "others"),
    [
        (NO_VALUES, [model_server_states("AVAILABLE"), model_server_states("AVAILABLE")], ["cifar10"]),
        (NO_VERSION, [(404, b"{}"), model_server_states("AVAILABLE")], ["cifar10"]),
        (NO_VERSION, [model_server_states("END"), model_server_states("AVAILABLE")], ["cifar10"]),
        (NO_VERSION, [model_server_states("LOADING", "END")], []),
        (NO_VERSION, [model_server_states("AVAILABLE")], []),  # the gateway is not connected yet
        (NO_VERSION, [(200, b"<html>")], []),
        (NO_VALUES, [model_server_states("AVAILABLE"), (404, b"{}")], []),
    ],
)
def test_an_unusable_default_model_does_not_keep_the_others_from_being_used(
    arguments, models_config, problem, states, others
):
    add_entry(models_config, "cifar10", "/cifar10")
    options = run.parse(arguments)
    probe = readiness_probe.Probe(options)

    with answering(options.port, [(503, problem)]), answering(options.rest_port, states):
        assert probe.ready() is bool(others)

    assert list(probe.others) == others
    assert "no values" in probe.last


def test_a_damaged_configuration_is_reported_before_anything_starts(capsys, arguments, models_config):
    models_config.write_text("this is not a configuration")

    assert f"make run: {models_config} is not a model server configuration: 1:" in error_of(capsys, arguments)


def test_the_welcome_may_name_a_model(arguments):
    assert "/api/v1/models/my%20model/predict\n" in run.welcome(run.parse(arguments), "my model")


def test_foreign_models_that_cannot_classify_are_named(models_config):
    for name in ("a", "b"):
        add_entry(models_config, name, str(models_config.parent / "digits"))
    (port,) = ports.find(1)
    loaded = (200, b'{"available": true, "version": 1}')
    failed = (200, b'{"available": false, "reason": "It has no version.", "versions": []}')
    unrestored = (502, b'{"detail": "It has no values for its variables."}')

    with answering(port, [loaded, unrestored, failed, failed]):
        unusable = readiness_probe.find_unusable_models(models_config, None, port)

    assert unusable == {
        "a": "a is loaded, but cannot be used: It has no values for its variables.",
        "b": "b is not served: It has no version.",
    }


def test_the_stack_is_ready_after_it_has_stayed_ready(arguments, monkeypatch):
    monkeypatch.setattr(readiness_probe, "STEADY_S", 0.2)
    options = run.parse(arguments)
    probe = readiness_probe.Probe(options)
    with answering(options.port, [YES, LOADING, *[YES] * 1000]):
        assert [probe.ready(), probe.ready()] == [False, False]
        started_s = time.monotonic()
        while not probe.ready():
            assert time.monotonic() - started_s < 10

    assert time.monotonic() - started_s >= 0.2


def test_what_the_terminal_cannot_show_is_escaped(monkeypatch):
    output = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(output, encoding="ascii"))

    terminal.say("GET /\u72ac")

    assert output.getvalue() == b"GET /\\u72ac\n"


def test_a_terminal_that_is_paused_accepts_nothing(monkeypatch):
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with os.fdopen(reader, "rb"), os.fdopen(writer, "w") as paused:
        monkeypatch.setattr("sys.stdout", paused)
        assert terminal.can_say()

        with contextlib.suppress(BlockingIOError):
            while os.write(writer, bytes(65536)):
                pass
        assert not terminal.can_say()


def test_output_that_cannot_be_written_is_ignored(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    broken = os.fdopen(writer, "w")
    monkeypatch.setattr("sys.stdout", broken)
    terminal.say("text")
    with pytest.raises(BrokenPipeError):
        broken.close()
