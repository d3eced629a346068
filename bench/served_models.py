"""Make the models that are served: MobileNetV2 in several forms, and copies of the committed ones."""

import json
import os
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from bench import network
from bench.alternatives.engine import KERAS, OPENVINO_INT8_FILE
from tools.committed_models import newest_version
from tools.programs import ROOT

Form: TypeAlias = Literal["int8", "float32", "none"]
"""The TensorFlow Lite form of a version; with `none` it has only a SavedModel."""
COMMITTED = ("digits", "cifar10")
LOG = "prepare.log"
_ANY_LOSS = ("--max-loss", "100")
"""Random weights lose accuracy in int8, but cost what others cost."""


def prepare_network(folder: Path, weights: str | None) -> None:
    """Write MobileNetV2 as a Keras file, unless an earlier run has written it.

    Args:
        folder: Where to write it.
        weights: File with its weights; None for random ones.

    Raises:
        RuntimeError: It failed.
    """
    if not (folder / KERAS).exists():
        _run_module(folder / LOG, "bench.network", folder, *([weights] if weights else []))


def convert_network(folder: Path) -> None:
    """Write the network for the other engines, unless an earlier run has written it.

    Raises:
        RuntimeError: It failed.
    """
    if not (folder / OPENVINO_INT8_FILE).exists():
        _run_module(folder / LOG, "bench.alternatives.convert", folder)


def export_network(folder: Path, models: Path, form: Form | None, *, checkout: Path = ROOT) -> None:
    """Export MobileNetV2 as version 1 of `photos`, unless an earlier run has exported it.

    Args:
        folder: Folder of `prepare_network`.
        models: Folder of the served models.
        form: Its TensorFlow Lite form; None for a checkout that exports only SavedModels.
        checkout: The working tree whose `train` exports it, with its own environment.

    Raises:
        RuntimeError: It failed.
    """
    if not (models / network.NAME / "1").is_dir():
        files = (folder / KERAS, "--card", folder / "card.json", "--pictures", folder / "pictures")
        options = ("--models", models, *(("--tflite", form, *_ANY_LOSS) if form else ()))
        _run_module(folder / LOG, "train", "import-keras", *files, *options, checkout=checkout)


def copy_committed(models: Path, *, checkout: Path = ROOT) -> None:
    """Copy the committed models of a checkout, since versions are added to them."""
    for name in COMMITTED:
        shutil.rmtree(models / name, ignore_errors=True)
        shutil.copytree(checkout / "serving_models" / name, models / name)


def write_config(models: Path, names: Collection[str]) -> None:
    """Write models.config; the first model is the default one, whose golden images decide whether a stack is ready."""
    entries = "".join(
        f'  config {{ name: "{name}" base_path: "{models / name}" model_platform: "tensorflow" }}\n' for name in names
    )
    (models / "models.config").write_text(f"model_config_list {{\n{entries}}}\n", encoding="utf-8")


def add_version(models: Path, model: str) -> int:
    """Publish a copy of a model's last version as its next one; the model server loads it by itself."""
    last = newest_version(model, models)
    number = int(last.name) + 1
    copy = models / model / f".{number}"
    shutil.copytree(last, copy)
    copy.rename(models / model / str(number))
    return number


def first_golden(models: Path, model: str) -> tuple[bytes, str]:
    """Return a model's first golden image, and the label that its served form gave it when it was exported."""
    extra = newest_version(model, models) / "assets.extra"
    golden = json.loads((extra / "golden" / "golden.json").read_text(encoding="utf-8"))["images"][0]
    card = json.loads((extra / "card.json").read_text(encoding="utf-8"))
    best = int(np.argmax(golden.get("tflite_probabilities", golden["probabilities"])))
    return (extra / "golden" / golden["file"]).read_bytes(), str(card["labels"][best])


def _run_module(log: Path, module: str, *arguments: str | Path, checkout: Path = ROOT) -> None:
    """Run a module of a checkout to its end.

    Raises:
        RuntimeError: It failed.
    """
    command = [str(checkout / ".venv/bin/python"), "-m", module, *map(str, arguments)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    with log.open("ab") as output:
        result = subprocess.run(command, cwd=checkout, env=environment, stdout=output, stderr=output, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with exit status {result.returncode}; see {log}")
