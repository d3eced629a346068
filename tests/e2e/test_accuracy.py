"""Each committed model on its whole test set, through HTTP, is what offline evaluation and its card say it is."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass

import pytest

from tests.support.stack import ROOT

DATA = ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Served:
    """A committed model, its data, how many images of each set are right at least, and how many go into a request."""

    model: str
    data: str
    sets: dict[str, tuple[int, float]]
    batch: int


MODELS = [
    Served("digits", "mnist", {"test": (10_000, 0.993)}, batch=1),
    Served("cifar10", "cifar10", {"test": (1_017, 0.93), "jpeg": (10_000, 0.89)}, batch=32),
]


def card_metrics(model):
    newest = max((ROOT / "serving_models" / model).glob("[0-9]*"), key=lambda path: int(path.name))
    return json.loads((newest / "assets.extra/card.json").read_text(encoding="utf-8"))["metrics"]


@pytest.mark.parametrize("served", MODELS, ids=lambda served: served.model)
@pytest.mark.timeout(1500)
def test_through_http_equal_offline_image_for_image(stack, served):
    data = DATA / served.data
    if not (ROOT / "serving_models" / served.model).is_dir():
        pytest.skip(f"serving_models/{served.model} is not there")
    if not data.is_dir():
        pytest.skip(f"its data set is not in {data.relative_to(ROOT.parent)}")
    command = [sys.executable, "-m", "train", "verify", f"--url={stack.url}", f"--model={served.model}"]
    command += [f"--data={data}", f"--batch={served.batch}", *(f"--set={name}" for name in served.sets)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1400, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    metrics = card_metrics(served.model)
    for name, (images, least) in served.sets.items():
        told = metrics if name == "test" else metrics[name]
        assert told["images"] == images
        assert told["accuracy"] >= least
        pattern = rf"{name} images: {images} sent, ([\d.]+)% right over HTTP, ([\d.]+)% offline;.* mismatches: 0\b"
        found = re.search(pattern, done.stdout)
        assert found, done.stdout
        assert found[1] == found[2] == f"{100 * told['accuracy']:.2f}"
