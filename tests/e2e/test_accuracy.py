"""Each committed model classifies its whole test set over HTTP as it does offline, and as its card states."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.cifar10_archive import pack_jpeg_test, pack_sheets
from tests.support.stack import ROOT

DATA = ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class TestSet:
    """A test set of a committed model.

    Attributes:
        model: Name of the model.
        data: Name of the data set's folder.
        metrics: Member of the card's metrics that holds the figures; None for the metrics themselves.
        images: Number of images.
        min_accuracy: Lowest accuracy.
        batch: Number of images in a request.
        pack: Converts the data set into the form that `train` reads, if it has another form.
    """

    __test__ = False

    model: str
    data: str
    metrics: str | None
    images: int
    min_accuracy: float
    batch: int
    pack: Callable[[Path, Path], Path] | None = None


SETS = [
    TestSet("digits", "mnist", None, 10_000, 0.993, batch=1),
    TestSet("cifar10", "cifar10", None, 1_017, 0.95, batch=8, pack=pack_sheets),
    TestSet("cifar10", "cifar10", "jpeg", 10_000, 0.92, batch=8, pack=pack_jpeg_test),
]


def card_metrics(model):
    newest = max((ROOT / "serving_models" / model).glob("[0-9]*"), key=lambda path: int(path.name))
    return json.loads((newest / "assets.extra/card.json").read_text(encoding="utf-8"))["metrics"]


@pytest.mark.parametrize("test_set", SETS, ids=lambda test_set: f"{test_set.model} {test_set.metrics or 'test'}")
@pytest.mark.minutes
@pytest.mark.timeout(1500)
def test_predictions_over_http_equal_those_offline_for_every_image(stack, test_set, tmp_path):
    data = DATA / test_set.data
    if not (ROOT / "serving_models" / test_set.model).is_dir():
        pytest.skip(f"serving_models/{test_set.model} does not exist")
    if not data.is_dir():
        pytest.skip(f"the data set is not in {data.relative_to(ROOT.parent)}")
    if test_set.pack:
        data = test_set.pack(data, tmp_path).parent

    command = [sys.executable, "-m", "train", "verify", f"--url={stack.url}", f"--model={test_set.model}"]
    command += [f"--data={data}", "--connections=2", f"--batch={test_set.batch}", "--set=test"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=1400, cwd=ROOT, check=False)

    assert process.returncode == 0, process.stdout + process.stderr
    metrics = card_metrics(test_set.model)
    pattern = (
        rf"test images \((\w+)\): {test_set.images} sent, ([\d.]+)% right over HTTP, ([\d.]+)% offline;"
        r".* mismatches: 0\b"
    )
    found = re.search(pattern, process.stdout)
    assert found, process.stdout
    form, over_http, offline = found.groups()
    figures = metrics["forms"][form]
    figures = figures[test_set.metrics] if test_set.metrics else figures
    assert figures["images"] == test_set.images
    assert figures["accuracy"] >= test_set.min_accuracy
    assert over_http == offline == f"{100 * figures['accuracy']:.2f}"
