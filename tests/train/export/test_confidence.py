"""The confidence of a network separates pictures like its training images from others, in every form."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support.assessments import multiclass_assessment
from train.errors import TrainError
from train.evaluation.cards import make_card
from train.export.confidence import CONFIDENT, fit_confidence, measure_answered, with_confidence
from train.export.forms import Forms
from train.export.frozen_network import CONFIDENCE, FEATURES, PROBABILITIES, FrozenNetwork, freeze_function
from train.export.savedmodel import load_version
from train.export.signatures import write_graph
from train.export.tflite_conversion import convert_int8
from vision.card import Card, InputSpec

SPEC = InputSpec(height=12, width=12)


CROSS = np.pad(np.eye(8) + np.eye(8)[::-1], 2).clip(0, 1)
RING = np.pad(np.pad(np.zeros((6, 6)), 1, constant_values=1), 2)


def network() -> FrozenNetwork:
    """Return a network whose features are how much of a cross, of a ring, of edges and of light an image shows."""
    templates = np.stack([CROSS, RING], axis=-1)[:, :, None]
    templates = (templates - templates.mean(axis=(0, 1))) / 16
    edges = np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])[:, :, None, None] / 8

    def call(image: tf.Tensor) -> dict[str, tf.Tensor]:
        gray = tf.reduce_mean(tf.cast(image, tf.float32) / 255, axis=-1, keepdims=True)
        shapes = tf.nn.conv2d(gray, tf.constant(templates, tf.float32), 1, "VALID")
        edge = tf.reduce_mean(
            tf.abs(tf.nn.conv2d(gray, tf.constant(edges, tf.float32), 1, "SAME")), (1, 2), keepdims=True
        )
        light = tf.reduce_mean(gray, (1, 2), keepdims=True)
        features = tf.nn.relu(tf.concat([shapes, edge, light], axis=-1))
        return {FEATURES: features, PROBABILITIES: tf.nn.softmax(20 * tf.reduce_mean(shapes, axis=(1, 2)))}

    return freeze_function(call, SPEC)


def draw(count: int, shape: np.ndarray) -> np.ndarray:
    """Return images of a shape, each in shades of its own."""
    rng = np.random.default_rng([count, int(shape.sum())])
    dark, light = rng.integers(10, 90, (2, count, 1, 1, 3))
    noise = rng.integers(-20, 21, (count, *SPEC.shape))
    return np.clip(dark + (80 + light) * shape[..., None] + noise, 0, 255).astype(np.uint8)


def crosses_and_rings(count: int) -> np.ndarray:
    return np.concatenate([draw(count, CROSS), draw(count, RING)])


def confidence(network: FrozenNetwork, images: np.ndarray) -> np.ndarray:
    return np.asarray(network(tf.constant(images))[CONFIDENCE])


@pytest.fixture(scope="module")
def confident() -> FrozenNetwork:
    plain = network()
    return fit_confidence(plain, crosses_and_rings(100), crosses_and_rings(100), share=0.9).attach(plain)


def test_the_share_of_the_validation_images_is_confident(confident: FrozenNetwork):
    values = confidence(confident, crosses_and_rings(500))

    assert values.dtype == np.float32
    assert ((values >= 0) & (values <= 1)).all()
    assert 0.85 < (values >= CONFIDENT).mean() < 0.95


def test_pictures_of_something_else_are_not_confident(confident: FrozenNetwork):
    stripes = draw(50, np.tile([0.0, 0.0, 1.0, 1.0], (12, 3)))
    plain = draw(50, np.zeros((12, 12)))

    assert (confidence(confident, stripes) < CONFIDENT).mean() > 0.9
    assert (confidence(confident, plain) < CONFIDENT).mean() > 0.9
    assert (confidence(confident, np.zeros((1, *SPEC.shape), np.uint8)) < CONFIDENT).all(), "features of 0 are no error"


def test_the_probabilities_stay(confident: FrozenNetwork):
    images = crosses_and_rings(3)

    np.testing.assert_array_equal(confident.predict(images), network().predict(images))
    assert confident.answers == (PROBABILITIES, CONFIDENCE)
    assert network().answers == (PROBABILITIES,)


def test_both_forms_return_the_confidence(confident: FrozenNetwork, tmp_path: Path):
    card = Card(name="shapes", labels=("cross", "ring"), input=SPEC)
    card = with_confidence(card, {"share": 0.9, "accuracy": 1.0})
    images = np.concatenate([crosses_and_rings(20), draw(20, np.zeros((12, 12)))])
    expected = confidence(confident, images)
    write_graph(tmp_path, confident, card)

    version = load_version(tmp_path)
    tflite = convert_int8(confident, SPEC, images).model

    assert (version.card.output.confidence, version.card.abstain_below) == (CONFIDENCE, CONFIDENT)
    np.testing.assert_allclose(version.predict_confidence(images), expected, atol=1e-6)
    in_int8 = np.concatenate([tflite.run(image[None])[CONFIDENCE] for image in images])
    assert ((in_int8 >= CONFIDENT) == (expected >= CONFIDENT)).mean() > 0.8
    assert len(set(in_int8.tolist())) > len(images) / 2, "the steps of int8 are too coarse for a threshold"


def test_the_card_says_what_was_answered(confident: FrozenNetwork):
    test = crosses_and_rings(50)
    correct = np.ones(100, bool)

    answered = measure_answered(confident.predict_confidence, test, correct)
    card = with_confidence(make_card(multiclass_assessment(), 1, {}), {**answered, "share": 1 / 3})

    assert answered["accuracy"] == 1
    assert card.metrics["answered"] == {"share": 0.333333, "accuracy": 1}
    assert Card.from_json(card.to_json()) == card


def test_what_is_answered_is_measured_in_the_form_that_is_served(confident: FrozenNetwork):
    images = crosses_and_rings(200)
    tflite = convert_int8(confident, SPEC, images).model
    correct = np.ones(len(images), bool)
    in_int8 = np.concatenate([tflite.run(image[None])[CONFIDENCE] for image in images])

    shares = [
        measure_answered(forms.predict_confidence, images, correct)["share"]
        for forms in (Forms(confident), Forms(confident, tflite))
    ]

    assert shares == [(values >= CONFIDENT).mean() for values in (confidence(confident, images), in_int8)]
    assert shares[0] != shares[1], "the two forms would have to be distinguishable"


def test_a_network_without_features_is_refused():
    plain = freeze_function(lambda image: {PROBABILITIES: tf.zeros([tf.shape(image)[0], 2]) + 0.5}, SPEC)

    with pytest.raises(TrainError, match="averages its last features"):
        fit_confidence(plain, crosses_and_rings(1), crosses_and_rings(1), share=0.9)
