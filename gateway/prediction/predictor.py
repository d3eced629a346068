"""Classify the images of a request: load and prepare them, call the model server, and rank the classes."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway.capacity import Place
from gateway.deadline import Deadline, Timings
from gateway.errors import (
    BadRequestError,
    GatewayError,
    ModelContractError,
    ModelFailedError,
    ModelUnavailableError,
    NotExplainableError,
    VersionGoneError,
)
from gateway.model_client.protocol import Array, Call, ModelServer, TensorSpec, require_shape
from gateway.models.binding import EXPLAIN, ServedModel
from gateway.models.registry import ModelRegistry, ModelTarget
from gateway.models.score_check import score_error
from gateway.observability import metrics
from gateway.prediction import schemas
from gateway.prediction.image_loader import (
    ImageBytes,
    ImageContent,
    ImageLoader,
    ImagePixels,
    ImageSource,
    PreparedImage,
)
from vision.model_io import InputEncoder, Shape
from vision.postprocess import ClassScore, at_or_above, class_probabilities, is_confident, top_k

MAX_SWAPS = 3
"""Version changes that one request survives before it fails."""
CALL_FACTOR = 4
"""Bytes of memory that a call takes for each byte of its inputs: rows, their batch, the message and its encoding."""
PNG_DATA_URI = "data:image/png;base64,"  # RFC 2397
HEAT_DIGITS = 4

Explain: TypeAlias = Literal["image", "raw"]


@dataclass(frozen=True, slots=True)
class PredictionOptions:
    """What is computed for each image.

    Attributes:
        top_k: Number of classes to return, at least 1; a number above that of the classes returns all.
        threshold: Lowest score, 0..1, of a class that is returned; None for the card's own threshold, and no limit on
            the ranking.
        explain: Whether to explain the best class, by a drawn heat map or by its raw numbers; None for not at all.
    """

    top_k: int
    threshold: float | None = None
    explain: Explain | None = None


@dataclass(frozen=True, slots=True)
class PredictionRequest:
    """Everything about one request to classify images, from parsing to the response.

    Attributes:
        images: At least one; an image that could not be parsed is replaced by its error.
        target: The model that classifies them.
        options: What is computed for each image.
        deadline: Time limit on fetching, decoding and prediction together.
        id: Request id, passed on to the model server.
        is_batch: Whether the response is that of a batch, also for one image.
        timings: Collects how long each stage takes.
        place: What it occupies of the worker; None for a request of the gateway itself.
        names: What the sender calls each image, if all are files of a form; otherwise nothing.
    """

    images: Sequence[ImageSource | GatewayError]
    target: ModelTarget
    options: PredictionOptions
    deadline: Deadline
    id: str = ""
    is_batch: bool = False
    timings: Timings = field(default_factory=Timings)
    place: Place | None = None
    names: Sequence[str] = ()

    @property
    def size(self) -> int:
        """Bytes of the images that came with it."""
        return sum(
            len(image.data) if isinstance(image, ImageBytes) else image.pixels.nbytes
            for image in self.images
            if isinstance(image, (ImageBytes, ImagePixels))  # a union would be made for every image
        )


@dataclass(frozen=True, slots=True)
class PredictionResult:
    """What one version of a model predicts for the images of a request.

    Attributes:
        model: The version.
        predictions: In the order of the images; an image that failed is replaced by its error.
        cache_status: Value of the Cache-Status header (RFC 9211); None without a cache.
    """

    model: ServedModel
    predictions: Sequence[schemas.Prediction | GatewayError]
    cache_status: str | None = None


class Predictor(Protocol):
    """Classifies the images of a request."""

    def predict(self, request: PredictionRequest) -> PredictionResult:
        """Classify every image by the same version of a model.

        Raises:
            GatewayError: No image can be classified, for a reason common to all. Its `model_version` is the version
                that was used, if one was chosen before the failure.
        """


class ModelPredictor:
    """Classifies images with the model server.

    Args:
        registry: Resolves the version that a request targets.
        server: Serves the models.
        image_loader: Turns images into model inputs.
        max_batch_size: Maximum number of images in one call to the model server.
    """

    def __init__(
        self, registry: ModelRegistry, server: ModelServer, image_loader: ImageLoader, *, max_batch_size: int
    ) -> None:
        self._registry = registry
        self._server = server
        self._image_loader = image_loader
        self._max_batch_size = max_batch_size

    def predict(self, request: PredictionRequest) -> PredictionResult:
        """Classify every image; see `Predictor`. A version that is unloaded meanwhile is replaced by its successor."""
        served = self._registry.resolve(request.target, deadline=request.deadline)
        with errors_from(served):
            _explain_call(served, request.options)
            contents = self._image_loader.load(
                request.images, deadline=request.deadline, timings=request.timings, place=request.place
            )
        for _ in range(MAX_SWAPS):
            with errors_from(served):
                try:
                    return self._predict(served, contents, request)
                except VersionGoneError:
                    metrics.SWAP_RETRIES.labels(served.name).inc()
                    served = self._registry.await_replacement(served, request.target, deadline=request.deadline)
        with errors_from(served):
            raise ModelUnavailableError(f"The versions of {served.name} change faster than a request is answered.")

    def _predict(
        self, served: ServedModel, contents: Sequence[ImageContent | GatewayError], request: PredictionRequest
    ) -> PredictionResult:
        explain_call = _explain_call(served, request.options)
        _require_rows(contents, served)
        images = self._image_loader.prepare(
            contents, served.card.input, deadline=request.deadline, timings=request.timings, place=request.place
        )
        if request.place is not None:
            request.place.start(len(contents))
        request.deadline.remaining_s()  # otherwise a missed deadline would be reported as an error of the images
        inputs = {served.input_name: [image.pixels for image in images if not isinstance(image, GatewayError)]}
        rows = iter(self._run(served.call, inputs, served.score_shape, request, served.encoder))
        predictions = [
            image if isinstance(image, GatewayError) else _rank(served, next(rows), request.options) for image in images
        ]
        for prediction in predictions:
            if isinstance(prediction, ModelContractError):
                self._registry.reject(served, prediction)
        if explain_call is not None:
            predictions = self._explain(explain_call, images, predictions, served, request)
        return PredictionResult(served, predictions)

    def _explain(
        self,
        call: Call,
        images: Sequence[PreparedImage | ImagePixels | GatewayError],
        predictions: Sequence[schemas.Prediction | GatewayError],
        served: ServedModel,
        request: PredictionRequest,
    ) -> list[schemas.Prediction | GatewayError]:
        """Add an explanation to each prediction for an image file.

        Raises:
            ModelFailedError: The model returned heat maps that cannot be used.
            GatewayError: See `_run` and `ImageLoader.draw_heatmaps`.
        """
        pairs = [
            (image, prediction)
            for image, prediction in zip(images, predictions, strict=True)
            if isinstance(image, PreparedImage) and not isinstance(prediction, GatewayError)
        ]
        inputs: dict[str, list[Array]] = {
            "image": [image.pixels for image, _ in pairs],
            "class_id": [np.array(prediction["class_id"], np.int32) for _, prediction in pairs],
        }
        rows = self._run(call, inputs, (None, None), request)
        if not all(row.dtype.kind == "f" and row.size and np.isfinite(row).all() for row in rows):
            raise ModelFailedError(f"{call.model} returned a heat map that is empty or not of finite numbers.")
        heatmaps = [np.asarray(row.clip(0, 1), np.float32) for row in rows]
        drawings: Sequence[bytes | None] = [None] * len(heatmaps)
        if request.options.explain == "image":
            with request.timings.measure("draw"):
                drawings = self._image_loader.draw_heatmaps(
                    [image.file for image, _ in pairs],
                    heatmaps,
                    served.card.input,
                    deadline=request.deadline,
                    place=request.place,
                )
        for (_, prediction), heatmap, drawing in zip(pairs, heatmaps, drawings, strict=True):
            prediction["explanation"] = _explanation(prediction, heatmap, drawing)
        return list(predictions)

    def _run(
        self,
        call: Call,
        inputs: Mapping[str, Sequence[Array]],
        row_shape: Shape,
        request: PredictionRequest,
        encoder: InputEncoder | None = None,
    ) -> list[Array]:
        """Compute one row of the output for each row of the inputs, in as few calls as their maximum size permits.

        Raises:
            ModelFailedError: The rows returned do not have `row_shape`; None means any length, or any shape.
            GatewayError: See `ModelServer.predict`.
        """
        rows: list[Array] = []
        count = len(next(iter(inputs.values())))
        size = self._max_batch_size if call.takes_batches else 1
        for start in range(0, count, size):
            end = min(start + size, count)
            columns = {name: column[start:end] for name, column in inputs.items()}
            if encoder is not None:
                columns = {name: [encoder.encode(row) for row in column] for name, column in columns.items()}
            with (
                _memory_for(columns, request),
                request.timings.measure(EXPLAIN if call.signature_name == EXPLAIN else "predict"),
            ):
                batch = {name: _stack(column) for name, column in columns.items()}
                output = self._server.predict(call, batch, deadline=request.deadline, request_id=request.id)
            require_shape(call.model, output, end - start, row_shape)
            rows.extend(output)
        return rows


@contextmanager
def errors_from(served: ServedModel) -> Iterator[None]:
    """Attach the version to the errors raised inside, unless they carry one."""
    try:
        yield
    except GatewayError as error:
        error.model_version = error.model_version or (served.name, served.version)
        raise


def _require_rows(contents: Sequence[ImageContent | GatewayError], served: ServedModel) -> None:
    """Check that images which came as pixels are rows of the model's input: it checks neither type nor shape.

    Raises:
        BadRequestError: One is not.
    """
    for content in contents:
        if isinstance(content, ImagePixels) and not served.row.accepts(content.pixels):
            raise BadRequestError(
                f"An image of {served.name} version {served.version} is {served.row}, not "
                f"{TensorSpec.of(content.pixels)}. Send such a tensor, or an image file."
            )


def _memory_for(columns: Mapping[str, Sequence[Array]], request: PredictionRequest) -> AbstractContextManager[object]:
    """Reserve the memory that a call with several rows takes; that of a single one is negligible."""
    if request.place is None or all(len(column) == 1 for column in columns.values()):
        return nullcontext()
    sizes = (len(row.item()) if row.dtype == object else row.nbytes for column in columns.values() for row in column)
    return request.place.compute(CALL_FACTOR * sum(sizes))


def _stack(rows: Sequence[Array]) -> Array:
    """Stack rows into a batch; a single row is not copied."""
    return rows[0][np.newaxis] if len(rows) == 1 else np.stack(rows)


def _explain_call(served: ServedModel, options: PredictionOptions) -> Call | None:
    """Return the call that explains, or None if no explanation is requested.

    Raises:
        NotExplainableError: The version has no such call.
    """
    if options.explain is not None and served.explain is None:
        raise NotExplainableError(
            f"{served.name} version {served.version} has no usable signature `explain`. Omit the option, or use "
            "another model."
        )
    return None if options.explain is None else served.explain


def _rank(served: ServedModel, output: Array, options: PredictionOptions) -> schemas.Prediction | GatewayError:
    """Rank the classes by the output for one image, float of `ServedModel.score_shape`."""
    card, threshold = served.card, options.threshold
    scores, confidence = served.call.split_row(output)
    present = None
    try:
        row = class_probabilities(scores, card)
        ranking = top_k(row, card.labels, options.top_k)
        if card.task == "multilabel":
            present = at_or_above(row, card.labels, card.threshold if threshold is None else threshold)
    except ValueError as error:
        failure = score_error(served, scores, error)
        failure.__cause__ = error
        return failure
    best = ranking[0]
    if threshold is not None and card.task == "multiclass":
        lowest = np.float32(threshold)  # of the scores' type, so that a score of 0.7 reaches a threshold of 0.7
        ranking = [item for item in ranking if item.score >= lowest]
    prediction: schemas.Prediction = {
        "kind": "prediction",
        "class": best.label,
        "label": best.label,
        "class_id": best.class_id,
        "score": best.score,
        "predictions": _class_scores(ranking),
    }
    confident = is_confident(card, best.score, confidence)
    if confident is not None:
        prediction["confident"] = confident
    if present is not None:
        prediction["classes"] = _class_scores(present)
    return prediction


def _class_scores(ranking: Sequence[ClassScore]) -> list[schemas.ClassScore]:
    return [
        {"class": item.label, "label": item.label, "class_id": item.class_id, "score": item.score} for item in ranking
    ]


def _explanation(
    prediction: schemas.Prediction, heatmap: NDArray[np.float32], drawing: bytes | None
) -> schemas.DrawnHeatMap | schemas.HeatMap:
    """Build the explanation of the best class from its heat map, float32[h, w] in 0..1, and the drawing of it."""
    label, class_id = prediction["label"], prediction["class_id"]
    if drawing is not None:
        data_uri = PNG_DATA_URI + base64.b64encode(drawing).decode()
        return {"kind": "image", "class": label, "label": label, "class_id": class_id, "heatmap": data_uri}
    height, width = heatmap.shape
    rows = [[round(value, HEAT_DIGITS) for value in row] for row in heatmap.tolist()]
    return {
        "kind": "raw",
        "class": label,
        "label": label,
        "class_id": class_id,
        "height": height,
        "width": width,
        "heatmap": rows,
    }
