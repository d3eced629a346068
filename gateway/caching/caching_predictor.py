"""A cache of predictions, by the image's bytes, the model version and the options.

A prediction is returned from the cache only while its version is the one that the request targets: the model server is
queried about that for each request that has a hit. An image that several requests send at once is computed once.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.deadline import Deadline
from gateway.errors import GatewayError
from gateway.model_client.protocol import TensorSpec
from gateway.models.binding import ServedModel
from gateway.models.registry import ModelRegistry
from gateway.observability import metrics
from gateway.prediction import schemas
from gateway.prediction.image_loader import ImageBytes, ImageLoader, ImagePixels
from gateway.prediction.predictor import (
    PredictionOptions,
    PredictionRequest,
    PredictionResult,
    Predictor,
    errors_from,
)

CACHE_NAME = "image-gateway"
"""Name of this cache in Cache-Status."""
FORM = 2
"""Number of the form of a stored prediction; raised when its members change, for gateways that share a Redis."""
CLAIMED = b""
"""Value of a key that another request is computing; a stored prediction is never empty."""


class Store(Protocol):
    """Stores bytes under keys for a limited time; safe to use from many threads."""

    def find(self, keys: Sequence[str], *, claim_s: float) -> list[bytes | None]:
        """Return the value of each key.

        None means that there is no value and that no other caller is computing it: the caller has now claimed the key,
        for `claim_s` at most, and must `settle` it. `CLAIMED` means that another caller has claimed it.
        """

    def settle(self, key: str, value: bytes | None) -> None:
        """Store the value of a key that the caller claimed; None releases the claim without a value."""

    def wait(self, key: str, *, deadline: Deadline) -> bytes | None:
        """Wait for the value of a key that was `CLAIMED`; None if its claim was released without a value.

        Raises:
            DeadlineExceededError: There was no value in time.
        """


@dataclass(frozen=True, slots=True)
class CachingPredictor:
    """Returns predictions from a store, and computes those that are missing with another predictor.

    Attributes:
        predictor: Computes the predictions that are missing.
        registry: Resolves the version that a request targets.
        image_loader: Loads the bytes of images.
        store: Holds the predictions.
    """

    predictor: Predictor
    registry: ModelRegistry
    image_loader: ImageLoader
    store: Store

    def predict(self, request: PredictionRequest) -> PredictionResult:
        """Return the predictions from the store, and compute those that are missing; see `Predictor`."""
        served = self.registry.resolve(request.target, deadline=request.deadline)
        with errors_from(served):
            return self._predict(served, request)

    def _predict(self, served: ServedModel, request: PredictionRequest) -> PredictionResult:
        contents = self.image_loader.load(
            request.images, deadline=request.deadline, timings=request.timings, place=request.place
        )
        images = [ImageBytes(item) if isinstance(item, bytes) else item for item in contents]
        request = dataclasses.replace(request, images=images)
        keys = [item if isinstance(item, GatewayError) else _key(served, item, request.options) for item in images]
        images_by_key = {key: image for key, image in zip(keys, images, strict=True) if isinstance(key, str)}
        values = self.store.find([*images_by_key], claim_s=request.deadline.remaining_s())
        stored = dict(zip(images_by_key, values, strict=True))
        missing = {key: images_by_key[key] for key, value in stored.items() if value is None}
        predictions = self._compute(served, missing, request)
        hits = self._hits(stored, request.deadline)
        predictions |= {key: json.loads(value) for key, value in hits.items() if value is not None}
        is_stale = bool(hits) and not self.registry.is_current(served, request.target, deadline=request.deadline)
        # Predictions are also missing if the computation of another request has failed.
        if is_stale or not predictions or len(predictions) < len(images_by_key):
            reason = "stale" if is_stale else "miss"
            return dataclasses.replace(self.predictor.predict(request), cache_status=f"{CACHE_NAME}; fwd={reason}")
        items = [predictions[key] if isinstance(key, str) else key for key in keys]
        return PredictionResult(served, items, _cache_status(stored, predictions))

    def _hits(self, stored: Mapping[str, bytes | None], deadline: Deadline) -> dict[str, bytes | None]:
        """Return the values that are stored, waiting for those that other requests compute."""
        return {
            key: self.store.wait(key, deadline=deadline) if value == CLAIMED else value
            for key, value in stored.items()
            if value is not None
        }

    def _compute(
        self,
        served: ServedModel,
        missing: Mapping[str, ImageBytes | ImagePixels | GatewayError],
        request: PredictionRequest,
    ) -> dict[str, schemas.Prediction | GatewayError]:
        """Compute and store missing predictions; return none if another version answered."""
        predictions: dict[str, schemas.Prediction | GatewayError] = {}
        try:
            if missing:
                result = self.predictor.predict(dataclasses.replace(request, images=[*missing.values()]))
                if result.model is served:
                    predictions = dict(zip(missing, result.predictions, strict=True))
        finally:
            for key in missing:
                prediction = predictions.get(key)
                failed = prediction is None or isinstance(prediction, GatewayError)
                self.store.settle(key, None if failed else json.dumps(prediction).encode())
        return predictions


def _key(served: ServedModel, image: ImageBytes | ImagePixels, options: PredictionOptions) -> str:
    options_key = f"{options.top_k}:{options.threshold}:{options.explain}"
    model_key = f"{FORM}:{served.name}:{served.version}:{served.card_digest}"
    return f"{model_key}:{options_key}:{_digest(image)}"


def _digest(image: ImageBytes | ImagePixels) -> str:
    """Return what identifies an image: a file never has the digest of pixels, even if it has the same bytes."""
    if isinstance(image, ImageBytes):
        return hashlib.sha256(image.data).hexdigest()
    return f"{TensorSpec.of(image.pixels)}:{hashlib.sha256(image.pixels.tobytes()).hexdigest()}"


def _cache_status(
    stored: Mapping[str, bytes | None], predictions: Mapping[str, schemas.Prediction | GatewayError]
) -> str:
    """Return the value of Cache-Status (RFC 9211), and count the outcomes.

    Args:
        stored: What was in the store, by key.
        predictions: The predictions, of which errors are not stored.
    """
    misses = sum(value is None for value in stored.values())
    collapsed = sum(value == CLAIMED for value in stored.values())
    hits = len(stored) - misses - collapsed
    for outcome, count in (("hit", hits), ("miss", misses), ("collapsed", collapsed)):
        metrics.CACHE.labels(outcome).inc(count)
    if hits == len(stored):
        return f"{CACHE_NAME}; hit"
    status = f"{CACHE_NAME}; fwd=miss"
    if not misses:
        status += "; collapsed"
    elif any(value is None and not isinstance(predictions[key], GatewayError) for key, value in stored.items()):
        status += "; stored"
    return f'{status}; detail="{hits} of {len(stored)} were cached"' if hits else status
