"""Networks with published weights, each imported by one command, classify photos of ImageNet over HTTP."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.stack import ROOT, RunningStack, running
from train.data.examples import Example
from train.verification.verify import Prediction, ServedModel

DATA = ROOT.parent / "shared/data"
SAMPLES = DATA / "imagenet_samples"
MODELS = {
    "imagenet": ["--weights", str(DATA / "weights/mobilenet_v2_1.0_224/mobilenet_v2_1.0_224_from_int8_f16.h5")],
    "squeezenet": [str(DATA / "weights/squeezenet_v1.1/squeezenet_v1.1_fp16.onnx")],
}
ENTRY = 'config {{ name: "{name}" base_path: "{path}" model_platform: "tensorflow" }}'

pytestmark = [
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="photos and weights are not in ../shared/data"),
    pytest.mark.timeout(900),
]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory):
    """A stack with both networks."""
    folder = tmp_path_factory.mktemp("published")
    for name, weights in MODELS.items():
        command = [sys.executable, "-m", "train", name, *weights]
        command += ["--pictures", str(SAMPLES / "images"), "--models", str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, timeout=400, capture_output=True)
    entries = "\n".join(ENTRY.format(name=name, path=folder / name) for name in MODELS)
    (folder / "models.config").write_text(f"model_config_list {{\n{entries}\n}}\n", encoding="utf-8")
    with running(folder / "run", models_config=folder / "models.config") as stack:
        yield stack


@pytest.fixture(scope="module")
def photos() -> list[Example]:
    with (SAMPLES / "labels.csv").open(encoding="utf-8", newline="") as file:
        return [Example(Path(SAMPLES, "images", row["file"]), (int(row["index"]),)) for row in csv.DictReader(file)]


@pytest.mark.parametrize(("name", "min_accuracy"), [("imagenet", 0.87), ("squeezenet", 0.60)])
def test_an_imported_network_has_its_accuracy(
    published: RunningStack, photos: list[Example], name: str, min_accuracy: float
):
    with ServedModel(published.url, name, classes=1000) as model:
        predictions = model.classify_all(photos, lambda _: None)

    assert predictions
    assert all(isinstance(prediction, Prediction) for prediction in predictions)
    correct = [prediction.classes == set(photo.classes) for prediction, photo in zip(predictions, photos, strict=True)]
    assert np.mean(correct) >= min_accuracy
