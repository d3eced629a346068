"""A TensorFlow Lite model on LiteRT: a pool of interpreters, each with one thread."""

import logging
import math
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from model_server.errors import DeadlineExceededError, FailedPreconditionError, InvalidArgumentError
from model_server.memory import MemoryBudget, remaining_s
from model_server.runtime.tflite.file import TfliteFile
from model_server.runtime.tflite.interpreter import TensorDetails, TfliteInterpreter
from model_server.runtime.tflite.isolated import check_file, run_isolated
from model_server.runtime.tflite.signatures import TABLE_NAME, read_table, resolve
from model_server.servable import Array, SignatureDef

_LOG = logging.getLogger(__name__)

RETAINED_BYTES = 256 * 2**20
"""Memory for intermediate results that an interpreter may keep for later calls.

A call that may need more reserves all of it in the server's memory budget, and returns it afterwards.
"""


class InterpreterPool:
    """Interpreters of one model; a call waits until one is free."""

    def __init__(self, interpreters: Sequence[TfliteInterpreter]) -> None:
        self._free: queue.LifoQueue[TfliteInterpreter] = queue.LifoQueue()
        for interpreter in interpreters:
            self._free.put(interpreter)

    @contextmanager
    def acquire(self, timeout_s: float | None) -> Iterator[TfliteInterpreter]:
        """Hold an interpreter, and wait for it at most `timeout_s` seconds; None for no limit.

        Raises:
            DeadlineExceededError: None became free in time.
        """
        try:
            interpreter = self._free.get(block=timeout_s is None or timeout_s > 0, timeout=timeout_s)
        except queue.Empty:
            raise DeadlineExceededError("Deadline Exceeded while waiting for a TensorFlow Lite interpreter") from None
        try:
            yield interpreter
        finally:
            self._free.put(interpreter)


@dataclass(frozen=True, slots=True)
class _Function:
    """The tensors of one signature, by the names of its inputs and outputs."""

    inputs: Mapping[str, TensorDetails]
    outputs: Mapping[str, str]

    def feeds(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Return the inputs by tensor name.

        Raises:
            InvalidArgumentError: One does not have the type in the file.
        """
        return {self.inputs[alias].name: _as_fed(alias, array, self.inputs[alias]) for alias, array in inputs.items()}

    @classmethod
    def of(cls, signature: SignatureDef, tensors: Mapping[str, TensorDetails]) -> Self:
        """Find the tensors of a signature."""
        inputs = {alias: tensors[info.name] for alias, info in signature.inputs.items()}
        return cls(inputs, {alias: info.name for alias, info in signature.outputs.items()})


class TfliteModel:
    """A loaded TensorFlow Lite model; implements `model_server.servable.Servable`."""

    def __init__(self, file: Path, *, interpreters: int, memory: MemoryBudget) -> None:
        """Load the model.

        Args:
            file: The version's `model.tflite`.
            interpreters: Number of calls to compute at the same time.
            memory: Memory for the computations of all models.

        Raises:
            ServingError: The file is damaged, or cannot be served.
        """
        try:
            self._content = file.read_bytes()
        except OSError as error:
            raise FailedPreconditionError(f"{error.filename}; {error.strerror}") from error
        check_file(self._content, memory.total_bytes)
        first = TfliteInterpreter(self._content)
        model_file = TfliteFile(self._content)
        table = model_file.metadata(TABLE_NAME)
        self.signatures: Mapping[str, SignatureDef] = resolve(
            {} if table is None else read_table(table), first.inputs, first.outputs
        )
        self._inputs = first.inputs
        self._functions = {name: _Function.of(s, first.inputs) for name, s in self.signatures.items()}
        self._activation_bytes = model_file.activation_bytes()
        self._memory = memory
        self._pool = InterpreterPool([first, *(TfliteInterpreter(self._content) for _ in range(interpreters - 1))])

    def run(
        self, signature: str, inputs: Mapping[str, Array], outputs: Sequence[str], timeout_s: float | None
    ) -> dict[str, Array]:
        """Compute outputs; see `Servable.run`."""
        function = self._functions[signature]
        feeds = function.feeds(inputs)
        fetches = [function.outputs[alias] for alias in outputs]
        arrays = self._compute(feeds, fetches, timeout_s)
        return dict(zip(outputs, arrays, strict=True))

    def _compute(self, feeds: Mapping[str, Array], fetches: Sequence[str], timeout_s: float | None) -> list[Array]:
        scale = max((self._scale(name, array) for name, array in feeds.items()), default=1.0)
        needed_bytes = math.ceil(self._activation_bytes * scale)
        is_usual = all(self._has_usual_shape(name, array) for name, array in feeds.items())
        if is_usual and needed_bytes <= RETAINED_BYTES:
            with self._pool.acquire(timeout_s) as interpreter:
                arrays = interpreter.run(feeds, fetches)
                if sum(array.nbytes for array in arrays) > RETAINED_BYTES:  # values in the inputs make them so large
                    interpreter.reset()
                return arrays
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._memory.reserve(needed_bytes, timeout_s):
            if not is_usual:
                return run_isolated(self._content, feeds, fetches, self._memory.total_bytes, end_s)
            with self._pool.acquire(remaining_s(end_s)) as interpreter:
                try:
                    return interpreter.run(feeds, fetches)
                finally:
                    interpreter.reset()

    def _scale(self, name: str, array: Array) -> float:
        """Return how many times larger an input is than in the file."""
        return array.size / max(math.prod(self._inputs[name].shape), 1)

    def _has_usual_shape(self, name: str, array: Array) -> bool:
        """Return whether an input has the shape in the file, with any number of rows but 0.

        TensorFlow Lite does not check the shapes of its inputs, and some kernels crash on others.
        """
        expected = self._inputs[name].shape_signature
        if array.ndim != len(expected) or not array.size:
            return False
        return all(size in (-1, actual) for size, actual in zip(expected[1:], array.shape[1:], strict=True))

    def close(self) -> None:
        """Release the interpreters."""
        self._pool = InterpreterPool([])


def _as_fed(alias: str, array: Array, details: TensorDetails) -> Array:
    """Return an input as TensorFlow Lite takes it: strings have one dimension.

    Raises:
        InvalidArgumentError: It does not have the type in the file.
    """
    if array.dtype != details.dtype:
        expected, actual = ("string" if dtype.hasobject else dtype.name for dtype in (details.dtype, array.dtype))
        raise InvalidArgumentError(
            f"input {alias} must be {expected}, the type of tensor {details.name} in the file, but is {actual}; "
            "tensorflow_model_server does not check this, and may end or compute nonsense"
        )
    return array.reshape(-1) if array.dtype == object else array
