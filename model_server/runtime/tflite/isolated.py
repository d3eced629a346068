"""Compute a TensorFlow Lite model in a process of its own, which may crash without ending the server.

LiteRT verifies the structure of a file, but a damaged value in it can still crash the process, and so can an input of
an unusual shape. A new file, and every input whose shape is not the model's, is therefore tried here first.
"""

import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from model_server.errors import Code, DataLossError, DeadlineExceededError, InvalidArgumentError, ServingError
from model_server.memory import remaining_s
from model_server.runtime.tflite.interpreter import TfliteInterpreter, zeros
from model_server.servable import Array

LOAD_TIMEOUT_S = 60.0
"""How long the first computations of a file may take together."""
_CPU_LIMIT_S = 600
"""Ends a process that does not return, even if the server has been killed in the meantime."""
_INTERPRETER_BYTES = 256 * 2**20
_BYTES_PER_FILE_BYTE = 4
"""Memory of an interpreter by itself: at least, and with the weights as its kernels arrange them."""
_LOGGED_LINES = 20
"""The last lines of a process's messages that are logged."""
_ROOT = Path(__file__).parents[3]
_LOG = logging.getLogger(__name__)
_ONE_AT_A_TIME = threading.Lock()
"""Requests with unusual shapes wait for each other: each takes a processor and the memory of an interpreter."""


@dataclass(frozen=True, slots=True)
class _Job:
    content: bytes
    max_bytes: int
    """How much memory the intermediate results may take."""
    feeds: Mapping[str, Array] | None = None
    """None to try the file with zeros."""
    fetches: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Failure:
    code: Code
    message: str


_Outcome: TypeAlias = list[Array] | _Failure


class _CrashError(Exception):
    """The process was ended by a signal, which the message names."""


def check_file(content: bytes, max_bytes: int) -> None:
    """Load a model and compute it once with one row of zeros and once with two.

    Args:
        content: The file.
        max_bytes: How much memory the intermediate results may take.

    Raises:
        DataLossError: TensorFlow Lite crashes or does not return.
        ServingError: The file is damaged in a way that TensorFlow Lite reports.
    """
    try:
        _run(_Job(content, max_bytes), LOAD_TIMEOUT_S)
    except _CrashError as error:
        raise DataLossError(
            f"TensorFlow Lite crashes on this file ({error}), which ends tensorflow_model_server. The file is damaged; "
            "export the model again"
        ) from error
    except DeadlineExceededError as error:
        raise DataLossError(
            f"TensorFlow Lite does not compute this file within {LOAD_TIMEOUT_S:.0f} s. The file may be damaged; "
            "export the model again"
        ) from error


def run_isolated(
    content: bytes, feeds: Mapping[str, Array], fetches: Sequence[str], max_bytes: int, end_s: float | None
) -> list[Array]:
    """Compute a model with a new interpreter; one call at a time.

    Args:
        content: The file.
        feeds: See `TfliteInterpreter.run`. Other inputs are zero.
        fetches: See `TfliteInterpreter.run`.
        max_bytes: How much memory the intermediate results may take.
        end_s: When the time is up, on the monotonic clock; None for no limit.

    Raises:
        DeadlineExceededError: The time is up.
        InvalidArgumentError: TensorFlow Lite crashes on these inputs.
        ServingError: The model cannot be computed with these inputs.
    """
    timeout_s = remaining_s(end_s)
    if not _ONE_AT_A_TIME.acquire(timeout=-1 if timeout_s is None else timeout_s):
        raise DeadlineExceededError("Deadline Exceeded")
    try:
        return _run(_Job(content, max_bytes, feeds, fetches), remaining_s(end_s))
    except _CrashError as error:
        shapes = ", ".join(f"{name}: {list(array.shape)}" for name, array in feeds.items())
        raise InvalidArgumentError(
            f"TensorFlow Lite crashes on inputs of these shapes ({shapes}; {error}), which ends "
            "tensorflow_model_server. Send the shapes in the model's signature"
        ) from error
    finally:
        _ONE_AT_A_TIME.release()


def _run(job: _Job, timeout_s: float | None) -> list[Array]:
    try:
        process = subprocess.run(  # noqa: S603  # our own program
            [sys.executable, "-m", __package__],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *sys.path])},
            input=pickle.dumps(job),
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceededError("Deadline Exceeded") from error
    for line in process.stderr.decode(errors="replace").splitlines()[-_LOGGED_LINES:]:
        if not line.startswith("INFO: "):  # of XNNPACK, for each interpreter
            _LOG.warning("%s", line)
    if process.returncode < 0:
        raise _CrashError(signal.Signals(-process.returncode).name)
    if process.returncode:
        raise _CrashError(f"exit status {process.returncode}")
    outcome: _Outcome = pickle.loads(process.stdout)  # noqa: S301  # from our own program
    if isinstance(outcome, _Failure):
        raise ServingError(outcome.message, outcome.code)
    return outcome


def _compute(job: _Job) -> _Outcome:
    try:
        interpreter = TfliteInterpreter(job.content)
        if job.feeds is not None:
            return interpreter.run(job.feeds, job.fetches)
    except ServingError as error:
        return _Failure(error.code, error.message)
    except MemoryError:
        return _Failure(Code.RESOURCE_EXHAUSTED, f"The model does not fit into {job.max_bytes} bytes of memory")
    _rehearse(interpreter)
    return []


def _rehearse(interpreter: TfliteInterpreter) -> None:
    """Compute one and two rows of zeros; errors are left to the requests that have them."""
    for rows in (1, 2):
        feeds = {
            name: zeros(details, (rows, *details.shape[1:]))
            for name, details in interpreter.inputs.items()
            if details.shape
        }
        try:
            interpreter.run(feeds, list(interpreter.outputs))
        except (ServingError, MemoryError):
            continue


def main() -> None:
    """Read a job from standard input, and write the outcome to standard output."""
    job: _Job = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the server
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT_S, _CPU_LIMIT_S))
    if sys.platform == "linux":
        used_bytes = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        limit_bytes = used_bytes + _INTERPRETER_BYTES + _BYTES_PER_FILE_BYTE * len(job.content) + job.max_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    pickle.dump(_compute(job), sys.stdout.buffer)
