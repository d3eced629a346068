"""The script that records PyTorch's answers stands alone; here, without PyTorch, its parts are tested."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from train.cli.main import app
from train.errors import TrainError
from train.importers.record_torch import build_network, fit_names, make_images


def test_the_pictures_are_always_the_same_and_differ_from_each_other():
    images = make_images(3, 8, 12, 3)

    assert images.shape == (3, 8, 12, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, make_images(3, 8, 12, 3))
    assert len({image.tobytes() for image in images}) == 3


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone."])
def test_a_prefix_of_all_names_is_left_out(prefix: str):
    state = {f"{prefix}fc.weight": 1, f"{prefix}fc.bias": 2, "other.epoch": 3}

    assert fit_names(state, {"fc.weight": 0, "fc.bias": 0}) == {"fc.weight": 1, "fc.bias": 2}


def test_a_checkpoint_of_another_network_is_refused():
    with pytest.raises(SystemExit, match=r"it has conv\.weight …, the network has fc\.weight …"):
        fit_names({"conv.weight": 1}, {"fc.weight": 0})


def test_a_factory_gets_the_number_of_labels_and_the_arguments():
    assert build_network("builtins:dict", ["depth=3", "name=small"], 7) == {
        "num_classes": 7,
        "depth": 3,
        "name": "small",
    }
    assert build_network("builtins:dict", ["num_classes=None"], 7) == {}


def test_an_environment_without_pytorch_is_named(tmp_path: Path):
    (tmp_path / "card.json").write_text(
        json.dumps({"name": "x", "labels": ["a", "b"], "input": {"height": 8, "width": 8}})
    )
    options = [
        "--card",
        tmp_path / "card.json",
        "--network",
        "torchvision.models:resnet18",
        "--out",
        tmp_path / "r.npz",
    ]

    result = CliRunner().invoke(app, [*map(str, ["record-torch", "model.pth", *options, "--python", sys.executable])])

    assert isinstance(result.exception, TrainError)
    assert "No module named 'torch'" in str(result.exception)
