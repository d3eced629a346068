"""One LiteRT interpreter: write the inputs, compute, read the outputs.

The steps and their errors are those of tensorflow_serving/servables/tensorflow/tflite_session.cc. Inputs that a call
does not name keep the bytes and the shape of an earlier call. Before the first call they are zero; in
tensorflow_model_server they are uninitialised.
"""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from model_server.errors import Code, ServingError
from model_server.servable import Array

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TensorDetails:
    """An input or output of the file's first subgraph."""

    index: int
    name: str
    dtype: np.dtype[Any]
    """Element type; object for strings, whose elements are bytes."""
    shape: tuple[int, ...]
    """Shape in the file, where a size that is unknown is 1."""
    shape_signature: tuple[int, ...]
    """The same with -1 for unknown sizes."""


class TfliteInterpreter:
    """An interpreter with one thread, for one call at a time."""

    def __init__(self, content: bytes) -> None:
        """Load a model.

        Args:
            content: The file. Interpreters that are given the same object share its memory.

        Raises:
            ServingError: The file is damaged, or has operations or types that cannot be served.
        """
        self._content = content
        self._interpreter = _build(content)
        self.inputs = _by_name(self._interpreter.get_input_details, "Input")
        self.outputs = _by_name(self._interpreter.get_output_details, "Output")
        self._shapes: dict[str, tuple[int, ...]] = {}
        try:
            self.reset()
        except (RuntimeError, ValueError) as error:
            raise ServingError(f"Cannot write the inputs of the model: {error}", Code.INTERNAL) from error

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str]) -> list[Array]:
        """Compute the model.

        Args:
            feeds: Arrays by the name of an input tensor, of the input's dtype. Inputs are resized to their shapes.
            fetches: Names of output tensors.

        Raises:
            ServingError: The model cannot be computed with these inputs.
        """
        if all(array.shape == self._shapes[name] for name, array in feeds.items()):
            self._write(feeds)
        else:
            self._resize(feeds)
        try:
            self._interpreter.invoke()
            return [self._read(self.outputs[name]) for name in fetches]
        except (RuntimeError, MemoryError) as error:
            _LOG.warning("TensorFlow Lite: %s", error)
            self._restore(self._values())
            raise ServingError("Failed to invoke TfLite interpreter", Code.INTERNAL) from error

    def reset(self) -> None:
        """Return to the shapes in the file, zeros in all inputs, and the memory that this needs."""
        self._start({name: zeros(details, details.shape) for name, details in self.inputs.items()})

    def _values(self) -> dict[str, Array]:
        return {name: self._read(details) for name, details in self.inputs.items()}

    def _read(self, details: TensorDetails) -> Array:
        """Return a copy of an input or output; LiteRT itself cannot return one that has no elements."""
        try:
            array: Array = self._interpreter.get_tensor(details.index)
        except ValueError as error:
            tensors = (*self._interpreter.get_input_details(), *self._interpreter.get_output_details())
            shape = next(tuple(tensor["shape"].tolist()) for tensor in tensors if tensor["index"] == details.index)
            if math.prod(shape):
                raise ServingError(f"Failed to read tensor {details.name}", Code.INTERNAL) from error
            return zeros(details, shape)
        return array

    def _write(self, values: Mapping[str, Array]) -> None:
        for name, array in values.items():
            self._interpreter.set_tensor(self.inputs[name].index, array)

    def _resize(self, feeds: Mapping[str, Array]) -> None:
        """Write the feeds after resizing their inputs, which moves all inputs: the others are written again."""
        values = self._values()
        try:
            self._allocate({**values, **feeds})
        except (RuntimeError, ValueError) as error:
            _LOG.warning("TensorFlow Lite: %s", error)
            self._restore(values)
            raise ServingError("Failed to allocate tensors", Code.INTERNAL) from error

    def _allocate(self, values: Mapping[str, Array]) -> None:
        for name, array in values.items():
            if array.shape != self._shapes.get(name):
                self._interpreter.resize_tensor_input(self.inputs[name].index, array.shape)
                self._shapes[name] = array.shape
        self._interpreter.allocate_tensors()
        self._write(values)

    def _restore(self, values: Mapping[str, Array]) -> None:
        """Continue with a new interpreter: after a failure, the next call of the old one may crash."""
        try:
            self._start(values)
        except (RuntimeError, ValueError):  # too little memory for these shapes, for example
            self.reset()

    def _start(self, values: Mapping[str, Array]) -> None:
        self._interpreter = _build(self._content)
        self._shapes = {}
        self._allocate(values)


def zeros(details: TensorDetails, shape: tuple[int, ...]) -> Array:
    """Return an array of zeros, or of empty strings, for an input."""
    return np.full(shape, b"", object) if details.dtype == object else np.zeros(shape, details.dtype)


def _build(content: bytes) -> Interpreter:
    try:
        if not content:
            raise ValueError("it is empty")  # noqa: TRY301  # LiteRT's message is about its arguments
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reason = "it has text that is not UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise ServingError(
            f"Cannot build Interpreter from buffer. The file is damaged or not complete: {reason}", Code.INTERNAL
        ) from error
    return interpreter


def _by_name(read: Callable[[], Sequence[Mapping[str, Any]]], kind: str) -> dict[str, TensorDetails]:
    try:
        details = read()
    except UnicodeDecodeError as error:
        raise ServingError(f"{kind} tensor names are not all UTF-8", Code.INTERNAL) from error
    except ValueError as error:  # bfloat16, for example
        raise ServingError(f"Unknown TfLite type: that of an {kind.lower()} tensor", Code.INTERNAL) from error
    tensors: dict[str, TensorDetails] = {}
    for tensor in details:
        name = tensor["name"]
        if name in tensors:
            raise ServingError(f"{kind} tensor name: {name} has multiple indices", Code.ALREADY_EXISTS)
        dtype = np.dtype(object if tensor["dtype"] is np.bytes_ else tensor["dtype"])
        shape, signature = (tuple(tensor[key].tolist()) for key in ("shape", "shape_signature"))
        tensors[name] = TensorDetails(tensor["index"], name, dtype, shape, signature or shape)
    return tensors
