"""The script that records PyTorch's answers stands alone; here, without PyTorch, its parts are tested."""

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from train.cli.main import app
from train.errors import TrainError
from train.importers.record_torch import Placeholder, TensorUnpickler, build_network, fit_names, make_images
from train.weights.checkpoints import read_checkpoint
from train.weights.state_dict import strip_prefixes

CHECKPOINTS = Path(__file__).parents[1] / "recorded/checkpoints"


class NamesUnpickler(TensorUnpickler):
    """An unpickler that does without PyTorch: a tensor becomes its name."""

    def find_class(self, module_name: str, global_name: str) -> object:
        """Return a global; `torch.load` itself finds storages."""
        if global_name.startswith("_rebuild"):
            return lambda *_: "tensor"
        return super().find_class(module_name, global_name)

    def persistent_load(self, _: object) -> str:
        """Return what stands in for a storage."""
        return "storage"


def test_the_pictures_are_always_the_same_and_differ_from_each_other():
    images = make_images(3, 8, 12, 3)

    assert images.shape == (3, 8, 12, 3)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images, make_images(3, 8, 12, 3))
    assert len({image.tobytes() for image in images}) == 3


@pytest.mark.parametrize("prefix", ["", "module.", "model.backbone."])
def test_a_prefix_of_all_names_is_left_out(prefix: str):
    state = {f"{prefix}fc.weight": 1, f"{prefix}fc.bias": 2, "other.epoch": 3}

    assert fit_names(state, {"fc.weight": 0, "fc.bias": 0}, {}) == {"fc.weight": 1, "fc.bias": 2}


def test_a_prefix_of_some_names_is_left_out():
    state = {"backbone.conv1.weight": 1, "backbone.bn1.weight": 2, "fc.weight": 3}
    expected = dict.fromkeys(["conv1.weight", "bn1.weight", "fc.weight"])

    tensors = fit_names(state, expected, strip_prefixes(state))

    assert tensors == {"conv1.weight": 1, "bn1.weight": 2, "fc.weight": 3}


def test_a_network_with_the_names_of_the_checkpoint_gets_these():
    state = {"backbone.conv1.weight": 1, "backbone.bn1.weight": 2, "fc.weight": 3}

    assert fit_names(state, state, strip_prefixes(state)) == state


@pytest.mark.parametrize("name", ["options.pt", "lightning.ckpt", "nested.bin", "references.pth"])
def test_objects_beside_the_tensors_are_not_loaded(name: str):
    with zipfile.ZipFile(CHECKPOINTS / name) as archive:
        (entry,) = (entry for entry in archive.namelist() if entry.endswith("/data.pkl"))
        pickled = archive.read(entry)
    keys = read_checkpoint(CHECKPOINTS / name).source.keys

    state = NamesUnpickler(io.BytesIO(pickled)).load()
    for key in keys:
        state = state[key]

    assert {"conv1.weight", "fc.weight"} <= {name.split("model.")[-1] for name in state}
    assert all(value == "tensor" for value in state.values())


def test_code_in_a_checkpoint_is_not_run():
    call = b"cos\nsystem\n(X\x04\x00\x00\x00ruintR."

    assert isinstance(TensorUnpickler(io.BytesIO(b"\x80\x02" + call)).load(), Placeholder)


def test_a_pickled_network_is_refused_before_pytorch_is_asked(tmp_path: Path):
    (tmp_path / "card.json").write_text("{}")
    options = ["--card", tmp_path / "card.json", "--network", "a:b", "--out", tmp_path / "r.npz"]
    file = CHECKPOINTS / "network.pt"

    result = CliRunner().invoke(app, [*map(str, ["record-torch", file, *options, "--python", sys.executable])])

    assert "a whole pickled network" in str(result.exception)


def test_a_checkpoint_of_another_network_is_refused():
    with pytest.raises(SystemExit, match=r"it has conv\.weight …, the network has fc\.weight …"):
        fit_names({"conv.weight": 1}, {"fc.weight": 0}, {})


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

    file = CHECKPOINTS / "parameters.pt"

    result = CliRunner().invoke(app, [*map(str, ["record-torch", file, *options, "--python", sys.executable])])

    assert isinstance(result.exception, TrainError)
    assert "No module named 'torch'" in str(result.exception)
