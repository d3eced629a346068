"""Call one model in different ways under load, and measure the CPU time; every answer is checked.

Each way of calling runs in its own process, so that the CPU time of a server does not include its clients, and clients
do not share the interpreter with the server.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
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
from tools import processes
from tools.load_generator import OK, LoadGenerator

Array: TypeAlias = npt.NDArray[Any]

SIGNATURE = "serving_default"
INPUT = "image"
OUTPUT = "probabilities"

_TOLERANCE = 1e-5
_START_TIMEOUT_S = 60
_PREDICT = "/tensorflow.serving.PredictionService/Predict"


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one measurement; all calls were answered correctly."""

    calls: int
    cpu_s: float
    """User and system time of the process that computed."""
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
class Workload:
    """The calls to make."""

    images: Array
    """uint8[N, H, W, C], sent one at a time in turn."""
    expected: Array
    """float32[N, K], the correct answers."""
    concurrency: int
    seconds: float


def compute_answers(path: Path, images: Array) -> Array:
    """Compute float32[N, K] for uint8[N, H, W, C], one image at a time."""
    return np.concatenate([_run_session(path, image[np.newaxis]) for image in images])


def measure_session(path: Path, workload: Workload) -> Sample:
    """Call TensorFlow's session in this process, the cheapest way to run the model."""
    return _measure(lambda image: _run_session(path, image), _split(workload), workload, time.process_time)


def measure_function(path: Path, workload: Workload) -> Sample:
    """Call the SavedModel's function in this process, as a program that serves only this model does."""
    function = _load_function(path)
    return _measure(lambda image: function(image=image)[OUTPUT].numpy(), _split(workload), workload, time.process_time)


def measure_server(address: str, model: str, pid: int, workload: Workload) -> Sample:
    """Call the server with the process id `pid` over gRPC.

    Raises:
        RuntimeError: A call failed.
    """
    messages = [_message(model, image) for image in _split(workload)]
    with grpc.insecure_channel(address) as channel:
        # Bytes to bytes, so that the client uses little of the processor.
        predict = channel.unary_unary(_PREDICT)  # type: ignore[var-annotated]  # bytes, without serializers
        grpc.channel_ready_future(channel).result(_START_TIMEOUT_S)
        try:
            return _measure(predict, messages, workload, lambda: processes.cpu_s(pid))
        except grpc.RpcError as error:  # cannot be sent to another process
            raise RuntimeError(f"{error.code().name}: {error.details()}") from None


def _measure(
    call: Callable[[Any], Any], payloads: Sequence[Any], workload: Workload, cpu_s: Callable[[], float]
) -> Sample:
    """Call from `workload.concurrency` threads.

    Raises:
        AssertionError: An answer was wrong.
    """
    answers: list[tuple[int, Any]] = []

    def send(number: int) -> str:
        index = number % len(payloads)
        answers.append((index, call(payloads[index])))  # checked afterwards, outside the measurement
        return OK

    def users() -> LoadGenerator:
        return LoadGenerator(lambda: nullcontext(send), users=workload.concurrency)

    users().run(0)  # one call each, not counted
    answers.clear()
    before_s = cpu_s()
    load = users().run(workload.seconds)
    sample = Sample(len(load.calls), cpu_s() - before_s, load.seconds)
    for index, answer in answers:
        _check(answer, workload.expected[index])
    return sample


def _check(answer: Any, expected: Array) -> None:
    if isinstance(answer, bytes):
        answer = from_tensor_proto(predict_pb2.PredictResponse.FromString(answer).outputs[OUTPUT])
    if answer.shape != (1, len(expected)) or np.abs(answer[0] - expected).max() > _TOLERANCE:
        raise AssertionError(f"wrong answer {answer}, expected {expected}")


def _split(workload: Workload) -> list[Array]:
    return np.split(workload.images, len(workload.images))


def _message(model: str, image: Array) -> bytes:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.inputs[INPUT].CopyFrom(to_tensor_proto(image))
    return bytes(request.SerializeToString())


@cache
def _load_model(path: Path) -> SavedModel:
    return SavedModel(path, SessionOptions())


def _run_session(path: Path, image: Array) -> Array:
    return _load_model(path).run(SIGNATURE, {INPUT: image}, [OUTPUT], None)[OUTPUT]


@cache
def _load_function(path: Path) -> Callable[..., Any]:
    import tensorflow as tf  # noqa: PLC0415  # only this way of calling needs all of it

    model = tf.saved_model.load(str(path))
    _loaded_models.append(model)
    function: Callable[..., Any] = model.signatures[SIGNATURE]
    return function


_loaded_models: list[Any] = []
"""Keeps models alive, which their functions do not."""
