"""TensorFlow for versions of models that have no TensorFlow Lite model, installed before the model server starts."""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from pathlib import Path

from gateway.models.folders import TFLITE_FILE, has_saved_model
from tools.models_config import find_served_versions
from tools.programs import ROOT

TARGET = "tensorflow"
"""The target of the Makefile that installs TensorFlow."""
SIZE = "310 MB to download, 1.3 GB on disk"


class TensorFlowError(Exception):
    """TensorFlow is needed and cannot be installed; the message says what to do."""


def is_installed() -> bool:
    """Return whether this environment has TensorFlow, without importing it."""
    return any(Path(sys.prefix).glob("lib/python3*/site-packages/tensorflow/__init__.py"))


def needs_tensorflow(versions: Iterable[Path]) -> bool:
    """Return whether one of these folders of versions can be served by TensorFlow only."""
    return any(has_saved_model(version) and not (version / TFLITE_FILE).is_file() for version in versions)


def is_environment_intact() -> bool:
    """Return whether the packages of this program are still there; see `ensure`."""
    return Path(sysconfig.get_path("purelib")).is_dir()


def find_models(config: Path) -> list[str]:
    """Return the names of the models of a configuration that need TensorFlow for a version that is served.

    Raises:
        ModelsConfigError: The configuration cannot be used.
    """
    return [name for name, versions in find_served_versions(config).items() if needs_tensorflow(versions)]


def ensure(names: Sequence[str]) -> None:
    """Install TensorFlow for models with these names, if there are any and it is missing; then run this program anew.

    The environment is made again if TensorFlow has no package for its Python, so no other program may use it then.

    Raises:
        TensorFlowError: It cannot be installed.
    """
    if not names or is_installed():
        return
    reason = f"TensorFlow is needed for models without {TFLITE_FILE} ({', '.join(names)})"
    if Path(sys.prefix) != ROOT / ".venv":
        raise TensorFlowError(f"{reason}. Install the extra `{TARGET}` of pyproject.toml into {sys.prefix}.")
    print(f"{reason}: installing it ({SIZE}) ...", flush=True)
    result = subprocess.run(("make", "--no-print-directory", TARGET), cwd=ROOT, check=False)
    if result.returncode or not is_installed():
        raise TensorFlowError(f"TensorFlow could not be installed; the reason is above. Try again: make {TARGET}")
    os.execv(sys.executable, sys.orig_argv)  # noqa: S606  # the interpreter may be another one now
