"""How sure a network is of its best class, computed from its last features beside the probabilities.

A network that never saw anything but its classes gives high probabilities to other pictures, too. Their features give
them away: they are weaker, and lie in another direction than those of the training images. The score combines both:
with g, the square roots of the averaged features, and the mean direction m of each class, it is max g·m / |g|^0.8.
It needs no pictures of other things. Of photos that show none of CIFAR-10's classes it rejects four fifths where the
highest probability rejects two fifths; docs/decisions/0021 compares it with others.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.data.batching import iterate_batches, predict_in_batches
from train.data.examples import Inputs, Predict
from train.errors import TrainError
from train.evaluation.cards import round_metrics
from train.export.frozen_network import CONFIDENCE, CONFIDENCE_SCOPE, FEATURES, FrozenNetwork, Tensor
from vision.card import Card

NORM_EXPONENT = 0.8
"""With 1, only the direction of the features counts, with 0 mostly their strength; 0.5 to 0.9 differ by a point."""
CONFIDENT = 0.5
"""The confidence at the threshold, which is the `abstain_below` of a card whose network has this score."""
MIN_STRENGTH = 1e-6


@dataclass(frozen=True, slots=True)
class ConfidenceHead:
    """A function from the last features of a network to its confidence.

    Attributes:
        directions: float32[F, K], the mean direction of the features of each class, of length 1.
        threshold: Score that becomes the confidence `CONFIDENT`.
        width: Difference of the score that changes the confidence from 0.5 to 0.73.
    """

    directions: npt.NDArray[np.float32]
    threshold: float
    width: float

    def attach(self, network: FrozenNetwork) -> FrozenNetwork:
        """Return the network with `CONFIDENCE` among its outputs."""

        def call(image: Tensor) -> dict[str, Tensor]:
            outputs = dict(network(image))
            with tf.name_scope(CONFIDENCE_SCOPE):
                score = score_features(outputs[FEATURES], self.directions)
                outputs[CONFIDENCE] = tf.sigmoid((score - self.threshold) * (1 / self.width))
            return outputs

        (image,) = network.function.structured_input_signature[0]
        function = tf.function(call, input_signature=[image], autograph=False).get_concrete_function()
        return FrozenNetwork(function, network.precision)


def fit_confidence(network: FrozenNetwork, training: Inputs, validation: Inputs, share: float) -> ConfidenceHead:
    """Fit the head of a network.

    Args:
        network: The network, which must return its features.
        training: Images with their classes, from which the directions are taken.
        validation: Images that the network was not trained on, from which the threshold is taken.
        share: Fraction of the validation images that shall be confident.

    Raises:
        TrainError: The network does not average its last features.
    """
    if not network.explains:
        raise TrainError(
            "the confidence needs a network that averages its last features over the image; this one does not"
        )
    directions = _directions(network, training)
    scores = predict_in_batches(
        lambda images: score_features(_features(network, images), directions).numpy(), validation.images
    )
    return ConfidenceHead(directions, float(np.quantile(scores, 1 - share)), float(scores.std()))


def measure_answered(
    predict_confidence: Predict, images: npt.NDArray[np.uint8], correct: npt.NDArray[np.bool_]
) -> dict[str, float | None]:
    """Return the `share` of images of which a form is sure, and the `accuracy` on those; None if it is of none.

    Args:
        predict_confidence: From uint8[N, H, W, C] to the float32[N] confidence, in a form of a network with a head.
        images: uint8[N, H, W, C].
        correct: Whether the same form classifies each correctly.
    """
    answered = predict_in_batches(predict_confidence, images) >= CONFIDENT
    return {"share": float(answered.mean()), "accuracy": float(correct[answered].mean()) if answered.any() else None}


def with_confidence(card: Card, answered: Mapping[str, float | None]) -> Card:
    """Return the card of the network with an attached head, and with what `measure_answered` measured of it."""
    output = dataclasses.replace(card.output, confidence=CONFIDENCE)
    metrics = {**card.metrics, "answered": round_metrics(dict(answered))}
    return dataclasses.replace(card, output=output, abstain_below=CONFIDENT, metrics=metrics)


def score_features(features: Tensor, directions: npt.NDArray[np.float32]) -> Tensor:
    """Return the score of each image: float32[N] for float32[N, h, w, F]."""
    roots, strength = _roots(features)
    return tf.reduce_max(tf.matmul(roots, directions), axis=1) * tf.pow(strength, -NORM_EXPONENT / 2)


def _roots(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square roots g of the averaged features, float32[N, F], and the square of their length, float32[N]."""
    averages = tf.nn.relu(tf.reduce_mean(features, axis=(1, 2)))
    return tf.sqrt(averages), tf.maximum(tf.reduce_sum(averages, axis=1), MIN_STRENGTH)


def _directions(network: FrozenNetwork, training: Inputs) -> npt.NDArray[np.float32]:
    sums = 0
    for batch in iterate_batches(training.images):
        roots, strength = _roots(_features(network, training.images[batch]))
        sums += training.targets[batch].T @ np.asarray(roots / tf.sqrt(strength)[:, None])
    return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32).T


def _features(network: FrozenNetwork, images: npt.NDArray[np.uint8]) -> Tensor:
    return network(tf.constant(images))[FEATURES]
