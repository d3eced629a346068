"""What counting costs: CPU time of a prediction in the gateway with its metrics, and with metrics that do nothing.

    PROMETHEUS_MULTIPROC_DIR=$(mktemp -d) python -m bench.metrics

The model server is one that answers at once, and there is no network, so that what is left is the gateway's own work.
Rounds of both kinds alternate, and the median of the differences is told. Counts go to files, as under gunicorn.
"""

import logging
import os
import statistics
import sys
import time
from contextlib import ExitStack
from http import HTTPStatus
from typing import Any, Self
from unittest import mock

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
from gateway.settings import Settings

REQUESTS = 200
ROUNDS = 41
CLASSES = 10
SIDE = 32
COUNTED = [name for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)]


class Nothing:
    """Stands in for a metric."""

    def labels(self, *_: object) -> Self:
        """Give itself for every combination of labels."""
        return self

    def act(self, *_: object) -> None:
        """Count nothing."""

    inc = dec = observe = set = act


class AtOnce:
    """A `gateway.model_client.protocol.ModelServer` of one model that answers without thinking."""

    signature = Signature(
        {"image": TensorSpec("float32", (None, SIDE, SIDE, 3))}, {"scores": TensorSpec("float32", (None, CLASSES))}
    )

    def version_statuses(self, *_: Any, **__: Any) -> list[VersionStatus]:
        """Tell of one version."""
        return [VersionStatus(1, "AVAILABLE")]

    def signatures(self, *_: Any, **__: Any) -> dict[str, Signature]:
        """Tell of one entry point."""
        return {"serving_default": self.signature}

    def resolve_label(self, *_: Any, **__: Any) -> int:
        """Know version 1 alone."""
        return 1

    def predict(self, call: Any, inputs: Any, **_: Any) -> Any:  # noqa: ARG002  # the Protocol's arguments
        """Take everything for everything."""
        return np.full((len(inputs["image"]), CLASSES), 1 / CLASSES, np.float32)


def spent_us(client: Client, picture: bytes) -> float:
    """Measure the processor's microseconds per request."""
    started_s = time.process_time()
    for _ in range(REQUESTS):
        answered = client.post("/api/v1/predict", data=picture, content_type="image/png")
        if answered.status_code != HTTPStatus.OK:
            raise SystemExit(answered.text)
    return (time.process_time() - started_s) / REQUESTS * 1e6


def main() -> None:
    """Measure and tell."""
    if metrics.MULTIPROCESS_DIR not in os.environ:
        sys.exit(f"Set {metrics.MULTIPROCESS_DIR} to an empty folder: under gunicorn counts go to files.")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    settings = Settings.from_env({"GATEWAY_MODELS": "model"})
    app = create_app(
        settings, server=AtOnce(), fetcher=DisabledFetcher(), configured_models=ConfiguredModels.from_names(["model"])
    )
    client, picture = app.test_client(), cv2.imencode(".png", np.zeros((SIDE, SIDE, 3), np.uint8))[1].tobytes()
    spent_us(client, picture)
    added_us = []
    for _ in range(ROUNDS):
        counting_us = spent_us(client, picture)
        with ExitStack() as patches:
            for name in COUNTED:
                patches.enter_context(mock.patch.object(metrics, name, Nothing()))
            added_us.append(counting_us - spent_us(client, picture))
    print(f"Metrics add {statistics.median(added_us):.0f} us of CPU time to a prediction.")  # noqa: T201  # the result


if __name__ == "__main__":
    main()
