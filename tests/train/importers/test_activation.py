"""An import finds out what a network ends in, and never applies an activation twice."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from train.importers.activation import ActivationError, Ending, choose_activation, find_ending
from train.importers.cards import ImportModelError
from train.importers.checks import check_scores
from train.importers.foreign import classify, from_keras, from_saved_model
from train.importers.keras_file import flatten
from vision.card import Card

SIDE = 8
layers = keras.layers


def make_card(**changes: Any) -> Card:
    spec = {"height": SIDE, "width": SIDE, "dtype": "float32", "std": [64.0, 64.0, 64.0]}
    document = {"name": "colours", "labels": ["red", "green", "blue"], "input": spec} | changes
    return Card.from_json(json.dumps(document))


def make_network(*ending: keras.layers.Layer, units: int = 3, nested: bool = False) -> keras.Model:
    keras.utils.set_random_seed(1)
    image = keras.Input((SIDE, SIDE, 3))
    features = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(image))
    head = [layers.Dense(units), *ending]
    if nested:
        head = [keras.Sequential([keras.Input((4,)), *head])]
    for layer in head:
        features = layer(features)
    return keras.Model(image, features)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, SIDE, SIDE, 3), np.uint8)


def scores_of(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(model(images.astype(np.float32) / 64, training=False))


def save(model: keras.Model, folder: Path) -> Path:
    model.export(folder / "saved", verbose=False)
    return folder / "saved"


def softmax(scores: np.ndarray) -> np.ndarray:
    return tf.nn.softmax(scores).numpy()


@pytest.mark.parametrize("stated", [{}, {"activation": "softmax"}])
@pytest.mark.parametrize("reads", ["keras", "nested", "saved_model"])
def test_a_softmax_in_the_network_is_not_repeated(
    images: np.ndarray, tmp_path: Path, stated: dict[str, str], reads: str
):
    model, card = make_network(layers.Softmax(), nested=reads == "nested"), make_card(output=stated)
    foreign = from_saved_model(save(model, tmp_path), card) if reads == "saved_model" else from_keras(model, card)

    classifier = classify(foreign, card)

    assert classifier.choice.note == "The network ends in softmax; none was added."
    imported = classifier.complete()
    np.testing.assert_allclose(imported.network.predict(images), scores_of(model, images), atol=1e-6)
    np.testing.assert_allclose(imported.original(images), scores_of(model, images), atol=1e-6)


@pytest.mark.parametrize(
    ("task", "stated", "added", "activate"),
    [
        ("multiclass", {}, "softmax", softmax),
        ("multiclass", {"activation": "softmax"}, "softmax", softmax),
        ("multilabel", {}, "sigmoid", lambda scores: tf.sigmoid(scores).numpy()),
    ],
)
def test_the_activation_that_scores_need_is_added(
    images: np.ndarray, task: str, stated: dict[str, str], added: str, activate: Callable[..., np.ndarray]
):
    model, card = make_network(), make_card(task=task, output=stated)

    classifier = classify(from_keras(model, card), card)

    assert classifier.choice.note.endswith(f"; {added} was added.")
    np.testing.assert_allclose(
        classifier.complete().network.predict(images), activate(scores_of(model, images)), atol=1e-6
    )


def test_one_unit_of_scores_for_two_labels_gets_a_sigmoid(images: np.ndarray):
    model, card = make_network(units=1), make_card(labels=["cat", "dog"])

    network = classify(from_keras(model, card), card).complete().network

    dog = tf.sigmoid(scores_of(model, images)).numpy()
    np.testing.assert_allclose(network.predict(images), np.concatenate([1 - dog, dog], axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("ending", "changes", "message"),
    [
        ("softmax", {"task": "multilabel"}, 'ends in softmax, but the task "multilabel" with 3 labels needs sigmoid'),
        (
            "sigmoid",
            {},
            'ends in sigmoid, but the task "multiclass" with 3 labels needs softmax; set "task" to "multil',
        ),
        (
            "softmax",
            {"output": {"activation": "sigmoid"}},
            'ends in softmax, but the card says "activation": "sigmoid"',
        ),
    ],
)
def test_another_activation_than_the_card_says_is_refused(ending: str, changes: dict[str, Any], message: str):
    card = make_card(**changes)

    with pytest.raises(ActivationError, match=message):
        classify(from_keras(make_network(layers.Activation(ending)), card), card)


def test_what_the_graph_leaves_open_is_judged_by_values(images: np.ndarray):
    image = keras.Input((SIDE, SIDE, 3))
    half = layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3, activation="softmax")(image))
    model, card = keras.Model(image, half), make_card(output={"activation": "softmax"})

    classifier = classify(from_keras(model, card), card)

    assert classifier.choice.note == "The network's outputs (Mean) are probabilities; none was added."
    np.testing.assert_allclose(classifier.predict(images), scores_of(model, images), atol=1e-6)


def test_an_unknown_ending_that_gives_no_probabilities_is_refused():
    card = make_card()
    network = classify(from_keras(make_network(layers.Activation("tanh")), card), card).complete().network

    with pytest.raises(ImportModelError, match=r"set output\.activation in its card to softmax"):
        check_scores(network, card)


@pytest.mark.parametrize("activation", ["linear", "softmax"])
def test_a_temperature_divides_the_scores(images: np.ndarray, activation: str):
    model, card = make_network(layers.Activation(activation)), make_card()

    imported = classify(from_keras(model, card), card).complete(temperature=2.5)

    scores = scores_of(model, images)
    expected = softmax((np.log(scores) if activation == "softmax" else scores) / 2.5)
    np.testing.assert_allclose(imported.network.predict(images), expected, atol=1e-5)
    np.testing.assert_allclose(imported.original(images), expected, atol=1e-5)


def test_a_temperature_flattens_probabilities_whose_scores_are_unknown(images: np.ndarray):
    image = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(image, layers.GlobalAveragePooling2D()(layers.Conv2D(3, 3, activation="softmax")(image)))
    card = make_card()

    network = classify(from_keras(model, card), card).complete(temperature=2).network

    np.testing.assert_allclose(network.predict(images), softmax(np.log(scores_of(model, images)) / 2), atol=1e-5)


def test_the_ending_is_found_behind_operations_that_keep_the_values():
    with tf.Graph().as_default():
        scores = tf.matmul(tf.compat.v1.placeholder(tf.float32, (None, 4)), tf.ones((4, 3)))
        output = tf.identity(tf.cast(tf.reshape(tf.nn.softmax(scores), (-1, 1, 1, 3)), tf.float64))
        ending = find_ending(output)
        averaged = find_ending((tf.nn.softmax(scores) + tf.nn.softmax(2 * scores)) / 2)

    assert (ending.activation, ending.operation) == ("softmax", "Softmax")
    assert ending.scores is scores
    assert averaged.activation is None, "the mean of probabilities is not made of scores"


def test_outputs_of_a_linear_layer_that_are_probabilities_stay_as_they_are():
    ending = Ending("none", "MatMul", SimpleNamespace())

    choice = choose_activation(ending, make_card(), 3, lambda: True)

    assert (choice.activation, choice.added) == ("none", "none")


def test_the_heat_maps_of_a_model_within_a_model_are_those_of_its_layers(images: np.ndarray):
    keras.utils.set_random_seed(0)
    photo = keras.Input((SIDE, SIDE, 3))
    inner = keras.Model(photo, layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, name="inner")(photo)))
    image = keras.Input((SIDE, SIDE, 3))
    model = keras.Model(image, layers.Dense(3)(inner(layers.Rescaling(1 / 2)(image))))
    card = make_card()

    network = classify(from_keras(flatten(model), card), card).complete().network

    assert network.explains
    np.testing.assert_allclose(network.predict(images), softmax(scores_of(model, images)), atol=1e-6)
