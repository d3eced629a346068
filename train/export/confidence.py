"""How sure a network is of its best class, computed from its last features beside the probabilities.

A network that never saw anything but its classes gives high probabilities to other pictures, too. Their features give
them away. The score is a linear function of the square roots of the averaged features, which tells training images
from pictures made of pieces of them, so it needs no pictures of other things. Of photos that show none of CIFAR-10's
classes it rejects four fifths where the highest probability rejects two; docs/decisions/0021 compares it with others.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from sklearn.linear_model import LogisticRegression

from train.data.batching import predict_in_batches
from train.data.examples import Predict
from train.errors import TrainError
from train.evaluation.cards import round_metrics
from train.export.detached_weights import attach_weights, detach_weights
from train.export.frozen_network import (
    CONFIDENCE,
    CONFIDENCE_SCOPE,
    FEATURES,
    FrozenNetwork,
    Tensor,
    flatten_function,
)
from train.export.surrogate_outliers import make_surrogate_outliers
from vision.card import Card

CONFIDENT = 0.5
"""The confidence at the threshold, which is the `abstain_below` of a card whose network has this score."""
MAX_IMAGES = 3000
"""Number of training images, and of pictures made from them, that the score is fitted to."""
PENALTY = 0.17
"""Weight of the squared coefficients beside the mean loss; for `cifar10`, 0.05 to 0.3 differ by a point."""
MAX_ITERATIONS = 300


@dataclass(frozen=True, slots=True)
class ConfidenceHead:
    """A function from the last features of a network to its confidence.

    Attributes:
        coefficients: float32[F], what the square root of each averaged feature adds to the score.
        threshold: Score that becomes the confidence `CONFIDENT`.
        width: Difference of the score that changes the confidence from 0.5 to 0.73.
    """

    coefficients: npt.NDArray[np.float32]
    threshold: float
    width: float

    def attach(self, network: FrozenNetwork) -> FrozenNetwork:
        """Return the network with `CONFIDENCE` among its outputs."""

        def call(image: Tensor) -> dict[str, Tensor]:
            outputs = dict(network.outline(image))
            with tf.name_scope(CONFIDENCE_SCOPE):
                score = score_features(outputs[FEATURES], self.coefficients)
                outputs[CONFIDENCE] = tf.sigmoid((score - self.threshold) * (1 / self.width))
            return outputs

        (image,) = network.outline.structured_input_signature[0]
        graph, source, fetches = flatten_function(
            tf.function(call, input_signature=[image], autograph=False).get_concrete_function()
        )
        outline, weights = detach_weights(attach_weights(graph, network.weights))
        return FrozenNetwork(outline, weights, source, fetches, network.precision)


def fit_confidence(
    network: FrozenNetwork, training: npt.NDArray[np.uint8], validation: npt.NDArray[np.uint8], share: float
) -> ConfidenceHead:
    """Fit the head of a network.

    Args:
        network: The network, which must return its features.
        training: uint8[N, H, W, C], images that the network was trained on.
        validation: uint8[N, H, W, C], images that it was not trained on, from which the threshold is taken.
        share: Fraction of the validation images that shall be confident.

    Raises:
        TrainError: The network does not average its last features.
    """
    if not network.explains:
        raise TrainError(
            "the confidence needs a network that averages its last features over the image; this one does not"
        )
    coefficients = _fit_coefficients(network, training)
    scores = predict_in_batches(lambda images: _roots(network, images) @ coefficients, validation)
    return ConfidenceHead(coefficients, float(np.quantile(scores, 1 - share)), float(scores.std()))


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


def score_features(features: Tensor, coefficients: npt.NDArray[np.float32]) -> Tensor:
    """Return the score of each image: float32[N] for float32[N, h, w, F]."""
    return tf.linalg.matvec(_average_roots(features), coefficients)


def _average_roots(features: Tensor) -> Tensor:
    """Return the square roots of the averaged features, float32[N, F]."""
    return tf.sqrt(tf.nn.relu(tf.reduce_mean(features, axis=(1, 2))))


def _fit_coefficients(network: FrozenNetwork, training: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    chosen = np.sort(np.random.default_rng(0).permutation(len(training))[:MAX_IMAGES])
    images = np.asarray(training[chosen])
    parts = [
        predict_in_batches(lambda batch: _roots(network, batch), part)
        for part in (images, make_surrogate_outliers(images))
    ]
    roots = np.concatenate(parts)
    scale = roots.std(axis=0).mean()
    model = LogisticRegression(C=1 / (PENALTY * len(roots)), max_iter=MAX_ITERATIONS)
    model.fit((roots - parts[0].mean(axis=0)) / scale, np.repeat([1, 0], len(images)))
    return np.asarray(model.coef_[0] / scale, np.float32)


def _roots(network: FrozenNetwork, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return np.asarray(_average_roots(network.run(images, FEATURES)))
