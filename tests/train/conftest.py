"""A tiny data set, trained briefly and exported once per session."""

import gzip
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from train.cli.main import app
from train.export.savedmodel import Version, load_version

ROOT = Path(__file__).parents[2]
LABELS = ("square", "bar")
# TensorFlow 2.20's variables implement an old signature of __array__, which Keras calls.
TENSORFLOW_AND_NUMPY_2 = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"


def pytest_collection_modifyitems(items: list[pytest.Item]):
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.filterwarnings(TENSORFLOW_AND_NUMPY_2))


def shapes(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return uint8[N, 28, 28] of alternating light squares and bars on a dark background, and their classes."""
    images = np.zeros((count, 28, 28), np.uint8)
    labels = np.arange(count) % 2
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(4, 10, 2)
        height, width = ((12, 12), (16, 3))[label]
        image[top : top + height, left : left + width] = rng.integers(150, 256)
    return images, labels


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4) for size in array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture(scope="session")
def config_document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The digits' configuration, changed for a data set of 80 + 20 images."""
    folder = tmp_path_factory.mktemp("shapes")
    rng = np.random.default_rng(0)
    (train_images, train_labels), (test_images, test_labels) = shapes(80, rng), shapes(20, rng)
    contents = {
        "train-images-idx3-ubyte": idx(train_images),
        "train-labels-idx1-ubyte": idx(train_labels),
        "t10k-images-idx3-ubyte": idx(test_images),
        "t10k-labels-idx1-ubyte": idx(test_labels),
    }
    for name, content in contents.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
    document = yaml.safe_load((ROOT / "train/configs/digits.yaml").read_text())
    document |= {"name": "shapes", "title": "Two shapes", "labels": list(LABELS)}
    document["data"] |= {
        "directory": str(folder),
        "validation": 16,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    document["model"]["blocks"] = [[4], [8]]
    document["training"] |= {"epochs": 2, "batch_size": 16}
    return document


@pytest.fixture(scope="session")
def config_path(config_document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configs") / "shapes.yaml"
    path.write_text(yaml.safe_dump(config_document))
    return path


@pytest.fixture(scope="session")
def run(config_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    runs = tmp_path_factory.mktemp("runs")
    result = CliRunner().invoke(app, ["fit", str(config_path), "--runs", str(runs)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return runs / "shapes"


@pytest.fixture
def own_run(run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change, in a folder of runs of its own."""
    return Path(shutil.copytree(run, tmp_path / "runs" / run.name))


@pytest.fixture(scope="session")
def models(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of served models with version 1 of `shapes`."""
    folder = tmp_path_factory.mktemp("models")
    result = CliRunner().invoke(app, ["export", str(run), "--models", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="session")
def version(models: Path) -> Version:
    return load_version(models / "shapes/1")
