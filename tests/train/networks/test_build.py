"""Each network ends in the layers that explanations need, and predicts like its published original."""

from pathlib import Path

import keras
import numpy as np
import pytest

from tests.support.published_weights import save_as_published
from train.config.networks import Application, NetworkConfig, ResNet18, SmallCnn, SqueezeNet
from train.config.training_config import load_config
from train.networks.application import WeightsError, load_published, normalisation
from train.networks.build import HEAD, POOL, build_model
from train.training.loop import predictor

DIGITS = Path(__file__).parents[3] / "train/configs/digits.yaml"
SMALL = SmallCnn(kind="small_cnn", blocks=((4,), (8,)), dropout=0.5)


def mobilenet(weights: Path) -> Application:
    return Application(kind="application", name="MobileNetV2", weights=weights)


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
    ],
    ids=lambda value: getattr(value, "kind", ""),
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


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("MobileNetV2", keras.applications.mobilenet_v2),
        ("InceptionV3", keras.applications.inception_v3),
        ("DenseNet121", keras.applications.densenet),
        ("ResNet50", keras.applications.resnet50),
    ],
)
def test_pixels_are_scaled_as_keras_does_for_the_published_weights(name: str, published: object):
    images = photos(2, 8).astype(np.float32)
    expected = published.preprocess_input(images.copy())
    if name == "ResNet50":  # published for BGR
        expected = expected[..., ::-1]

    np.testing.assert_allclose(normalisation(name)(images), expected, atol=1e-4)


@pytest.mark.parametrize("include_top", [True, False])
def test_published_weights_are_loaded_into_their_layers(tmp_path: Path, *, include_top: bool):
    published = keras.applications.MobileNetV2(weights=None, include_top=include_top)
    config = mobilenet(save_as_published(published, tmp_path / "mobilenet.h5"))
    model = build_model(config, (64, 64, 3), 3)
    head = model.get_layer(HEAD).get_weights()
    load_published(model, HEAD, config)
    images = photos(1, 64)
    reference = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3))
    reference.set_weights(published.get_weights()[: len(reference.weights)])
    expected = reference(keras.applications.mobilenet_v2.preprocess_input(images.astype(np.float32)), training=False)

    np.testing.assert_allclose(features(model, images), expected, atol=1e-4)
    for actual, initial in zip(model.get_layer(HEAD).get_weights(), head, strict=True):
        np.testing.assert_array_equal(actual, initial)


def test_a_network_published_for_bgr_takes_rgb(tmp_path: Path):
    published = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(32, 32, 3))
    config = Application(kind="application", name="ResNet50", weights="none")
    model = build_model(config, (32, 32, 3), 3)
    load_published(model, HEAD, config, save_as_published(published, tmp_path / "resnet.h5"))
    images = photos(1, 32)
    expected = np.asarray(published(keras.applications.resnet50.preprocess_input(images.astype(np.float32))))

    np.testing.assert_allclose(features(model, images), expected, rtol=1e-3, atol=1e-3 * expected.max())


def test_a_missing_or_foreign_file_of_weights_is_refused(tmp_path: Path):
    model = build_model(mobilenet(tmp_path / "absent.h5"), (32, 32, 3), 3)

    with pytest.raises(WeightsError, match=r"absent\.h5 does not exist"):
        load_published(model, HEAD, mobilenet(tmp_path / "absent.h5"))

    (tmp_path / "text.h5").write_text("not weights")

    with pytest.raises(WeightsError, match=r"text\.h5: expected weights of MobileNetV2"):
        load_published(model, HEAD, mobilenet(tmp_path / "text.h5"))


def test_a_failed_download_of_weights_is_reported_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # where keras.utils.get_file looks first
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    config = Application(kind="application", name="MobileNetV2")
    model = build_model(config, (32, 32, 3), 3)

    with pytest.raises(WeightsError, match=r"MobileNetV2 could not be downloaded; pass a file with --weights"):
        load_published(model, HEAD, config)
