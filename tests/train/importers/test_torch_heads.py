"""Last layers that programs put in the place of a network's own are read, or refused if they cannot be known."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support.recorded_networks import largest_difference, recorded_weights
from train.importers.architectures.heads import fit_head
from train.importers.torch_networks import network_from_torch
from train.networks.build import POOL
from train.weights.checkpoints import read_checkpoint
from train.weights.state_dict import strip_prefixes
from train.weights.tensors import Tensors, WeightsFileError

RECORDED = Path(__file__).parents[1] / "recorded"
TOLERANCE = 1e-4
CHILDREN = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}


@pytest.fixture(scope="module")
def resnet() -> Tensors:
    """Weights of a ResNet-18 with 7 classes, four filters in the first stage and 32 features."""
    return read_checkpoint(RECORDED / "torchvision_resnet18.pth").tensors


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """The images of `record_torch.py`: float32[2, 45, 64, 3]."""
    return np.random.default_rng(0).normal(size=(2, 3, 45, 64)).astype(np.float32).transpose(0, 2, 3, 1)


def rename(tensors: Tensors, head: str, name: str, prefix: str = "") -> dict[str, np.ndarray]:
    """Return tensors with another name of the last layer, and a prefix of all others."""
    return {
        name + key.removeprefix(head) if key.startswith(f"{head}.") else prefix + key: array
        for key, array in tensors.items()
    }


def number_children(tensors: Tensors, prefix: str, head: str) -> dict[str, np.ndarray]:
    """Return tensors of a ResNet by the numbers of its parts in a sequence of its children."""
    names = {**{name: f"{prefix}{number}" for name, number in CHILDREN.items()}, "fc": head}
    return {names[key.partition(".")[0]] + key[key.index(".") :]: array for key, array in tensors.items()}


def norm(name: str, features: int) -> dict[str, np.ndarray]:
    """Return the tensors of a batch normalisation."""
    random = np.random.default_rng(list(name.encode()))
    parts = ("weight", "bias", "running_mean")
    tensors = {f"{name}.{part}": random.normal(size=features).astype("f4") for part in parts}
    variance = random.uniform(0.5, 2, features).astype("f4")
    return tensors | {f"{name}.running_var": variance, f"{name}.num_batches_tracked": np.array(9)}


def normalise(x: np.ndarray, tensors: Tensors, name: str) -> np.ndarray:
    weight, bias, mean, variance = (
        tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


@pytest.mark.parametrize(
    "change",
    [
        lambda tensors: rename(tensors, "fc", "classifier.2.0", "model.backbone."),
        lambda tensors: number_children(tensors, "", "9"),
        lambda tensors: number_children(tensors, "feature_extractor.", "classifier"),
        lambda tensors: number_children(tensors, "0.", "1.3"),
    ],
    ids=["sequence beside a backbone", "children", "beside children", "two sequences"],
)
def test_scores_of_a_resnet_whatever_its_last_layer_is_called(
    resnet: Tensors, images: np.ndarray, change: Callable[[Tensors], Tensors]
):
    tensors = change(resnet)
    recorded = np.load(RECORDED / "torch_answers.npz")["torchvision_resnet18"]

    model = network_from_torch({name: tensors[stored] for name, stored in strip_prefixes(tensors).items()})

    np.testing.assert_allclose(model(images), recorded, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("network", "head"), [("torchvision mobilenet_v3_small", "classifier.3"), ("timm convnext_atto", "head.fc")]
)
def test_scores_of_networks_whose_last_layer_is_beside_them(network: str, head: str):
    renamed = rename(recorded_weights(network), head, "last_linear.1", "backbone.")

    model = network_from_torch({name: renamed[stored] for name, stored in strip_prefixes(renamed).items()})

    assert largest_difference(network, model) < TOLERANCE


def test_normalisation_before_the_last_layer_becomes_part_of_it():
    random = np.random.default_rng(0)
    kernel, bias = random.normal(size=(3, 5)).astype("f4"), random.normal(size=3).astype("f4")
    tensors = {**norm("fc.8", 5), **norm("fc.9", 5), "fc.10.weight": kernel, "fc.10.bias": bias}
    features = random.normal(size=(4, 5))

    head = fit_head(tensors, "fc")

    assert head.keys() == {"fc.weight", "fc.bias"}
    expected = normalise(normalise(features, tensors, "fc.8"), tensors, "fc.9") @ kernel.T + bias
    np.testing.assert_allclose(features @ head["fc.weight"].T + head["fc.bias"], expected, atol=1e-5)


def test_an_unknown_layer_after_normalisation_is_refused():
    tensors = {**norm("fc.0", 5), "fc.2.weight": np.zeros((3, 5))}

    with pytest.raises(WeightsFileError, match=r"layers without weights after fc\.0, and .* dropout or an activation"):
        fit_head(tensors, "fc")


def test_scores_of_fastais_last_layers(resnet: Tensors, images: np.ndarray):
    random = np.random.default_rng(0)
    body = number_children({name: array for name, array in resnet.items() if name[:2] != "fc"}, "0.", "")
    hidden, last = random.normal(size=(6, 64)).astype("f4"), random.normal(size=(3, 6)).astype("f4")
    head = {**norm("1.2", 64), "1.4.weight": hidden, **norm("1.6", 6), "1.8.weight": last}

    model = network_from_torch(body | head)
    features = keras.Model(model.input, model.get_layer(POOL).input)(images).numpy()

    pools = np.concatenate([features.max(axis=(1, 2)), features.mean(axis=(1, 2))], axis=1)
    units = np.maximum(normalise(pools, head, "1.2") @ hidden.T, 0)
    np.testing.assert_allclose(model(images), normalise(units, head, "1.6") @ last.T, atol=TOLERANCE)


def put_two_layers(tensors: dict, head: str, first: str, last: str, features: int) -> dict:
    """Return tensors of a network whose last layer is replaced by two."""
    others = {name: array for name, array in tensors.items() if not name.startswith(head)}
    return others | {f"{first}.weight": np.zeros((9, features)), f"{last}.weight": np.zeros((2, 9))}


@pytest.mark.parametrize(
    ("network", "layers"),
    [
        ("torchvision resnet18", ("fc", "fc.0", "fc.3", 512)),
        ("torchvision resnet18", ("fc", "fc", "head", 512)),
        ("torchvision mobilenet_v2", ("classifier", "classifier.0", "classifier.3", 1280)),
        ("torchvision mobilenet_v3_small", ("classifier", "classifier.0", "classifier.3", 576)),
        ("timm convnext_atto", ("head.fc", "head.1", "head.4", 320)),
    ],
)
def test_two_last_layers_with_an_unknown_activation_are_refused(network: str, layers: tuple[str, str, str, int]):
    tensors = put_two_layers(recorded_weights(network), *layers)

    pattern = rf"ends in the layers {layers[1]}, {layers[2]}, and what is computed between them .*import-onnx"
    with pytest.raises(WeightsFileError, match=pattern):
        network_from_torch(tensors)


def test_fastais_layers_after_one_pool_are_refused(resnet: Tensors):
    body = number_children({name: array for name, array in resnet.items() if name[:2] != "fc"}, "0.", "")
    head = {**norm("1.2", 32), "1.4.weight": np.zeros((6, 32)), **norm("1.6", 6), "1.8.weight": np.zeros((3, 6))}

    with pytest.raises(WeightsFileError, match=r"ends in the layers fc\.4, fc\.8"):
        network_from_torch(body | head)


def test_a_layer_after_the_last_one_is_refused(resnet: Tensors):
    tensors = rename(resnet, "fc", "fc.0") | norm("fc.1", 7)

    with pytest.raises(WeightsFileError, match=r"there are also fc\.1\.bias"):
        network_from_torch(tensors)
