"""Networks of keras.applications predict like their published originals, and can be exported in both forms."""

import hashlib
from pathlib import Path
from types import ModuleType

import keras
import numpy as np
import pytest

from tests.support.published_weights import save_as_published
from train.config.networks import Application, ApplicationName
from train.export.frozen_network import freeze_model
from train.export.tflite_conversion import convert_int8
from train.networks.application import load_published, normalisation
from train.networks.build import HEAD, POOL, build_model
from train.networks.weights_file import WeightsError, check_file
from vision.card import InputSpec

SIDE = 64
UNUSED = keras.Sequential([keras.Input((1,))])
"""A network for weights that are refused before they are put into it."""
MOBILENET_V2 = keras.applications.mobilenet_v2
NO_PREPROCESSING = keras.applications.efficientnet_v2
"""Its `preprocess_input` changes nothing, since the network normalises pixels itself."""


def application(name: ApplicationName, weights: Path | str = "none", **options: str) -> Application:
    return Application(kind="application", name=name, weights=weights, **options)


def photos(count: int, side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def features(model: keras.Model, images: np.ndarray) -> np.ndarray:
    extractor = keras.Model(model.input, model.get_layer(POOL).input)
    return np.asarray(extractor(images.astype(np.float32), training=False))


def randomise(model: keras.Model) -> None:
    """Change all weights, of which some begin so small that their layers do nothing."""
    generator = np.random.default_rng(0)
    scaled = [values * generator.uniform(0.5, 1.5, values.shape) for values in model.get_weights()]
    model.set_weights([values + 0.1 * (values.ndim == 1) for values in scaled])


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("MobileNetV2", MOBILENET_V2),
        ("InceptionV3", keras.applications.inception_v3),
        ("DenseNet121", keras.applications.densenet),
        ("ResNet50", keras.applications.resnet50),
    ],
)
def test_pixels_are_scaled_as_keras_does_for_the_published_weights(name: ApplicationName, published: ModuleType):
    images = photos(2, 8).astype(np.float32)
    expected = published.preprocess_input(images.copy())
    if name == "ResNet50":  # published for BGR
        expected = expected[..., ::-1]

    np.testing.assert_allclose(normalisation(name)(images), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["MobileNetV3Small", "EfficientNetV2B0", "EfficientNetV2S", "ConvNeXtTiny"])
def test_pixels_are_scaled_as_the_networks_do_that_keras_has_scale_them(name: ApplicationName):
    images = photos(2, 32).astype(np.float32)
    published = getattr(keras.applications, name)(weights=None, include_top=False)
    (first, *_) = (layer for layer in published.layers if layer.weights)  # the first convolution, or the stem with it

    expected = keras.Model(published.input, first.input)(images)

    np.testing.assert_allclose(normalisation(name)(images), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "module", "include_top"),
    [
        ("MobileNetV2", MOBILENET_V2, True),
        ("MobileNetV2", MOBILENET_V2, False),
        ("MobileNetV3Small", NO_PREPROCESSING, True),
        ("EfficientNetV2B0", NO_PREPROCESSING, False),
        ("ConvNeXtTiny", NO_PREPROCESSING, True),
    ],
)
def test_published_weights_are_loaded_into_their_layers(
    name: ApplicationName, module: ModuleType, tmp_path: Path, *, include_top: bool
):
    published = getattr(keras.applications, name)(weights=None, include_top=include_top)
    randomise(published)
    config = application(name, save_as_published(published, tmp_path / "published.h5"))
    model = build_model(config, (SIDE, SIDE, 3), 3)
    head = model.get_layer(HEAD).get_weights()

    load_published(model, HEAD, config)

    reference = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3))
    reference.set_weights(published.get_weights()[: len(reference.weights)])
    images = photos(1)
    expected = np.asarray(reference(module.preprocess_input(images.astype(np.float32)), training=False))
    np.testing.assert_allclose(features(model, images), expected, atol=1e-3 * np.abs(expected).max())
    for actual, initial in zip(model.get_layer(HEAD).get_weights(), head, strict=True):
        np.testing.assert_array_equal(actual, initial)


def test_a_network_published_for_bgr_takes_rgb(tmp_path: Path):
    published = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(32, 32, 3))
    config = application("ResNet50")
    model = build_model(config, (32, 32, 3), 3)
    load_published(model, HEAD, config, save_as_published(published, tmp_path / "resnet.h5"))
    images = photos(1, 32)
    expected = np.asarray(published(keras.applications.resnet50.preprocess_input(images.astype(np.float32))))

    np.testing.assert_allclose(features(model, images), expected, rtol=1e-3, atol=1e-3 * expected.max())


def test_a_missing_or_foreign_file_of_weights_is_refused(tmp_path: Path):
    absent, text = tmp_path / "absent.h5", tmp_path / "text.h5"
    text.write_text("not weights")

    with pytest.raises(WeightsError, match=r"absent\.h5 does not exist"):
        load_published(UNUSED, HEAD, application("MobileNetV2", absent))

    with pytest.raises(WeightsError, match=r"text\.h5: expected weights of MobileNetV2"):
        load_published(UNUSED, HEAD, application("MobileNetV2", text))


def test_a_file_of_weights_with_another_checksum_is_refused(tmp_path: Path):
    path = tmp_path / "published.h5"
    path.write_bytes(b"weights")
    digest, other = hashlib.sha256(b"weights").hexdigest(), "0" * 64

    check_file(path, "MobileNetV2", digest)

    with pytest.raises(WeightsError, match=rf"published\.h5: expected the SHA-256 {other}, found {digest}"):
        load_published(UNUSED, HEAD, application("MobileNetV2", path, weights_sha256=other))


def test_a_failed_download_of_weights_is_reported_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # where keras.utils.get_file looks first
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")

    with pytest.raises(WeightsError, match=r"MobileNetV2 could not be downloaded; pass a file with --weights"):
        load_published(UNUSED, HEAD, application("MobileNetV2", "imagenet"))


def test_a_saved_network_with_layers_of_its_own_can_be_loaded(tmp_path: Path):
    model = build_model(application("ConvNeXtTiny"), (32, 32, 3), 3)
    model.save(tmp_path / "model.keras")
    images = photos(1, 32).astype(np.float32)

    loaded = keras.models.load_model(tmp_path / "model.keras")

    np.testing.assert_array_equal(loaded(images), model(images))


def test_int8_and_float_give_the_same_probabilities():
    spec = InputSpec(height=SIDE, width=SIDE)
    network = freeze_model(build_model(application("MobileNetV3Small"), spec.shape, 3), spec)
    images = photos(4)

    int8 = convert_int8(network, spec, images).model

    assert network.explains
    np.testing.assert_allclose(int8.predict(images), network.predict(images), atol=0.02)
