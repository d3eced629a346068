"""Which models need TensorFlow, and its installation before they are served."""

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tools import tensorflow_extra
from tools.tensorflow_extra import TensorFlowError

ROOT = Path(__file__).parents[3]
ENTRY = 'config {{ name: "{name}" base_path: "{folder}" model_platform: "tensorflow" {policy} }}\n'
SAVED, TFLITE = "saved_model.pb", "model.tflite"
PROGRAM = """
import sys
from pathlib import Path
from tools import tensorflow_extra
tensorflow_extra.ROOT = Path(sys.argv[1])
sys.prefix = str(tensorflow_extra.ROOT / ".venv")
tensorflow_extra.ensure(["flowers", "pets"])
print("served")
"""


@pytest.fixture
def needing(tmp_path):
    """Return a function that configures a model with versions, and returns the names of those that need TensorFlow."""

    def needing(versions, policy=""):
        for version, names in versions.items():
            (tmp_path / "flowers" / version).mkdir(parents=True)
            for name in names:
                (tmp_path / "flowers" / version / name).touch()
        config = tmp_path / "models.config"
        policy = policy and f"model_version_policy {{ {policy} }}"
        entry = ENTRY.format(name="flowers", folder=tmp_path / "flowers", policy=policy)
        config.write_text(f"model_config_list {{ {entry} }}", encoding="utf-8")
        return tensorflow_extra.find_models(config)

    return needing


@pytest.mark.parametrize(
    ("versions", "policy"),
    [
        ({"1": [SAVED]}, ""),
        ({"9": [SAVED, TFLITE], "10": [SAVED]}, ""),
        ({"1": [SAVED], "2": [SAVED, TFLITE]}, "all {}"),
        ({"1": [SAVED], "2": [SAVED, TFLITE]}, "latest { num_versions: 2 }"),
        ({"1": [SAVED], "2": [SAVED, TFLITE]}, "specific { versions: 1 }"),
    ],
)
def test_a_served_version_without_tflite_needs_tensorflow(needing, versions, policy):
    assert needing(versions, policy) == ["flowers"]


@pytest.mark.parametrize(
    ("versions", "policy"),
    [
        ({"1": [SAVED, TFLITE]}, ""),
        ({"1": [TFLITE]}, ""),
        ({"1": [SAVED], "2": [SAVED, TFLITE]}, ""),
        ({"1": [SAVED], "2": [SAVED, TFLITE]}, "latest {}"),
        ({"1": [SAVED], "2": [SAVED, TFLITE]}, "specific { versions: 2 }"),
        ({"1": [SAVED, TFLITE], "incoming": [SAVED]}, ""),
        ({"1": []}, ""),
        ({}, ""),
    ],
)
def test_other_models_need_no_tensorflow(needing, versions, policy):
    assert needing(versions, policy) == []


def test_a_folder_in_place_of_a_model_file_does_not_count(needing, tmp_path):
    (tmp_path / "flowers/1" / TFLITE).mkdir(parents=True)
    (tmp_path / "flowers/1" / SAVED).touch()
    (tmp_path / "flowers/2" / TFLITE).mkdir(parents=True)

    assert needing({}, "specific { versions: 1 }") == ["flowers"]
    assert needing({}, "specific { versions: 2 }") == []


def test_the_uri_of_a_folder_is_looked_into(tmp_path):
    (tmp_path / "flowers/1").mkdir(parents=True)
    (tmp_path / "flowers/1" / SAVED).touch()
    config = tmp_path / "models.config"
    entry = ENTRY.format(name="flowers", folder=f"file://{tmp_path}/flowers", policy="")
    config.write_text(f"model_config_list {{ {entry} }}", encoding="utf-8")

    assert tensorflow_extra.find_models(config) == ["flowers"]


def test_an_environment_that_was_made_again_is_not_intact(tmp_path):
    venv.create(tmp_path / "environment", symlinks=True)
    code = (
        "import shutil, sysconfig; from tools.tensorflow_extra import is_environment_intact as intact; "
        "print(intact()); shutil.rmtree(sysconfig.get_path('purelib')); print(intact())"
    )
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}

    command = [tmp_path / "environment/bin/python", "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout == "True\nFalse\n"


def run(root, recipe):
    """Run a program that needs TensorFlow in a checkout whose Makefile installs it by a recipe."""
    (root / ".venv/lib/python3.11/site-packages").mkdir(parents=True)
    (root / "Makefile").write_text(f"tensorflow:\n\t@{recipe}\n", encoding="utf-8")
    command = [sys.executable, "-c", PROGRAM, root]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_tensorflow_is_installed_with_one_line_and_the_program_goes_on(tmp_path):
    package = ".venv/lib/python3.11/site-packages/tensorflow"

    done = run(tmp_path, f"mkdir {package} && touch {package}/__init__.py")

    assert done.stdout == (
        "TensorFlow is needed for models without model.tflite (flowers, pets): "
        "installing it (310 MB to download, 1.3 GB on disk) ...\nserved\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("recipe", ["false", "true"])
def test_an_installation_that_fails_is_reported(tmp_path, recipe):
    done = run(tmp_path, recipe)

    assert done.returncode == 1
    assert "TensorFlow could not be installed; the reason is above. Try again: make tensorflow" in done.stderr


def test_another_environment_is_not_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    with pytest.raises(TensorFlowError, match=f"Install the extra `tensorflow` of pyproject.toml into {tmp_path}"):
        tensorflow_extra.ensure(["flowers"])


def test_nothing_is_installed_without_need(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    tensorflow_extra.ensure([])
