"""The committed model on its whole test set, through HTTP, is what offline evaluation says it is."""

import json
import re
import subprocess
import sys

import pytest

from tests.support.stack import ROOT

MNIST = ROOT.parent / "shared" / "data" / "mnist"
TEST_IMAGES = 10_000


@pytest.mark.skipif(not MNIST.is_dir(), reason="MNIST is not in ../shared/data/mnist")
@pytest.mark.timeout(400)
def test_digits_through_http_equal_offline_image_for_image(stack):
    done = subprocess.run(
        [sys.executable, "-m", "train", "verify", "--url", stack.url, "--model", "digits", "--data", str(MNIST)],
        capture_output=True,
        text=True,
        timeout=380,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b10[, ]?000\b", done.stdout), done.stdout
    card = json.loads((ROOT / "serving_models/digits/1/assets.extra/card.json").read_text(encoding="utf-8"))
    assert card["metrics"]["accuracy"] >= 0.99
