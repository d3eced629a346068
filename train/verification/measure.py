"""What a version answers and costs when a model server runs it."""

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import numpy.typing as npt

from tfs_api.protos import model_pb2, predict_pb2, prediction_service_pb2_grpc
from tfs_api.tensors import from_tensor_proto, to_tensor_proto
from train.errors import TrainError

START_S = 300.0
"""How long the server may take to load a version."""
ANSWER_S = 120.0
"""How long it may take to answer a batch."""
BATCH = 32
UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
PROC = Path("/proc")
CPU_FIELDS = slice(11, 13)
"""User and system time in /proc/PID/stat, counted after the program's name; see proc(5)."""

Images = npt.NDArray[np.uint8]
Probabilities = npt.NDArray[np.float32]


class ServerError(TrainError):
    """The model server did not do what it was started for."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a server did with some images.

    Attributes:
        probabilities: float32[N, K].
        single_ms: CPU time of the server for an image when they come one by one; None where the system does not
            tell.
        batched_ms: The same in batches of `BATCH`.
    """

    probabilities: Probabilities
    single_ms: float | None
    batched_ms: float | None


def measure(base: Path, images: Images, singles: int) -> Measured:
    """Serve the newest version of a model with a server of its own, on this machine, and send it images.

    The CPU time is the whole server's, receiving and answering included; that of loading is not.

    Args:
        base: The model's directory.
        images: uint8[N, H, W, C], all of which are sent in batches.
        singles: So many of them are also sent one by one.

    Raises:
        ServerError: The server does not start or does not answer.
    """
    with _server(base) as (process, target), grpc.insecure_channel(target, options=UNLIMITED) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            grpc.channel_ready_future(channel).result(START_S)
            started = _cpu_s(process)
            for image in images[:singles]:
                _ask(stub, base.name, image[None])
            between = _cpu_s(process)
            parts = [_ask(stub, base.name, images[at : at + BATCH]) for at in range(0, len(images), BATCH)]
            ended = _cpu_s(process)
        except (grpc.RpcError, grpc.FutureTimeoutError) as error:
            raise ServerError(f"the model server did not serve {base}: {error!r}") from error
    single = _ms_each(started, between, len(images[:singles]))
    return Measured(np.concatenate(parts), single, _ms_each(between, ended, len(images)))


@contextlib.contextmanager
def _server(base: Path) -> Iterator[tuple[int, str]]:
    """Run the stand-in for the model server; give its process id and where it listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "model_server", f"--port={port}", "--rest_api_port=0"]
    command += [f"--model_name={base.name}", f"--model_base_path={base.resolve()}"]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, stdout=log, stderr=log) as process,  # noqa: S603  # our own program
    ):
        try:
            yield process.pid, f"127.0.0.1:{port}"
        finally:
            process.terminate()


def _ask(stub: prediction_service_pb2_grpc.PredictionServiceStub, model: str, images: Images) -> Probabilities:
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name=model), inputs={"image": to_tensor_proto(images)}
    )
    answer = stub.Predict(request, timeout=ANSWER_S)
    return from_tensor_proto(answer.outputs["probabilities"]).astype(np.float32)


def _cpu_s(process: int) -> float | None:
    try:
        fields = (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return sum(map(int, fields[CPU_FIELDS])) / os.sysconf("SC_CLK_TCK")


def _ms_each(start_s: float | None, end_s: float | None, images: int) -> float | None:
    return None if start_s is None or end_s is None or not images else (end_s - start_s) / images * 1000
