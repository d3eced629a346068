"""Each network ends in the layers that explanations need."""

from pathlib import Path

import keras
import numpy as np
import pytest

from train.config.networks import Application, EfficientNetLite, NetworkConfig, ResNet18, SmallCnn, SqueezeNet
from train.config.training_config import load_config
from train.networks.build import HEAD, POOL, build_model
from train.training.loop import predictor

DIGITS = Path(__file__).parents[3] / "train/configs/digits.yaml"
SMALL = SmallCnn(kind="small_cnn", blocks=((4,), (8,)), dropout=0.5)


def photos(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def features(model: keras.Model, images: np.ndarray) -> np.ndarray:
    extractor = keras.Model(model.input, model.get_layer(POOL).input)
    return np.asarray(extractor(images.astype(np.float32), training=False))


@pytest.mark.parametrize(
    ("config", "side", "shape"),
    [
        (SMALL, 28, (14, 14, 8)),
        (ResNet18(kind="resnet18", width=16, dropout=0.1), 32, (4, 4, 128)),
        (SqueezeNet(kind="squeezenet", dropout=0.5), 224, (13, 13, 512)),
        (Application(kind="application", name="MobileNetV2", weights="none"), 64, (2, 2, 1280)),
        (Application(kind="application", name="EfficientNetV2B0", weights="none", dropout=0.2), 64, (2, 2, 1280)),
        (Application(kind="application", name="ConvNeXtTiny", weights="none"), 64, (2, 2, 768)),
        (EfficientNetLite(kind="efficientnet_lite0", weights="none", upsample=2), 32, (2, 2, 1280)),
    ],
    ids=lambda value: getattr(value, "name", getattr(value, "kind", "")),
)
def test_a_class_score_is_a_weighted_sum_over_positions(config: NetworkConfig, side: int, shape: tuple[int, ...]):
    model = build_model(config, (side, side, 3), 5)
    images = photos(2, side)
    maps = features(model, images)

    assert maps.shape == (2, *shape)

    head = model.get_layer(HEAD)
    expected = maps.mean(axis=(1, 2)) @ np.asarray(head.kernel) + np.asarray(head.bias)
    scores = keras.Model(model.input, head.output)(images.astype(np.float32), training=False)

    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    np.testing.assert_allclose(predictor(model)(images).sum(axis=1), 1, rtol=1e-5)


def test_a_multilabel_network_has_an_independent_probability_for_each_class():
    model = build_model(SMALL, (28, 28, 3), 5, "multilabel")
    images = photos(2, 28)
    scores = np.asarray(keras.Model(model.input, model.get_layer(HEAD).output)(images.astype(np.float32)))

    np.testing.assert_allclose(predictor(model)(images), 1 / (1 + np.exp(-scores)), rtol=1e-5)


def test_the_digits_network_is_small():
    config = load_config(DIGITS)
    assert build_model(config.model, config.input.shape, len(config.labels)).count_params() < 150_000


def test_squeezenet_has_as_many_weights_as_published():
    model = build_model(SqueezeNet(kind="squeezenet"), (224, 224, 3), 1000)
    assert model.count_params() == 1_235_496
