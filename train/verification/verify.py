"""Compare a running gateway with the model on disk, image by image."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from image_gateway_client import Answer, Client, ImageGatewayError, Problem
from train.data.examples import Example
from train.errors import TrainError
from train.evaluation.evaluate import Evaluation, decide
from train.export.golden import TOLERANCE
from train.export.precision import Form

TIMEOUT_S = 30.0
RETRIES = 3
"""Retries of a request that the gateway is too busy for, or that did not reach it."""


class PredictionError(TrainError):
    """The gateway returned no probabilities for an image; the message says why."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a version of the model predicts for one image.

    Attributes:
        classes: Numbers of the predicted classes: the most likely one or, for a multi-label model, every class at or
            above its threshold.
        probabilities: float32[K], by class number.
        version: The version of the model.
    """

    classes: frozenset[int]
    probabilities: npt.NDArray[np.float32]
    version: int


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An image whose prediction by the gateway is not the expected one.

    Attributes:
        index: Position of the image, from 0.
        problem: How the predictions differ.
    """

    index: int
    problem: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The predictions for a set of images, over HTTP and offline.

    Attributes:
        images: The number of images.
        accuracy: Fraction of images classified correctly over HTTP; an image without a prediction counts as wrong.
        offline_accuracy: Fraction of images classified correctly offline.
        largest_difference: Largest difference between a probability over HTTP and the same one offline.
        tolerance: The largest accepted difference.
        other_classes: The number of images with other classes than offline. They are not mismatches if the difference
            is accepted: two classes that are nearly as likely may then change places.
        mismatches: Images without a prediction, with a difference above `tolerance`, or with classes that do not follow
            from the probabilities.
    """

    images: int
    accuracy: float
    offline_accuracy: float
    largest_difference: float
    tolerance: float
    other_classes: int
    mismatches: tuple[Mismatch, ...]


class ServedModel:
    """One model behind a running gateway.

    Args:
        url: Where the gateway listens, such as http://localhost:8080.
        model: The model's name.
        classes: The number of classes that the model has.
        connections: The number of requests in flight at once.

    Raises:
        TrainError: `url` is not a valid gateway URL.
    """

    def __init__(self, url: str, model: str, classes: int, connections: int = 4) -> None:
        try:
            self._client = Client(url, timeout_s=TIMEOUT_S, retries=RETRIES, connections=connections)
        except ValueError as error:
            raise TrainError(str(error)) from error
        self._model = model
        self._classes = classes
        self._connections = connections

    def __enter__(self) -> Self:
        """Return this model."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close the connections."""
        self._client.close()

    def classify_all(
        self, examples: Sequence[Example], on_progress: Callable[[int], object], batch_size: int = 1
    ) -> list[Prediction | PredictionError]:
        """Send every image and return the outcomes in the order of the images.

        Args:
            examples: The images.
            on_progress: Called after each request with the number of its images.
            batch_size: The number of images in one request.
        """

        def classify(start: int) -> list[Prediction | PredictionError]:
            batch = [example.data for example in examples[start : start + batch_size]]
            try:
                outcomes = self._client.classify_batch(batch, model=self._model, top_k=self._classes)
            except (ImageGatewayError, OSError) as error:
                return [PredictionError(str(error))] * len(batch)
            finally:
                on_progress(len(batch))
            return [to_prediction(outcome, self._classes) for outcome in outcomes]

        with ThreadPoolExecutor(self._connections) as pool:
            batches = list(pool.map(classify, range(0, len(examples), batch_size)))
        return [prediction for batch in batches for prediction in batch]


def to_prediction(outcome: Answer | Problem, classes: int) -> Prediction | PredictionError:
    """Order the scores of an answer by class number; turn a problem or an incomplete answer into an error.

    Args:
        outcome: What the gateway returned for one image.
        classes: The number of classes that the model has.
    """
    if isinstance(outcome, Problem):
        return PredictionError(f"{outcome.status} {outcome}")
    scores = {prediction.class_id: prediction.score for prediction in outcome.predictions}
    if scores.keys() != set(range(classes)):
        return PredictionError(f"expected scores of the classes 0 to {classes - 1}, received those of {sorted(scores)}")
    probabilities = np.array([scores[class_id] for class_id in range(classes)], np.float32)
    predicted = (outcome.class_id,) if outcome.classes is None else (item.class_id for item in outcome.classes)
    return Prediction(frozenset(predicted), probabilities, outcome.model.version)


def compare(
    predictions: Sequence[Prediction | PredictionError],
    offline: Evaluation,
    version: int,
    tolerance: float = TOLERANCE,
) -> Comparison:
    """Compare the gateway's predictions with those of the same version offline.

    Args:
        predictions: One per image.
        offline: The expected predictions, and the true classes.
        version: The version that `offline` was computed with, and that the gateway should have used.
        tolerance: The largest accepted difference of a probability.
    """
    mismatches = []
    largest = 0.0
    right = other_classes = 0
    for index, (prediction, expected) in enumerate(zip(predictions, _expected(offline, version), strict=True)):
        problem = _problem(prediction, expected, offline.thresholds, tolerance)
        if problem:
            mismatches.append(Mismatch(index, problem))
        if isinstance(prediction, Prediction):
            largest = max(largest, _difference(prediction, expected))
            right += int(prediction.classes == _numbers(offline.targets[index]))
            other_classes += int(prediction.classes != expected.classes)
    images = len(offline.targets)
    return Comparison(images, right / images, offline.accuracy, largest, tolerance, other_classes, tuple(mismatches))


def compare_forms(
    predictions: Sequence[Prediction | PredictionError],
    offline: Mapping[Form, Evaluation],
    version: int,
    tolerances: Mapping[Form, float],
) -> tuple[Form, Comparison]:
    """Compare the gateway's predictions with those of each form, and return the form with the fewest mismatches.

    Of several, the nearest one is returned, and TensorFlow Lite if both are equally near: it is what model servers
    serve on processors.

    Args:
        predictions: One per image.
        offline: The expected predictions of each form.
        version: As in `compare`.
        tolerances: The largest accepted difference of a probability of each form.
    """
    comparisons = {
        form: compare(predictions, evaluation, version, tolerances[form]) for form, evaluation in offline.items()
    }

    def rank(item: tuple[Form, Comparison]) -> tuple[int, float, bool]:
        form, comparison = item
        return len(comparison.mismatches), comparison.largest_difference, form != "tflite"

    return min(comparisons.items(), key=rank)


def _expected(offline: Evaluation, version: int) -> Iterator[Prediction]:
    for decisions, probabilities in zip(offline.decisions, offline.probabilities, strict=True):
        yield Prediction(_numbers(decisions), probabilities, version)


def _numbers(chosen: npt.NDArray[np.bool_]) -> frozenset[int]:
    return frozenset(np.flatnonzero(chosen).tolist())


def _difference(prediction: Prediction, expected: Prediction) -> float:
    return float(np.abs(prediction.probabilities - expected.probabilities).max())


def _problem(
    prediction: Prediction | PredictionError,
    expected: Prediction,
    thresholds: npt.NDArray[np.float32] | None,
    tolerance: float,
) -> str | None:
    if isinstance(prediction, PredictionError):
        return str(prediction)
    if prediction.version != expected.version:
        return f"version {prediction.version} answered, compared with version {expected.version}"
    difference = _difference(prediction, expected)
    if not difference <= tolerance:
        return f"a probability differs by {difference:.2g}"
    classes = _numbers(decide(prediction.probabilities[None], thresholds)[0])
    if prediction.classes != classes:
        return f"classes {sorted(prediction.classes)}, but by its probabilities {sorted(classes)}"
    return None
