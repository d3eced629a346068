"""Measure what the gateway's metrics cost: CPU time of a prediction with them, and with metrics that do nothing.

    PROMETHEUS_MULTIPROC_DIR=$(mktemp -d) python -m bench.metrics

The model server is a fake that answers at once, and there is no network, so that only the gateway's own work is
measured. Rounds with and without metrics alternate; the result is the median of their differences. Counts go to files,
as under gunicorn.
"""

import contextlib
import logging
import os
import statistics
import sys
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Self

import cv2
import numpy as np
import structlog
from prometheus_client.metrics import MetricWrapperBase
from werkzeug.test import Client

from gateway.app import create_app
from gateway.fetching.fetcher import DisabledFetcher
from gateway.model_client.protocol import Signature, TensorSpec, VersionStatus
from gateway.models.configured import ConfiguredModels
from gateway.observability import metrics
from gateway.observability.metric_files import MULTIPROCESS_DIR
from gateway.settings import Settings

REQUESTS = 200
ROUNDS = 41
CLASSES = 10
SIDE = 32


class NullMetric:
    """A metric that counts nothing."""

    def labels(self, *_: object) -> Self:
        """Return itself for every combination of labels."""
        return self

    def ignore(self, *_: object) -> None:
        """Count nothing."""

    inc = dec = observe = set = ignore


class InstantModelServer:
    """A `gateway.model_client.protocol.ModelServer` of one model that answers at once."""

    signature = Signature(
        {"image": TensorSpec("float32", (None, SIDE, SIDE, 3))}, {"scores": TensorSpec("float32", (None, CLASSES))}
    )

    def version_statuses(self, *_: Any, **__: Any) -> list[VersionStatus]:
        """Return the only version."""
        return [VersionStatus(1, "AVAILABLE")]

    def signatures(self, *_: Any, **__: Any) -> dict[str, Signature]:
        """Return the only signature."""
        return {"serving_default": self.signature}

    def resolve_label(self, *_: Any, **__: Any) -> int:
        """Return version 1 for every label."""
        return 1

    def predict(self, call: Any, inputs: Any, **_: Any) -> Any:  # noqa: ARG002  # the Protocol's arguments
        """Return equal scores for all classes."""
        return np.full((len(inputs["image"]), CLASSES), 1 / CLASSES, np.float32)


def measure_us(client: Client, image: bytes) -> float:
    """Return the CPU microseconds per request."""
    started_s = time.process_time()
    for _ in range(REQUESTS):
        response = client.post("/api/v1/predict", data=image, content_type="image/png")
        if response.status_code != HTTPStatus.OK:
            raise SystemExit(response.text)
    return (time.process_time() - started_s) / REQUESTS * 1e6


@contextlib.contextmanager
def without_metrics() -> Iterator[None]:
    """Replace all metrics by ones that do nothing while the context lasts."""
    originals = {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}
    vars(metrics).update(dict.fromkeys(originals, NullMetric()))
    try:
        yield
    finally:
        vars(metrics).update(originals)


def main() -> None:
    """Measure and print the result."""
    if MULTIPROCESS_DIR not in os.environ:
        sys.exit(f"{MULTIPROCESS_DIR} is not set. Set it to an empty folder, since gunicorn counts in files.")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = Settings.from_env({"GATEWAY_MODELS": "model"})
    models = ConfiguredModels.from_names(["model"])
    app = create_app(settings, server=InstantModelServer(), fetcher=DisabledFetcher(), configured_models=models)
    client, image = app.test_client(), cv2.imencode(".png", np.zeros((SIDE, SIDE, 3), np.uint8))[1].tobytes()
    measure_us(client, image)
    added_us = []
    for _ in range(ROUNDS):
        with_metrics_us = measure_us(client, image)
        with without_metrics():
            added_us.append(with_metrics_us - measure_us(client, image))
    print(f"Metrics add {statistics.median(added_us):.0f} us of CPU time to a prediction.")  # noqa: T201  # the result


if __name__ == "__main__":
    main()
