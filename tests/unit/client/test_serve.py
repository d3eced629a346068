"""`image-gateway serve`: where it finds the service, and what it runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from image_gateway_client.commands.serve import MARKS, ServeError, find_checkout, find_python, serve
from tests.support.client_command import runner
from tools import invocation
from tools.run import parse

ROOT = Path(__file__).parents[3]
PRINT_ARGUMENTS = "import json, os, sys; print(json.dumps([os.getcwd(), sys.argv[1:]]))"
PRINT_FOLDER = f"import os; print(os.environ[{invocation.SERVE_FOLDER!r}])"


@pytest.fixture
def checkout(tmp_path):
    """A checkout whose `python -m tools.run` prints its arguments, and whose environment is ready."""
    checkout = tmp_path / "checkout"
    for mark in MARKS:
        (checkout / mark).parent.mkdir(parents=True, exist_ok=True)
        (checkout / mark).touch()
    (checkout / "tools/run.py").write_text(PRINT_ARGUMENTS)
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / ".venv/bin/python").symlink_to(sys.executable)
    (checkout / ".venv/.run-ready").touch()
    return checkout


def run_serve(folder, *arguments):
    command = [sys.executable, "-m", "image_gateway_client", "serve", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_checkout_around_the_current_folder_is_served(checkout):
    folder = checkout / "docs" / "deep"
    folder.mkdir(parents=True)

    result = run_serve(folder, "-p", "18300", "--models-config", "mine.config", "--without-nginx")

    assert (result.returncode, result.stderr) == (0, "")
    assert json.loads(result.stdout) == [
        str(checkout),
        ["--port=18300", f"--models-config={folder / 'mine.config'}", "--without-nginx"],
    ]


def test_the_service_learns_where_the_user_is(checkout):
    (checkout / "docs").mkdir()
    (checkout / "tools/run.py").write_text(PRINT_FOLDER)

    assert run_serve(checkout / "docs").stdout == f"{checkout / 'docs'}\n"


def test_without_options_those_of_the_service_hold(checkout):
    assert json.loads(run_serve(checkout).stdout) == [str(checkout), []]


def test_a_checkout_is_found_by_its_environment_too(checkout, tmp_path):
    assert find_checkout(tmp_path, checkout / ".venv") == checkout
    assert find_checkout(ROOT / "docs", checkout / ".venv") == ROOT


def test_elsewhere_it_says_what_to_do(tmp_path, monkeypatch, capsys):
    with pytest.raises(ServeError, match=r"git clone[\s\S]*make run[\s\S]*docker compose up"):
        find_checkout(tmp_path, tmp_path / "venv")

    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    result = runner("http://localhost:1", tmp_path, monkeypatch, capsys)("serve")

    assert result.status == 2
    assert result.err.startswith("error: This folder is not in a checkout of Image Gateway")


def test_the_command_that_sets_a_checkout_up_can_be_copied(tmp_path):
    with pytest.raises(ServeError, match=rf"Run once: make -C '{tmp_path}/a b; c' run$"):
        find_python(tmp_path / "a b; c")


@pytest.mark.parametrize("missing", [".venv/bin/python", ".venv/.run-ready"])
def test_a_checkout_that_is_not_set_up_names_the_command_that_does_it(checkout, missing):
    (checkout / missing).unlink()
    with pytest.raises(ServeError, match=f"is not installed yet. Run once: make -C {checkout} run"):
        find_python(checkout)


def test_windows_is_told_apart(checkout, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ServeError, match="WSL2 or with Docker Compose"):
        find_python(checkout)


def test_every_option_is_one_of_the_service():
    names = [name for name in serve.__annotations__ if name not in {"context", "return"}]
    values = {"host": "::", "models_config": "a", "batching_config": "b", "run_dir": "c", "tls_dir": "d"}

    options = parse([f"--{name.replace('_', '-')}={values.get(name, 18300)}" for name in names])

    assert {name: str(getattr(options, name)) for name in ("host", "port")} == {"host": "::", "port": "18300"}
    assert len(names) == 9
