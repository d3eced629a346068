"""The use case: images in, ranked labels out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from gateway.deadline import Deadline
from gateway.errors import (
    GatewayError,
    ModelFailedError,
    ModelUnavailableError,
    NotExplainableError,
    VersionGoneError,
)
from gateway.model_client.protocol import Array, Call, ModelServer, TensorSpec
from gateway.models.binding import EXPLAIN, ServedModel
from gateway.models.registry import Catalog, Target
from gateway.observability import metrics
from gateway.observability.timing import Timings
from gateway.prediction.image_loader import ImageSource, Picture, Pictures
from gateway.prediction.options import Options
from vision.card import InputSpec
from vision.postprocess import ClassScore, at_or_above, probabilities, top_k

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
        on_choice: Told which version is asked, also where that then fails.
    """

    target: Target
    options: Options
    deadline: Deadline
    request_id: str = ""
    timings: Timings = field(default_factory=Timings)
    on_choice: Callable[[ServedModel], object] = lambda _: None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a model looked for the best class.

    Attributes:
        heat: float32[h, w] in 0..1, over what the model saw of the image.
        drawing: The same drawn over that part of the image, as PNG; None unless it was asked for.
    """

    heat: NDArray[np.float32]
    drawing: bytes | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says about one image.

    Attributes:
        best: The class with the highest score.
        predictions: The best classes, best first; with a threshold none of a multi-class model below it.
        present: Of a multi-label model, every class at or above its threshold, best first; None of others.
        explanation: Where the model looked for the best class; None unless it was asked for.
    """

    best: ClassScore
    predictions: list[ClassScore]
    present: list[ClassScore] | None
    explanation: Explanation | None = None


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
        asked.on_choice(served)
        _check_explainable(served, asked.options)
        contents = self._pictures.contents(sources, deadline=asked.deadline, timings=asked.timings)
        for _ in range(SWAPS_FOLLOWED):
            try:
                return self._answers(served, contents, asked)
            except VersionGoneError:
                metrics.SWAP_RETRIES.labels(served.name).inc()
                served = self._catalog.successor(served, asked.target, deadline=asked.deadline)
                asked.on_choice(served)
        raise ModelUnavailableError(f"The versions of {served.name} change faster than it can be asked.")

    def _answers(self, served: ServedModel, contents: Sequence[bytes | GatewayError], asked: Inquiry) -> Answers:
        call = _check_explainable(served, asked.options)
        spec = served.card.input
        prepared = self._pictures.prepared(contents, spec, deadline=asked.deadline, timings=asked.timings)
        asked.deadline.remaining_s()  # else the images are at fault that came too late
        images = [item.image for item in prepared if isinstance(item, Picture)]
        rows = iter(self._rows(served.call, {served.input_name: images}, (len(served.card.labels),), asked))
        results = [
            _ranked(served, next(rows), asked.options) if isinstance(item, Picture) else item for item in prepared
        ]
        if call is not None:
            pairs = zip(prepared, results, strict=True)
            told = [
                (item, result) for item, result in pairs if isinstance(item, Picture) and isinstance(result, Answer)
            ]
            explained = iter(self._explained(call, spec, told, asked))
            results = [next(explained) if isinstance(item, Answer) else item for item in results]
        return Answers(served, results)

    def _explained(
        self, call: Call, spec: InputSpec, told: Sequence[tuple[Picture, Answer]], asked: Inquiry
    ) -> list[Answer]:
        """Add to each answer where the model looked."""
        images = [picture.image for picture, _ in told]
        classes = [np.array(answer.best.class_id, np.int32) for _, answer in told]
        rows = self._rows(call, {"image": images, "class_id": classes}, (None, None), asked)
        heats = [np.clip(np.asarray(row, np.float32), 0, 1) for row in rows]
        if not all(heat.size and np.isfinite(heat).all() for heat in heats):
            raise ModelFailedError(f"{call.model} explained with a heat map that has no cells, or no numbers in them.")
        if asked.options.explain == "raw":
            drawings: Sequence[bytes | None] = [None] * len(heats)
        else:
            contents = [picture.content for picture, _ in told]
            with asked.timings.measured("draw"):
                drawings = self._pictures.drawn(contents, heats, spec, deadline=asked.deadline)
        return [
            replace(answer, explanation=Explanation(heat, drawing))
            for (_, answer), heat, drawing in zip(told, heats, drawings, strict=True)
        ]

    def _rows(
        self, call: Call, inputs: Mapping[str, Sequence[Array]], row_shape: tuple[int | None, ...], asked: Inquiry
    ) -> list[Array]:
        """Compute a row of the output for each row of the inputs, by as few calls as the limit on their size allows.

        Raises:
            ModelFailedError: the answer has other rows than `row_shape`, in which None stands for any length.
            GatewayError: see `ModelServer.predict`.
        """
        rows: list[Array] = []
        count = len(next(iter(inputs.values())))
        size = self._max_batch_size if call.takes_batches else 1
        for start in range(0, count, size):
            end = min(start + size, count)
            sent = {name: _stacked(column[start:end]) for name, column in inputs.items()}
            with asked.timings.measured(EXPLAIN if call.signature_name == EXPLAIN else "predict"):
                answered = self._server.predict(call, sent, deadline=asked.deadline, request_id=asked.request_id)
            wanted = TensorSpec(answered.dtype.name, (end - start, *row_shape))
            if not wanted.accepts_shape(answered.shape):
                raise ModelFailedError(f"{call.model} answered with shape {answered.shape}, not {wanted.shape}.")
            rows.extend(answered)
        return rows


def _stacked(rows: Sequence[Array]) -> Array:
    """Make a batch of rows; of a single one without copying it."""
    return rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows)


def _check_explainable(served: ServedModel, options: Options) -> Call | None:
    """Give the call that explains where that is asked for.

    Raises:
        NotExplainableError: the version has none.
    """
    if options.explain is not None and served.explain is None:
        raise NotExplainableError(
            f"{served.name} version {served.version} has no usable signature explain: it cannot show where it looks."
        )
    return None if options.explain is None else served.explain


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
