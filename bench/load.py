"""Calls in a loop from several threads, what they cost, and whether each of them was right.

Whatever calls is a process of its own: the server's CPU time holds nothing of its clients, and the threads of a
client share no interpreter with the server.
"""

import itertools
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import numpy as np
import numpy.typing as npt

from model_server.runtime.savedmodel import SavedModel, SessionOptions
from tfs_api.protos import predict_pb2
from tfs_api.tensors import from_tensor_proto, to_tensor_proto

Array: TypeAlias = npt.NDArray[Any]

SIGNATURE = "serving_default"
INPUT = "image"
OUTPUT = "probabilities"

_TOLERANCE = 1e-5
_START_TIMEOUT_S = 60
_PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured in one go; all calls were answered, and rightly."""

    calls: int
    cpu_s: float
    """CPU time of the process that computed, user and system."""
    wall_s: float

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per call."""
        return self.cpu_s / self.calls * 1e3

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.wall_s


@dataclass(frozen=True, slots=True)
class Work:
    """What to send, and for how long."""

    images: Array
    """uint8[N, H, W, C], sent one at a time in turn."""
    expected: Array
    """float32[N, K], the right answers."""
    concurrency: int
    seconds: float


def answers(path: Path, images: Array) -> Array:
    """Compute float32[N, K] for uint8[N, H, W, C], one image at a time."""
    return np.concatenate([_session(path, image[np.newaxis]) for image in images])


def by_session(path: Path, work: Work) -> Sample:
    """Call TensorFlow's session in this process: the cheapest way into the model."""
    return _measure(lambda image: _session(path, image), np.split(work.images, len(work.images)), work, os.getpid())


def by_function(path: Path, work: Work) -> Sample:
    """Call the SavedModel's function in this process, as code that has the model to itself does."""
    function = _function(path)
    return _measure(
        lambda image: function(image=image)[OUTPUT].numpy(), np.split(work.images, len(work.images)), work, os.getpid()
    )


def by_server(address: str, model: str, pid: int, work: Work) -> Sample:
    """Call the server with the process number `pid` over gRPC."""
    requests = [_request(model, image) for image in np.split(work.images, len(work.images))]
    with grpc.insecure_channel(address) as channel:
        # Bytes to bytes: the client is to take little of the machine.
        predict = channel.unary_unary(_PREDICT)  # type: ignore[var-annotated]  # they are what it is without serializers
        grpc.channel_ready_future(channel).result(_START_TIMEOUT_S)
        try:
            return _measure(predict, requests, work, pid)
        except grpc.RpcError as error:  # it cannot travel to another process
            raise RuntimeError(f"{error.code().name}: {error.details()}") from None


def _measure(call: Callable[[Any], Any], payloads: Sequence[Any], work: Work, pid: int) -> Sample:
    """Call from `work.concurrency` threads.

    Raises:
        AssertionError: an answer was wrong.
    """

    def loop(first: int) -> list[tuple[int, Any]]:
        results = []
        for index in itertools.count(first):
            number = index % len(payloads)
            results.append((number, call(payloads[number])))
            if time.perf_counter() >= end_s:
                return results
        raise AssertionError

    with ThreadPoolExecutor(work.concurrency) as pool:
        end_s = 0.0
        list(pool.map(loop, range(work.concurrency)))  # one call each, not counted
        cpu_s, start_s = _cpu_s(pid), time.perf_counter()
        end_s = start_s + work.seconds
        results = list(itertools.chain.from_iterable(pool.map(loop, range(work.concurrency))))
        sample = Sample(len(results), _cpu_s(pid) - cpu_s, time.perf_counter() - start_s)
    for number, answer in results:
        _check(answer, work.expected[number])
    return sample


def _check(answer: Any, expected: Array) -> None:
    if isinstance(answer, bytes):
        answer = from_tensor_proto(predict_pb2.PredictResponse.FromString(answer).outputs[OUTPUT])
    if answer.shape != (1, len(expected)) or np.abs(answer[0] - expected).max() > _TOLERANCE:
        raise AssertionError(f"a wrong answer: {answer}, expected: {expected}")


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process; see proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _request(model: str, image: Array) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs[INPUT].CopyFrom(to_tensor_proto(image))
    return bytes(request.SerializeToString())


@cache
def _model(path: Path) -> SavedModel:
    return SavedModel(path, SessionOptions())


def _session(path: Path, image: Array) -> Array:
    return _model(path).run(SIGNATURE, {INPUT: image}, [OUTPUT], None)[OUTPUT]


@cache
def _function(path: Path) -> Callable[..., Any]:
    import tensorflow as tf  # noqa: PLC0415  # only this one way of calling needs all of it

    model = tf.saved_model.load(str(path))
    _KEEP.append(model)
    function: Callable[..., Any] = model.signatures[SIGNATURE]
    return function


_KEEP: list[Any] = []
"""A function does not keep its model alive."""
