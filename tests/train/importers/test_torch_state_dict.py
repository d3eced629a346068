"""The weights are found in what training programs save, under the names that they have in the network."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from train.cli.main import app
from train.weights.checkpoints import read_checkpoint
from train.weights.pickle_opcodes import ForbiddenError
from train.weights.state_dict import find_state_dict, strip_prefixes, to_checkpoint
from train.weights.tensors import WeightsFileError
from train.weights.torch_pickle import Storage, TensorView

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


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("average_beside.pt", "the tensors of weights are used, not those of ema_state_dict"),
        ("references.pth", "the tensors of model are used, not those of model_ema"),
        ("loop.pth.tar", 'removed from the start of their names: "module."'),
        ("lightning.ckpt", 'removed from the start of their names: "model."; left out: criterion.weight'),
        ("averaged.pt", 'removed from the start of their names: "module."; left out: n_averaged'),
        ("options.pt", ""),
        ("parameters.pt", ""),
    ],
)
def test_what_is_read_is_said_where_there_was_a_choice(name: str, note: str):
    assert str(read_checkpoint(CHECKPOINTS / name).source) == note


def test_the_import_says_what_is_read(tmp_path: Path):
    (tmp_path / "a.png").touch()
    card = {"name": "x", "labels": ["a", "b", "c"], "input": {"height": 8, "width": 8}}
    (tmp_path / "card.json").write_text(json.dumps(card))
    options = ["--card", tmp_path / "card.json", "--pictures", tmp_path, "--models", tmp_path]

    result = CliRunner().invoke(app, [*map(str, ["import-torch", CHECKPOINTS / "references.pth", *options])])

    assert "references.pth: the tensors of model are used, not those of model_ema." in result.output
    assert isinstance(result.exception, WeightsFileError), "the checkpoint is of no network that can be built"


WEIGHTS = {"fc.weight": TensorView(Storage("0", "f4"), 0, (2, 3), (3, 1))}
AVERAGES = {"fc.weight": TensorView(Storage("1", "f4"), 0, (2, 3), (3, 1))}


@pytest.mark.parametrize(
    ("saved", "keys"),
    [
        ((WEIGHTS, 3), (0,)),
        ([3, "resnet", WEIGHTS], (2,)),
        (({"ema": AVERAGES}, {"networks": [WEIGHTS]}), (1, "networks", 0)),
        ({"state_dict": WEIGHTS, "history": [{"fc.weight": 0.1}] * 2}, ("state_dict",)),
    ],
)
def test_a_state_dictionary_in_tuples_and_lists_is_found(saved: object, keys: tuple[str | int, ...]):
    state = find_state_dict(saved)

    assert state.tensors == WEIGHTS
    assert state.keys == keys


def test_other_state_dictionaries_are_named_by_their_keys():
    tensors = {"fc.weight": np.zeros((2, 3))}

    state = find_state_dict(({"weights": WEIGHTS}, {"ema": AVERAGES}))
    checkpoint = to_checkpoint(tensors, Path("a.pth"), keys=state.keys, others=state.others)

    assert str(checkpoint.source) == "the tensors of item 0.weights are used, not those of item 1.ema"


def test_tensors_without_names_are_refused():
    with pytest.raises(ForbiddenError, match="it contains no tensors with names"):
        find_state_dict(list(WEIGHTS.values()))


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
    stored_names = strip_prefixes(names)

    assert list(stored_names) == (names if stripped is None else stripped)
    assert all(stored.endswith(name) and stored in names for name, stored in stored_names.items())
