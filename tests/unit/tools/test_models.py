import fcntl
import json
import os
import shutil
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.raw_server import RawServer
from tests.support.tflite_files import doubling_model, model_without_a_subgraph
from tools import models, ports, service
from tools.models_config import add_entry, find_sample, read_entries

FILES = ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001")


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The configuration, not created yet, of a folder that holds models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(service, "POLL_S", 0.01)
    (tmp_path / "served").mkdir()
    return tmp_path / "served" / "models.config"


def make_saved_model(folder, content="content"):
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def add(config, folder, *options, url=None):
    """Add a model while no service runs, unless there is a URL."""
    url = url or f"http://127.0.0.1:{ports.find(1)[0]}"
    options = (f"--run-dir={config.parent / 'run'}", "--timeout=5", *options)
    return models.main(["add", str(folder), f"--config={config}", f"--url={url}", *options])


# Where the model is put


def test_a_saved_model_is_copied_and_configured(config, tmp_path, capsys):
    source = make_saved_model(tmp_path / "downloads" / "flowers")

    assert add(config, source) == 0

    assert files(config.parent / "flowers") == sorted(f"1/{name}" for name in FILES)
    assert files(source) == sorted(FILES)
    assert read_entries(config).folders["flowers"].path == config.parent / "flowers"
    output = capsys.readouterr().out
    assert "downloads/flowers copied to served/flowers/1.\nflowers added to served/models.config.\n" in output
    assert "No service answers at http://127.0.0.1:" in output
    assert "flowers is served from the next `make run` on." in output


def test_adding_again_changes_nothing(config, tmp_path, capsys):
    source = make_saved_model(tmp_path / "flowers")
    add(config, source)
    before = config.read_text()

    assert add(config, source) == 0

    assert config.read_text() == before
    assert files(config.parent / "flowers") == sorted(f"1/{name}" for name in FILES)
    assert "flowers is in served/models.config already." in capsys.readouterr().out


def test_another_model_of_the_same_name_is_refused_with_both_ways_out(config, tmp_path, capsys):
    add(config, make_saved_model(tmp_path / "a" / "export"))

    assert add(config, make_saved_model(tmp_path / "b" / "export", "another")) == 1

    error = capsys.readouterr().err
    assert f"{config.parent}/export has another model already. Choose another name (--name)" in error
    assert "cp -r b/export served/export/2.tmp && mv served/export/2.tmp served/export/2" in error


def test_a_folder_with_versions_stays_where_it_is(config, tmp_path, capsys):
    make_saved_model(tmp_path / "flowers" / "3")

    assert add(config, tmp_path / "flowers", "--name=roses") == 0

    assert read_entries(config).folders["roses"].path == tmp_path / "flowers"
    assert list(config.parent.iterdir()) == [config]
    assert "Compose and Kubernetes serve what is in served." in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["served/flowers", "served/flowers/1"])
def test_a_model_that_is_in_place_is_only_configured(config, tmp_path, folder):
    make_saved_model(config.parent / "flowers" / "1")

    assert add(config, tmp_path / folder) == 0

    assert list(read_entries(config)) == ["flowers"]
    assert files(config.parent / "flowers") == sorted(f"1/{name}" for name in FILES)


def test_a_saved_model_without_the_folder_of_a_version_gets_one(config):
    folder = make_saved_model(config.parent / "flowers")

    assert add(config, folder) == add(config, folder) == 0

    assert files(folder) == sorted([*FILES, *(f"1/{name}" for name in FILES)])


def test_a_name_that_is_configured_for_another_folder_is_refused(config, tmp_path, capsys):
    make_saved_model(tmp_path / "flowers" / "1")
    add_entry(config, "flowers", "/elsewhere")

    assert add(config, tmp_path / "flowers") == 1

    assert "served/models.config names /elsewhere for flowers, not flowers." in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "two\nlines"])
