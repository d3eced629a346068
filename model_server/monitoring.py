"""Metrics of requests and loads, and their page for Prometheus, with the names that tensorflow_model_server uses.

prometheus_client cannot write this page: it adds `_total` to the name of every counter. The text format is described
in https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

import bisect
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from model_server.errors import Code, ServingError
from model_server.protos import server_config_pb2
from model_server.text_format import read_message

DEFAULT_PATH = "/monitoring/prometheus/metrics"

_MAX_MODELS = 1000
_MAX_NAME_CHARACTERS = 256
_OTHER_MODELS = "other"
"""Label of the models beyond these limits."""

BUCKETS = tuple(10 * 1.8**exponent for exponent in range(33))
"""Upper bounds in microseconds, as in tensorflow_serving/servables/tensorflow/util.cc."""


def read_page_path(file: Path) -> str:
    """Return the path of the metrics page from a MonitoringConfig file; empty for no page.

    Raises:
        NotFoundError: The file cannot be read.
        InvalidArgumentError: It is not a MonitoringConfig.
    """
    config = read_message(file, server_config_pb2.MonitoringConfig()).prometheus_config
    return (config.path or DEFAULT_PATH) if config.enable else ""


class Counter:
    """Numbers that only increase, one for each combination of label values."""

    kind = "counter"

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        """Start without values. `add` takes label values in the order of `labels`."""
        self.name = name
        self._labels = labels
        self._values: dict[tuple[str, ...], float] = {}
        self._lock = threading.Lock()

    def add(self, *labels: str, amount: float = 1) -> None:
        """Add `amount` to the number with these label values."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + amount

    def lines(self) -> Iterator[str]:
        """Write the samples."""
        with self._lock:
            values = sorted(self._values.items())
        for labels, value in values:
            yield f"{self.name}{_braces(self._labels, labels)} {value:.16g}"


class Histogram:
    """Latencies in microseconds, counted by bucket for each combination of label values."""

    kind = "histogram"

    def __init__(self, name: str, labels: Sequence[str]) -> None:
        """Start without values. `observe` takes label values in the order of `labels`."""
        self.name = name
        self._labels = labels
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def observe(self, *labels: str, microseconds: int) -> None:
        """Count one latency."""
        bucket = bisect.bisect_right(BUCKETS, microseconds)
        with self._lock:
            self._counts.setdefault(labels, [0] * (len(BUCKETS) + 1))[bucket] += 1
            self._sums[labels] = self._sums.get(labels, 0) + microseconds

    def lines(self) -> Iterator[str]:
        """Write the samples: the cumulative count of each bucket, the sum, the total count."""
        with self._lock:
            values = sorted((labels, list(counts), self._sums[labels]) for labels, counts in self._counts.items())
        names = [*self._labels, "le"]
        for labels, counts, total in values:
            for bound, count in zip([*(f"{bound:.6g}" for bound in BUCKETS), "+Inf"], accumulate(counts), strict=True):
                yield f"{self.name}_bucket{_braces(names, [*labels, bound])} {count}"
            yield f"{self.name}_sum{_braces(self._labels, labels)} {total}"
            yield f"{self.name}_count{_braces(self._labels, labels)} {sum(counts)}"


class Metrics:
    """All metrics of one server."""

    def __init__(self) -> None:
        self._requests = Counter(":tensorflow:serving:request_count", ["model_name", "status"])
        self._latencies = Histogram(":tensorflow:serving:request_latency", ["model_name", "API", "entrypoint"])
        self._loads = Counter(":tensorflow:cc:saved_model:load_attempt_count", ["model_path", "status"])
        self._load_latency = Counter(":tensorflow:cc:saved_model:load_latency", ["model_path"])
        self._models: set[str] = set()

    @contextmanager
    def request(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        """Count the body of the `with` statement as a request: its status and, if it succeeds, its latency.

        Args:
            model: Name of the requested model, whether it exists or not.
            api: The method as its protocol spells it: `Predict` over gRPC, `predict` over REST.
            entrypoint: `GRPC` or `REST`.
        """
        started_s = time.perf_counter()
        model = self._label(model)
        code = Code.INTERNAL
        try:
            yield
            code = Code.OK
        except ServingError as error:
            code = error.code
            raise
        finally:
            self._requests.add(model, code.name)
        self._latencies.observe(model, api, entrypoint, microseconds=_microseconds_since(started_s))

    def _label(self, model: str) -> str:
        """Return the name of a model as a label: names of models that do not exist must not fill the memory."""
        if model not in self._models and len(self._models) < _MAX_MODELS and len(model) <= _MAX_NAME_CHARACTERS:
            self._models.add(model)
        return model if model in self._models else _OTHER_MODELS

    @contextmanager
    def load(self, path: Path) -> Iterator[None]:
        """Count the body of the `with` statement as the load of a version."""
        started_s = time.perf_counter()
        outcome = "fail"
        try:
            yield
            outcome = "success"
        finally:
            self._loads.add(str(path), outcome)
        self._load_latency.add(str(path), amount=_microseconds_since(started_s))

    def page(self) -> str:
        """Write all metrics in Prometheus' text format."""
        lines = []
        for metric in (self._loads, self._load_latency, self._requests, self._latencies):
            lines += [f"# TYPE {metric.name} {metric.kind}", *metric.lines()]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Monitoring:
    """The metrics of a server, and the path of their page."""

    metrics: Metrics
    path: str = ""
    """Path of the page on the REST port; empty for no page."""


def _braces(names: Sequence[str], values: Sequence[str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _microseconds_since(started_s: float) -> int:
    return round((time.perf_counter() - started_s) * 1e6)
