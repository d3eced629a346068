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
        least_accuracy: The accuracy is at least this.
        batch: Images a request.
        pack: Converts the data set into the form that `train` reads, if it lies there in another.
    """

    __test__ = False

    model: str
    data: str
    metrics: str | None
    images: int
    least_accuracy: float
    batch: int
    pack: Callable[[Path, Path], Path] | None = None


SETS = [
    TestSet("digits", "mnist", None, 10_000, 0.993, batch=1),
    TestSet("cifar10", "cifar10", None, 1_017, 0.93, batch=32, pack=pack_sheets),
    TestSet("cifar10", "cifar10", "jpeg", 10_000, 0.89, batch=32, pack=pack_jpeg_test),
]


def card_metrics(model):
    newest = max((ROOT / "serving_models" / model).glob("[0-9]*"), key=lambda path: int(path.name))
    return json.loads((newest / "assets.extra/card.json").read_text(encoding="utf-8"))["metrics"]


@pytest.mark.parametrize("tested", SETS, ids=lambda tested: f"{tested.model} {tested.metrics or 'test'}")
@pytest.mark.minutes
@pytest.mark.timeout(1500)
def test_answers_over_http_equal_those_offline_image_for_image(stack, tested, tmp_path):
    data = DATA / tested.data
    if not (ROOT / "serving_models" / tested.model).is_dir():
        pytest.skip(f"serving_models/{tested.model} does not exist")
    if not data.is_dir():
        pytest.skip(f"its data set is not in {data.relative_to(ROOT.parent)}")
    if tested.pack:
        data = tested.pack(data, tmp_path).parent

    command = [sys.executable, "-m", "train", "verify", f"--url={stack.url}", f"--model={tested.model}"]
    command += [f"--data={data}", f"--batch={tested.batch}", "--set=test"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1400, cwd=ROOT, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    metrics = card_metrics(tested.model)
    figures = metrics[tested.metrics] if tested.metrics else metrics
    assert figures["images"] == tested.images
    assert figures["accuracy"] >= tested.least_accuracy
    pattern = rf"test images: {tested.images} sent, ([\d.]+)% right over HTTP, ([\d.]+)% offline;.* mismatches: 0\b"
    accuracies = re.search(pattern, done.stdout)
    assert accuracies, done.stdout
    assert accuracies[1] == accuracies[2] == f"{100 * figures['accuracy']:.2f}"
