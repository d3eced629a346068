"""The use case: images in, ranked labels out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from gateway.catalog import Catalog, Target
from gateway.contract import ServedModel
from gateway.deadline import Deadline
from gateway.errors import GatewayError, ModelFailedError, ModelUnavailableError, VersionGoneError
from gateway.options import Options
from gateway.pictures import ImageSource, Pictures
from gateway.serving import Array, ModelServer
from gateway.timing import Timings
from vision.postprocess import Prediction, at_or_above, probabilities, top_k

SWAPS_FOLLOWED = 3
"""Version changes that one request lives through before it gives up."""


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What is asked about the images of one request.

    Attributes:
        target: Who is to answer.
        options: What is to be answered.
        deadline: Until when fetching, decoding and predicting together must be done.
        request_id: Passed on to the model server.
        timings: Where the stages write how long they took.
    """

    target: Target
    options: Options
    deadline: Deadline
    request_id: str = ""
    timings: Timings = field(default_factory=Timings)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says about one image.

    Attributes:
        best: The class with the highest score.
        predictions: The best classes, best first; with a threshold none of a multi-class model below it.
        present: Of a multi-label model, every class at or above its threshold, best first; None of others.
    """

    best: Prediction
    predictions: list[Prediction]
    present: list[Prediction] | None


@dataclass(frozen=True, slots=True)
class Answers:
    """What one version of a model says about some images.

    Attributes:
        model: The version that answers.
        results: In the order of the images; where one cannot be answered, why.
    """

    model: ServedModel
    results: list[Answer | GatewayError]


class Classifier:
    """Answers which classes images belong to.

    Args:
        catalog: Which version of a model answers.
        server: Where it runs.
        pictures: Makes model inputs of images.
        max_batch_size: Most images in one call to the model server.
    """

    def __init__(self, catalog: Catalog, server: ModelServer, pictures: Pictures, *, max_batch_size: int) -> None:
        self._catalog = catalog
        self._server = server
        self._pictures = pictures
        self._max_batch_size = max_batch_size

    def classify(self, sources: Sequence[ImageSource | GatewayError], asked: Inquiry) -> Answers:
        """Ask one version of a model about every image.

        Args:
            sources: The images, at least one; where one could not be understood, why.
            asked: What is asked about them.

        Raises:
            GatewayError: none of them can be answered, for a reason common to all; the subclass tells which.
        """
        served = self._catalog.choose(asked.target, deadline=asked.deadline)
        contents = self._pictures.contents(sources, deadline=asked.deadline, timings=asked.timings)
        for _ in range(SWAPS_FOLLOWED):
            try:
                return self._answers(served, contents, asked)
            except VersionGoneError:
                served = self._catalog.successor(served, asked.target, deadline=asked.deadline)
        raise ModelUnavailableError(f"The versions of {served.name} change faster than it can be asked.")

    def _answers(self, served: ServedModel, contents: Sequence[bytes | GatewayError], asked: Inquiry) -> Answers:
        inputs = self._pictures.inputs(contents, served.card.input, deadline=asked.deadline, timings=asked.timings)
        asked.deadline.remaining_s()  # else the images are at fault that came too late
        rows = self._scores(served, [item for item in inputs if not isinstance(item, GatewayError)], asked)
        return Answers(
            served,
            [item if isinstance(item, GatewayError) else _ranked(served, next(rows), asked.options) for item in inputs],
        )

    def _scores(self, served: ServedModel, images: Sequence[Array], asked: Inquiry) -> Iterator[Array]:
        """Give a row of scores for each image, by as few calls as the limit on their size allows."""
        classes = len(served.card.labels)
        batches = []
        for start in range(0, len(images), self._max_batch_size):
            some = images[start : start + self._max_batch_size]
            sent = some[0][None] if len(some) == 1 else np.stack(some)
            with asked.timings.measured("predict"):
                scores = self._server.predict(
                    served.call, {served.input_name: sent}, deadline=asked.deadline, request_id=asked.request_id
                )
            if scores.shape != (len(some), classes):
                raise ModelFailedError(
                    f"{served.name} answered with shape {scores.shape}, not ({len(some)}, {classes})."
                )
            batches.append(scores)
        return (row for scores in batches for row in scores)


def _ranked(served: ServedModel, scores: Array, options: Options) -> Answer | GatewayError:
    card, threshold = served.card, options.threshold
    present = None
    try:
        row = probabilities(scores, card.output.activation)
        predictions = top_k(row, card.labels, options.top_k)
        if card.task == "multilabel":
            present = at_or_above(row, card.labels, card.threshold if threshold is None else threshold)
    except ValueError as error:
        failure = ModelFailedError(f"{served.name} answered with scores that cannot be ranked: {error}")
        failure.__cause__ = error
        return failure
    best = predictions[0]
    if threshold is not None and card.task == "multiclass":
        least = np.float32(threshold)  # as the scores are, so that a score of 0.7 reaches a threshold of 0.7
        predictions = [item for item in predictions if item.score >= least]
    return Answer(best, predictions, present)