def test_a_name_that_cannot_be_part_of_a_url_is_refused(config, tmp_path, capsys, name):
    source = make_saved_model(tmp_path / "..." if not name else tmp_path / "flowers")

    assert add(config, source, f"--name={name}") == 1

    assert "cannot be the name of a model" in capsys.readouterr().err
    assert not config.exists()


# What is not a SavedModel


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "{}/nothing does not exist."),
        ("notes.txt", "{}/notes.txt is a file. Expected is a folder with saved_model.pb or model.tflite in it."),
        ("m.keras", '{}/m.keras is not a SavedModel. Write a SavedModel of it, in Python: keras.models.load_model("'),
        ("empty", "{}/empty is empty. Put a SavedModel or model.tflite into {}/empty/1."),
        (
            "nested",
            "{}/nested has no model itself; {}/nested/a/b has one. Add that: python -m tools.models add nested/a/b",
        ),
        ("half", "{}/half/variables/variables.index is missing. Copy the model again."),
        ("versions", "{}/versions/1 is empty. Put a SavedModel or model.tflite into {}/versions/1."),
    ],
)
def test_a_folder_that_cannot_be_served_is_refused_with_what_mends_it(config, tmp_path, capsys, path, message):
    for file in ("notes.txt", "m.keras"):
        (tmp_path / file).touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "versions" / "1").mkdir(parents=True)
    make_saved_model(tmp_path / "nested" / "a" / "b")
    (make_saved_model(tmp_path / "half") / "variables" / "variables.index").unlink()

    assert add(config, tmp_path / path) == 1

    assert capsys.readouterr().err.startswith(f"tools.models: {message}".replace("{}", str(tmp_path)))
    assert not config.exists()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"content", "Its model.tflite is damaged, or not the file of a TensorFlow Lite model."),
        (model_without_a_subgraph(), "Its model.tflite is damaged: TensorFlow Lite crashes on it."),
    ],
    ids=["unreadable", "crashing"],
)
def test_a_damaged_tflite_model_is_refused_with_the_cause(config, tmp_path, capsys, content, fault):
    source = make_saved_model(tmp_path / "flowers")
    (source / "model.tflite").write_bytes(content)

    assert add(config, source) == 1

    assert capsys.readouterr().err.startswith(f"tools.models: flowers cannot be served. {fault}")
    assert list(config.parent.iterdir()) == []


def test_the_newest_version_may_not_be_damaged(config, tmp_path):
    make_saved_model(tmp_path / "flowers" / "1")
    (make_saved_model(tmp_path / "flowers" / "2") / "model.tflite").write_bytes(b"content")

    assert add(config, tmp_path / "flowers") == 1

    assert not config.exists()


@pytest.mark.parametrize("name", ["pets.keras", "pets.weights.h5", "pets.tar.gz", "pets.ONNX"])
def test_a_file_of_another_kind_is_to_be_converted_to_where_it_is_then_added(config, tmp_path, capsys, name):
    (tmp_path / name).touch()

    assert add(config, tmp_path / name) == 1

    error = capsys.readouterr().err
    assert str(config.parent / "pets" / "1") in error
    assert error.endswith(" Then add that: python -m tools.models add served/pets --config=served/models.config\n")


