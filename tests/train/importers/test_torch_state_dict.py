"""The weights are found in what training programs save, under the names that they have in the network."""

import logging
from pathlib import Path

import numpy as np
import pytest

from train.weights.checkpoints import read_checkpoint
from train.weights.state_dict import strip_prefixes
from train.weights.tensors import WeightsFileError

CHECKPOINTS = Path(__file__).parents[1] / "recorded/checkpoints"
"""Written by `record_torch.py` in the folder above; weights that are to be read are 1, others 2."""
NETWORKS = {"network.pt", "network_beside.pt"}
NAMES = ["conv1.weight", "fc.bias", "fc.weight"]


@pytest.mark.parametrize("name", sorted({path.name for path in CHECKPOINTS.iterdir()} - NETWORKS))
def test_the_weights_of_the_network_are_read(name: str):
    checkpoint = read_checkpoint(CHECKPOINTS / name)

    assert sorted(checkpoint) == NAMES
    assert all((array == 1).all() for array in checkpoint.values())
    assert checkpoint.path == CHECKPOINTS / name
    assert checkpoint.architecture == ("resnet18" if name == "loop.pth.tar" else "")


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_whole_pickled_network_is_refused_with_what_to_save(name: str):
    with pytest.raises(
        WeightsFileError, match=r"a whole pickled network, __main__\.Tiny, .* save model.state_dict\(\)"
    ):
        read_checkpoint(CHECKPOINTS / name)


def test_the_choice_among_several_state_dictionaries_is_logged(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO)

    read_checkpoint(CHECKPOINTS / "average_beside.pt")

    assert "the tensors of weights are used, not those of ema_state_dict" in caplog.text


@pytest.mark.parametrize(
    ("names", "stripped"),
    [
        (["module.conv1.weight", "module.fc.weight"], ["conv1.weight", "fc.weight"]),
        (["module.model.net.conv1.weight", "module.model.net.fc.weight"], ["conv1.weight", "fc.weight"]),
        (["classifier_of_mine.conv1.weight", "classifier_of_mine.fc.weight"], ["conv1.weight", "fc.weight"]),
        (["backbone.conv1.weight", "backbone.bn1.weight", "fc.weight"], ["conv1.weight", "bn1.weight", "fc.weight"]),
        (["model.conv1.weight", "loss_fn.weight"], ["conv1.weight"]),
        (["model.conv1.weight", "model.conv1.total_ops", "n_averaged", "val_acc.tp"], ["conv1.weight"]),
        (["features.0.weight", "features.1.weight", "classifier.weight"], None),
        (["fc.weight", "fc.bias"], None),
        (["backbone.fc.weight", "backbone.conv1.weight", "fc.weight"], None),
        (["encoder.conv1.weight", "decoder.conv1.weight"], None),
        ([], None),
    ],
)
def test_prefixes_that_names_share_are_removed(names: list[str], stripped: list[str] | None):
    tensors = {name: np.array(index) for index, name in enumerate(names)}

    result = strip_prefixes(tensors)

    assert list(result) == (names if stripped is None else stripped)
    assert all(
        any(name.endswith(short) and tensors[name] is array for name in names) for short, array in result.items()
    )
