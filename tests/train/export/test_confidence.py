"""The confidence of a network separates pictures like its training images from others, in every form."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.support.assessments import multiclass_assessment
from train.data.examples import Inputs
from train.errors import TrainError
from train.evaluation.cards import make_card
from train.export.confidence import CONFIDENT, fit_confidence, measure_answered, with_confidence
from train.export.forms import Forms
from train.export.frozen_network import CONFIDENCE, FEATURES, PROBABILITIES, FrozenNetwork, freeze_function
from train.export.savedmodel import load_version
from train.export.signatures import write_graph
from train.export.tflite_conversion import convert_int8
from vision.card import Card, InputSpec

SPEC = InputSpec(height=8, width=8)


def network() -> FrozenNetwork:
    """Return a network whose two features are red and green, and whose classes they are."""

    def call(image: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.nn.relu(tf.cast(image, tf.float32)[..., :2] / 255)
        averages = tf.reduce_mean(features, axis=(1, 2))
        return {FEATURES: features, PROBABILITIES: tf.nn.softmax(20 * averages)}

    return freeze_function(call, SPEC)


def paint(count: int, *, red: int, green: int) -> np.ndarray:
    """Return images of about one colour, each in a shade of its own."""
    rng = np.random.default_rng([count, red, green])
    shades = np.array([red, green, 0]) + rng.integers(-30, 31, (count, 1, 1, 3))
    return np.clip(shades + rng.integers(-20, 21, (count, 8, 8, 3)), 0, 255).astype(np.uint8)


def reds_and_greens(count: int) -> Inputs:
    images = np.concatenate([paint(count, red=220, green=30), paint(count, red=30, green=220)])
    return Inputs(images, np.repeat(np.eye(2, dtype=np.float32), count, axis=0))


def confidence(network: FrozenNetwork, images: np.ndarray) -> np.ndarray:
    return np.asarray(network(tf.constant(images))[CONFIDENCE])


@pytest.fixture(scope="module")
def confident() -> FrozenNetwork:
    plain = network()
    return fit_confidence(plain, reds_and_greens(40), reds_and_greens(100), share=0.9).attach(plain)


def test_the_share_of_the_validation_images_is_confident(confident: FrozenNetwork):
    values = confidence(confident, reds_and_greens(500).images)

    assert values.dtype == np.float32
    assert ((values >= 0) & (values <= 1)).all()
    assert 0.85 < (values >= CONFIDENT).mean() < 0.95


def test_pictures_of_something_else_are_not_confident(confident: FrozenNetwork):
    mixed, dark = paint(50, red=200, green=200), paint(50, red=12, green=0)

    assert (confidence(confident, mixed) < CONFIDENT).mean() > 0.9
    assert (confidence(confident, dark) < CONFIDENT).all()
    assert (confidence(confident, np.zeros((1, 8, 8, 3), np.uint8)) < CONFIDENT).all(), "features of 0 are no error"


def test_the_probabilities_stay(confident: FrozenNetwork):
    images = reds_and_greens(3).images

    np.testing.assert_array_equal(confident.predict(images), network().predict(images))
    assert confident.answers == (PROBABILITIES, CONFIDENCE)
    assert network().answers == (PROBABILITIES,)


def test_both_forms_return_the_confidence(confident: FrozenNetwork, tmp_path: Path):
    card = Card(name="colours", labels=("red", "green"), input=SPEC)
    card = with_confidence(card, {"share": 0.9, "accuracy": 1.0})
    images = np.concatenate([reds_and_greens(20).images, paint(20, red=200, green=150)])
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
    test = reds_and_greens(50)
    correct = np.ones(100, bool)

    answered = measure_answered(confident.predict_confidence, test.images, correct)
    card = with_confidence(make_card(multiclass_assessment(), 1, {}), {**answered, "share": 1 / 3})

    assert answered["accuracy"] == 1
    assert card.metrics["answered"] == {"share": 0.333333, "accuracy": 1}
    assert Card.from_json(card.to_json()) == card


def test_what_is_answered_is_measured_in_the_form_that_is_served(confident: FrozenNetwork):
    images = reds_and_greens(200).images
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
        fit_confidence(plain, reds_and_greens(1), reds_and_greens(1), share=0.9)