def test_check_prints_a_line_for_each_model(config, capsys):
    make_saved_model(config.parent / "good" / "1")
    add_entry(config, "good", str(config.parent / "good"))
    add_entry(config, "bad", str(config.parent / "bad"))

    assert models.main(["check", f"--config={config}"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "good: ok",
        f"bad: The folder {config.parent}/bad does not exist. Correct base_path in models.config.",
    ]
    make_saved_model(config.parent / "bad" / "1")
    assert models.main(["check", f"--config={config}"]) == 0


def test_check_reports_a_missing_configuration(config, capsys):
    assert models.main(["check", f"--config={config}"]) == 1
    assert capsys.readouterr().err == f"tools.models: {config} cannot be read: No such file or directory.\n"


# The running service


class Gateway(BaseHTTPRequestHandler):
    """Gives one answer after the other."""

    answers: list

    def do_GET(self):
        self.server.paths.append((self.command, self.path, self.headers.get("Authorization")))
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, document = self.answers.pop(0)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(document if isinstance(document, bytes) else json.dumps(document).encode())

    do_POST = do_GET  # noqa: N815  # the base class looks for this name

    def log_message(self, *_):
        """Log nothing."""


@contextmanager
def gateway(*answers, first=(200, {"models": []})):
    """Run a gateway that gives these answers; yield its URL and the requests that it receives."""
    handler = type("Now", (Gateway,), {"answers": [first, *answers]})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.paths = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", server.paths
        server.shutdown()
        thread.join()


UNKNOWN = (404, {"detail": "No model named 'my flowers' is served."})
LOADING = (200, {"available": False, "reason": "It is loading.", "versions": [{"state": "LOADING"}]})
FAILED = (200, {"available": False, "reason": "It is garbage.", "versions": [{"state": "END", "reason": "garbage"}]})
SERVED = (200, {"available": True, "version": 1})
CLASSIFIED = (200, {"class": "rose"})


@pytest.fixture
def flowers(tmp_path):
    return make_saved_model(tmp_path / "my flowers")


def test_the_command_waits_until_the_model_classifies_and_prints_how_to_try_it(config, flowers, capsys):
    with gateway(UNKNOWN, LOADING, SERVED, CLASSIFIED) as (url, requests):
        assert add(config, flowers, "--api-key=secret", url=url) == 0

    path = "/api/v1/models/my%20flowers"
    sample = find_sample()
    assert requests == [
        ("GET", "/api/v1/models", "Bearer secret"),
        *[("GET", path, "Bearer secret")] * 3,
        ("POST", f"{path}/predict", "Bearer secret"),
    ]
    assert capsys.readouterr().out.endswith(
        f"my flowers version 1 is served. Try it:\n  curl -F image=@{sample} {url}{path}/predict\n"
    )
    assert sample.is_file()


def test_the_printed_command_sends_a_golden_image(config, flowers, capsys):
    golden = flowers / "assets.extra" / "golden" / "00.png"
    golden.parent.mkdir(parents=True)
    golden.touch()

    with gateway(SERVED, CLASSIFIED) as (url, _):
        assert add(config, flowers, url=url) == 0

    assert "image=@'served/my flowers/1/assets.extra/golden/00.png'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([FAILED, FAILED], "my flowers is not served: It is garbage."),
        (
            [SERVED, (502, {"detail": "No values for its variables."})],
            "my flowers is loaded, but cannot be used: No values for its variables.",
        ),
    ],
)
def test_a_model_that_cannot_be_used_is_reported_with_the_cause(config, flowers, capsys, answers, message):
    with gateway(*answers) as (url, _):
        assert add(config, flowers, url=url) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"tools.models: {message}")
    assert error.endswith(
        " The entry stays in served/models.config: mend the model and run the command again, or remove it.\n"
    )
    assert list(read_entries(config)) == ["my flowers"]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ((401, {"detail": "Send a key."}), "{url} requires an API key. Set IMAGE_GATEWAY_API_KEY"),
        (
            (200, {"models": [{"name": "digits"}]}),
            "The service at {url} does not read served/models.config: it offers digits; the file lists none. Name the",
        ),
        ((404, {"error": "Malformed request"}), "{url} answers with status 404, but not as an Image Gateway. Use the"),
        ((200, b"<html>"), "{url} answers with status 200, but not as an Image Gateway. Use the"),
    ],
)
def test_another_service_is_noticed_before_anything_is_written(config, flowers, capsys, first, message):
    with gateway(first=first) as (url, requests):
        assert add(config, flowers, url=url) == 1

    assert len(requests) == 1
    assert capsys.readouterr().err.startswith(f"tools.models: {message.format(url=url)}")
    assert list(config.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("localhost:30080", "Did you mean http://localhost:30080?"),
        ("localhost", "Did you mean http://localhost?"),
        ("ftp://localhost", "Use the URL under which `make run` serves the page"),
        ("http://", "Use the URL under which"),
        ("http://localhost:99999", "Use the URL under which"),
    ],
)
def test_what_is_not_a_url_is_noticed_before_anything_is_written(config, flowers, capsys, url, hint):
    assert add(config, flowers, url=url) == 1

    assert capsys.readouterr().err.startswith(f"tools.models: {url!r} is not the URL of a service. {hint}")
    assert list(config.parent.iterdir()) == []


