"""The use case: an image in, ranked labels out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from gateway.catalog import Catalog
from gateway.contract import ServedModel
from gateway.deadline import Deadline
from gateway.errors import (
    ImageFormatError,
    ImageTooLargeError,
    ImageUnreadableError,
    ModelFailedError,
    ModelUnavailableError,
    VersionGoneError,
)
from gateway.serving import Array, ModelServer
from vision.decode import ImageError, ImageFormat, TooManyPixelsError, UnsupportedFormatError
from vision.postprocess import Prediction, at_or_above, probabilities, top_k
from vision.preprocess import load

SWAPS_FOLLOWED = 3
"""Version changes that one request lives through before it gives up."""


class Fetcher(Protocol):
    """Gets the picture behind a URL."""

    def fetch(self, url: str, *, deadline: Deadline) -> bytes:
        """Give the bytes behind a URL.

        Raises:
            FetchError: they could not be had.
            BodyTooLargeError: they are too many.
            DeadlineExceededError: they did not come in time.
        """


@dataclass(frozen=True, slots=True)
class Upload:
    """An image whose bytes came with the request."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Link:
    """An image to be fetched."""

    url: str


ImageSource = Upload | Link


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said about one image.

    Attributes:
        model: The version that said it.
        predictions: The best classes, best first, at least one.
        present: Of a multi-label model, every class at or above its threshold, best first; None of others.
    """

    model: ServedModel
    predictions: list[Prediction]
    present: list[Prediction] | None


class Classifier:
    """Answers which classes an image belongs to.

    Args:
        catalog: Which version of a model answers.
        server: Where it runs.
        fetcher: Gets pictures given by URL.
        max_pixels: Largest image, width times height, that is decoded.
    """

    def __init__(self, catalog: Catalog, server: ModelServer, fetcher: Fetcher, *, max_pixels: int) -> None:
        self._catalog = catalog
        self._server = server
        self._fetcher = fetcher
        self._max_pixels = max_pixels

    def classify(
        self, source: ImageSource, *, model: str | None, top: int, deadline: Deadline, request_id: str = ""
    ) -> Answer:
        """Ask a model about one image.

        Args:
            source: The image.
            model: Name of the model; None for the default one.
            top: How many classes to rank, at least 1; more than there are gives all.
            deadline: Until when fetching, decoding and predicting together must be done.
            request_id: Passed on to the model server.

        Raises:
            GatewayError: it cannot be answered; the subclass tells why.
        """
        served = self._catalog.get(model or self._catalog.default, deadline=deadline)
        data = source.data if isinstance(source, Upload) else self._fetcher.fetch(source.url, deadline=deadline)
        for _ in range(SWAPS_FOLLOWED):
            with translated_image_errors(self._max_pixels):
                image = load(data, served.card.input, max_pixels=self._max_pixels)
            try:
                scores = self._server.predict(
                    served.call, {served.input_name: image[None]}, deadline=deadline, request_id=request_id
                )
            except VersionGoneError:
                served = self._catalog.successor(served, deadline=deadline)
            else:
                return _answer(served, scores, top)
        raise ModelUnavailableError(f"The versions of {served.name} change faster than it can be asked.")


def _answer(served: ServedModel, scores: Array, top: int) -> Answer:
    card = served.card
    if scores.shape != (1, len(card.labels)):
        raise ModelFailedError(f"{served.name} answered with shape {scores.shape}, not (1, {len(card.labels)}).")
    try:
        row = probabilities(scores[0], card.output.activation)
        predictions = top_k(row, card.labels, top)
        present = at_or_above(row, card.labels, card.threshold) if card.task == "multilabel" else None
    except ValueError as error:
        raise ModelFailedError(f"{served.name} answered with scores that cannot be ranked: {error}") from error
    return Answer(served, predictions, present)


@contextmanager
def translated_image_errors(max_pixels: int) -> Iterator[None]:
    """Turn `vision`'s refusals into the `GatewayError` that stands for them."""
    accepted = [image_format.value for image_format in ImageFormat]
    try:
        yield
    except UnsupportedFormatError as error:
        raise ImageFormatError(
            f"The bytes are not an image in an accepted format. Accepted are: {', '.join(accepted)}.",
            accepted=accepted,
        ) from error
    except TooManyPixelsError as error:
        raise ImageTooLargeError(
            f"The image has {error.width} x {error.height} pixels; at most {max_pixels} in all are accepted. "
            "Send it smaller.",
            max_pixels=max_pixels,
        ) from error
    except ImageError as error:
        raise ImageUnreadableError(f"The image cannot be decoded: {error}.") from error
