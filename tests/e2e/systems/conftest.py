"""What the older systems were sent: nothing but host and path is another here."""

import json
from pathlib import Path

import pytest

from tests.support.stack import ROOT, Stack

GOLDEN = ROOT / "serving_models" / "cifar10" / "1" / "assets.extra" / "golden"


@pytest.fixture(scope="session")
def photos() -> list[tuple[Path, str]]:
    """A small photo of each class of `cifar10`, and the class."""
    entries = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))["images"]
    return [(GOLDEN / item["file"], item["class"]) for item in entries]


@pytest.fixture(scope="session")
def multilabel_stack(colour_stack: Stack) -> Stack:
    """The models of tests/support/colour_models.py; `lights` tells which of several colours shine in a picture."""
    return colour_stack