def test_a_port_without_http_is_noticed_before_anything_is_written(config, flowers, capsys):
    with RawServer(lambda _, send: send(b"\x00\x00\x18\x04\r\n" * 9)) as server:
        assert add(config, flowers, url=server.url("")) == 1

    assert "answers, but not with HTTP. Use the URL under which" in capsys.readouterr().err
    assert list(config.parent.iterdir()) == []


def test_an_overloaded_service_does_not_mean_that_the_model_is_unusable(config, flowers):
    with gateway(SERVED, (503, {"detail": "Too many requests."})) as (url, _):
        assert add(config, flowers, url=url) == 0


def test_waiting_ends_after_the_time_limit(config, flowers, capsys):
    with gateway(*[UNKNOWN] * 1000) as (url, _):
        assert add(config, flowers, "--timeout=0.05", url=url) == 1

    assert "my flowers is not served: No model named 'my flowers' is served." in capsys.readouterr().err


# TensorFlow, which this environment seems to lack


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """RUN_DIR of a `make run` in an environment without TensorFlow."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    folder = tmp_path / "run"
    folder.mkdir()
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    yield folder
    os.close(lock)


def test_a_model_without_tflite_makes_a_run_need_tensorflow(config, flowers, run_dir, capsys):
    assert add(config, flowers, f"--run-dir={run_dir}") == 1

    assert "TensorFlow is needed for models without model.tflite (my flowers)." in capsys.readouterr().err
    assert not config.exists()


def test_a_run_is_stopped_before_another_python_is_installed(config, flowers, run_dir, capsys, monkeypatch):
    """TensorFlow has no package for this Python."""
    monkeypatch.setattr(models, "WITHOUT_TENSORFLOW", sys.version_info[:2])

    assert add(config, flowers, f"--run-dir={run_dir}") == 1

    assert "Stop `make run`, run this command again" in capsys.readouterr().err
    assert not config.exists()


@pytest.mark.usefixtures("run_dir")
def test_a_service_that_is_not_a_run_needs_nothing_installed(config, flowers, tmp_path):
    with gateway(SERVED, CLASSIFIED) as (url, _):
        assert add(config, flowers, f"--run-dir={tmp_path / 'other'}", url=url) == 0


def test_a_model_for_tensorflow_lite_needs_no_tensorflow(config, flowers, run_dir):
    (flowers / "model.tflite").write_bytes(doubling_model())

    assert add(config, flowers, f"--run-dir={run_dir}") == 0


def test_a_model_with_tflite_alone_is_added_with_a_note_about_where_it_is_served(config, tmp_path, run_dir, capsys):
    source = tmp_path / "flowers"
    source.mkdir()
    (source / "model.tflite").write_bytes(doubling_model())

    assert add(config, source, f"--run-dir={run_dir}") == 0

    assert files(config.parent / "flowers") == ["1/model.tflite"]
    assert "It has model.tflite and no SavedModel. `make run` and Compose serve it; a GPU" in capsys.readouterr().out


def test_a_copy_that_fails_leaves_nothing(config, flowers, capsys, monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", fail)

    assert add(config, flowers) == 1

    assert "No space left on device" in capsys.readouterr().err
    assert list(Path(config.parent, "my flowers").iterdir()) == []
    assert not config.exists()
