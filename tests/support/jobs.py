"""Jobs for tests: stores, small jobs in them, and a predictor that computes nothing."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from gateway.capacity import Admission, MemoryBudget
from gateway.errors import GatewayError
from gateway.jobs.records import Chunk, Item, ItemResult, JobRequest, ModelVersion, NewJob, Receipt, StoreLimits
from gateway.jobs.store import JobStore
from gateway.prediction.image_loader import ImageBytes
from gateway.prediction.predictor import PredictionRequest, PredictionResult

VERSION = ModelVersion("pets", 1)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def make_limits(**overrides: Any) -> StoreLimits:
    defaults = {
        "max_stored_bytes": 10**9,
        "max_unfinished": 10,
        "max_webhooks": 100,
        "retention_s": 3600.0,
        "storing_s": 60.0,
        "lease_s": 60.0,
    }
    return StoreLimits(**{**defaults, **overrides})


def make_request(**overrides: Any) -> JobRequest:
    defaults = {
        "model": "pets",
        "version": None,
        "label": None,
        "top_k": 1,
        "threshold": None,
        "webhook_url": None,
        "webhook_secret": None,
        "request_id": "r1",
    }
    return JobRequest(**{**defaults, **overrides})


def make_items(count: int, *, start: int = 0) -> list[Item]:
    return [Item(index, f"{index}.png", "image", b"image %d" % index) for index in range(start, start + count)]


def add_job(
    store: JobStore,
    job_id: str,
    chunks: Sequence[Sequence[Item]],
    *,
    receipt: Receipt | None = None,
    client: str = "someone",
    **request: Any,
) -> str:
    """Store a job and publish it; return the id of what was published."""
    store.stage(NewJob(job_id, "", client, make_request(**request)))
    for number, items in enumerate(chunks):
        store.add_items(job_id, number, items)
    return store.publish(job_id, receipt or Receipt(None, "fingerprint"))


def results_of(chunk: Chunk) -> list[ItemResult]:
    """Return a prediction for each image of a chunk."""
    return [
        ItemResult(item.index, item.name, is_failed=False, document=json.dumps({"class": item.content.decode()}))
        for item in chunk.items
    ]


@dataclass
class FakePredictor:
    """Answers each image with its own bytes as the class.

    Attributes:
        version: The version that answers.
        outcome: Called for each image; may return or raise an error.
        requests: Number of images of each request.
    """

    version: int = 1
    outcome: Callable[[bytes], GatewayError | None] = lambda _: None
    requests: list[int] = field(default_factory=list)

    def predict(self, request: PredictionRequest) -> PredictionResult:
        self.requests.append(len(request.images))
        predictions = []
        for image in request.images:
            content = image.data if isinstance(image, ImageBytes) else image.url.encode()
            predictions.append(self.outcome(content) or {"class": content.decode(), "class_id": 0, "score": 1.0})
        model: Any = SimpleNamespace(name="pets", version=request.target.version or self.version)
        return PredictionResult(model, predictions)


def make_admission() -> Admission:
    memory = MemoryBudget(10**9, places=8, max_wait_s=1)
    return Admission(memory, slots=8, max_waiting=8, max_wait_s=1, max_download_bytes=10**6)
