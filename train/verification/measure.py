"""Measure the predictions and the CPU time of a version in a model server."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt

from tfs_api.protos import model_pb2, predict_pb2
from tfs_api.services import prediction_service_pb2_grpc
from tfs_api.tensors import from_tensor_proto, to_tensor_proto
from train.errors import TrainError

LOAD_TIMEOUT_S = 300.0
REQUEST_TIMEOUT_S = 120.0
BATCH = 32
UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
PROC = Path("/proc")
MIN_TICKS = 10
"""The shortest CPU time that is reported, in the clock ticks by which the system counts it."""
CPU_FIELDS = slice(11, 13)
"""User and system time in /proc/PID/stat, as indices after the program name; see proc(5)."""

Images = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]


class ServerError(TrainError):
    """The model server did not start or did not respond."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """Predictions of a server, and their cost.

    Attributes:
        probabilities: float32[N, K].
        single_ms: CPU time of the server per image, for requests of one image; None if the system does not report it,
            or it is less than `MIN_TICKS`.
        batched_ms: The same for requests of `BATCH` images.
    """

    probabilities: Probabilities
    single_ms: float | None
    batched_ms: float | None


def measure(base: Path, images: Images, singles: int, *, prefer_tflite: bool = False) -> Measurement:
    """Start a separate model server for the newest version of a model, and send it images.

    The CPU time includes receiving requests and sending responses, but not loading the version.

    Args:
        base: Directory of the model.
        images: uint8[N, H, W, C], all sent in batches.
        singles: Number of images that are first sent one by one.
        prefer_tflite: Whether the TensorFlow Lite form is served.

    Raises:
        ServerError: The server does not start or does not respond.
    """
    with (
        _server(base, prefer_tflite=prefer_tflite) as (process, target),
        grpc.insecure_channel(target, options=UNLIMITED) as channel,
    ):
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            grpc.channel_ready_future(channel).result(LOAD_TIMEOUT_S)
            start = _cpu_ticks(process)
            for image in images[:singles]:
                _predict(stub, base.name, image[None])
            middle = _cpu_ticks(process)
            starts = range(0, len(images), BATCH)
            batches = [_predict(stub, base.name, images[first : first + BATCH]) for first in starts]
            end = _cpu_ticks(process)
        except (grpc.RpcError, grpc.FutureTimeoutError) as error:
            raise ServerError(f"the model server did not serve {base}: {error!r}") from error
    single_ms = ms_per_image(start, middle, len(images[:singles]))
    return Measurement(np.concatenate(batches), single_ms, ms_per_image(middle, end, len(images)))


@contextlib.contextmanager
def _server(base: Path, *, prefer_tflite: bool) -> Iterator[tuple[int, str]]:
    """Run a model server; yield its process id and its address."""
    command = [sys.executable, "-m", "model_server", "--port=0", "--rest_api_port=0"]
    command += [f"--model_name={base.name}", f"--model_base_path={base.resolve()}"]
    command += [f"--prefer_tflite_model={str(prefer_tflite).lower()}"]
    with (
        tempfile.TemporaryDirectory(prefix="measure-") as folder,
        tempfile.TemporaryFile() as log,
        subprocess.Popen(  # noqa: S603  # our own program
            [*command, f"--grpc_socket_path={folder}/grpc.sock"],  # a free port could be taken before it is opened
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield process.pid, f"unix:{folder}/grpc.sock"
        finally:
            process.terminate()


def _predict(stub: prediction_service_pb2_grpc.PredictionServiceStub, model: str, images: Images) -> Probabilities:
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name=model), inputs={"image": to_tensor_proto(images)}
    )
    response = stub.Predict(request, timeout=REQUEST_TIMEOUT_S)
    return from_tensor_proto(response.outputs["probabilities"]).astype(np.float32)


def _cpu_ticks(process: int) -> int | None:
    try:
        fields = (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, fields[CPU_FIELDS]))


def ms_per_image(start: int | None, end: int | None, images: int) -> float | None:
    """Return the CPU time per image between two readings; None if one is missing, or they are not `MIN_TICKS` apart."""
    if start is None or end is None or end - start < MIN_TICKS:
        return None
    return (end - start) / os.sysconf("SC_CLK_TCK") / images * 1000
