"""Classify and Regress: signatures over tf.Example that return classes with scores, or a number.

Rules and messages are those of classifier.cc, regressor.cc and multi_inference.cc in
tensorflow_serving/servables/tensorflow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from model_server.errors import InvalidArgumentError, UnimplementedError
from model_server.servable import Array, Servable, SignatureDef
from tfs_api.encodings import data_type_name

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

_INPUT = "inputs"
_CLASSES = "classes"
_SCORES = "scores"
_VALUES = "outputs"


@dataclass(frozen=True, slots=True)
class Classifications:
    """Output of a classification signature: K classes for each of N examples."""

    labels: Array
    """bytes[N, K]; empty strings if the signature has no classes."""
    scores: npt.NDArray[np.float32]
    """float32[N, K]; zeros if the signature has no scores."""


@dataclass(frozen=True, slots=True)
class Regressions:
    """Output of a regression signature: a number for each of N examples."""

    values: npt.NDArray[np.float32]
    """float32[N]."""


InferenceResult: TypeAlias = Classifications | Regressions


@dataclass(frozen=True, slots=True)
class InferenceTask:
    """One part of a MultiInference request."""

    model: str
    signature: str
    method: str
    """CLASSIFY_METHOD or REGRESS_METHOD."""


@dataclass(frozen=True, slots=True)
class ExampleRunner:
    """Runs classification and regression signatures of a loaded model."""

    servable: Servable
    examples: Sequence[bytes]
    """Serialised tf.Example messages."""
    timeout_s: float | None = None
    """Time limit in seconds; None for no limit."""
    check_method_names: bool = False
    """Refuse a signature whose `method_name` does not match the called method."""

    def classify(self, signature: str) -> Classifications:
        """Run a classification signature.

        Raises:
            ServingError: The signature is unknown or not a classification, there are no examples, the computation
                fails, or the outputs are not classes.
        """
        return self._classify(signature, self._class_outputs(self._signature(signature)))

    def regress(self, signature: str) -> Regressions:
        """Run a regression signature.

        Raises:
            ServingError: As in `classify`, or the outputs are not one number per example.
        """
        return self._regress(signature, self._value_outputs(self._signature(signature)))

    def infer(self, tasks: Sequence[InferenceTask]) -> list[InferenceResult]:
        """Run several signatures over the same examples, after checking all of them.

        TensorFlow Serving computes them in one run of the graph, with the same results.

        Raises:
            ServingError: As in `classify` and `regress`; also if the tasks name several models, or a signature twice.
        """
        outputs: dict[str, list[str]] = {}
        for task in tasks:
            if task.model != tasks[0].model:
                raise InvalidArgumentError(
                    "All ModelSpecs in a MultiInferenceRequest must access the same model name."
                    if task.model
                    else "Found ModelSpec with an empty model name."
                )
            if task.signature in outputs:
                raise InvalidArgumentError(f"Duplicate evaluation of signature: {task.signature}")
            outputs[task.signature] = self._task_outputs(task)
        return [
            self._classify(task.signature, outputs[task.signature])
            if task.method == CLASSIFY_METHOD
            else self._regress(task.signature, outputs[task.signature])
            for task in tasks
        ]

    def _classify(self, signature: str, aliases: list[str]) -> Classifications:
        outputs = self._run(signature, aliases)
        for alias in aliases:
            self._check_classes(alias, outputs[alias], self.servable.signatures[signature])
        classes, scores = outputs.get(_CLASSES), outputs.get(_SCORES)
        if classes is not None and scores is not None and classes.shape[1] != scores.shape[1]:
            raise InvalidArgumentError(
                f"Tensors class and score should match in dim_size(1). Got {classes.shape[1]} vs. {scores.shape[1]}"
            )
        shape = outputs[aliases[0]].shape
        return Classifications(
            np.full(shape, b"", object) if classes is None else classes,
            np.zeros(shape, np.float32) if scores is None else scores.astype(np.float32, copy=False),
        )

    def _regress(self, signature: str, aliases: list[str]) -> Regressions:
        values = self._run(signature, aliases)[_VALUES]
        if not (values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1)):  # noqa: PLR2004  # as the message says
            raise InvalidArgumentError(
                "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] "
                f"but got {_format_shape(values)}"
            )
        if len(values) != len(self.examples):
            raise InvalidArgumentError(
                f"Input batch size did not match output batch size: {len(self.examples)} vs. {len(values)}"
            )
        if values.dtype != np.float32:
            data_type = _data_type(self.servable.signatures[signature], _VALUES)
            raise InvalidArgumentError(f"Expected output Tensor of DT_FLOAT.  Got: {data_type}")
        return Regressions(values.ravel().astype(np.float32, copy=False))

    def _run(self, signature: str, aliases: list[str]) -> Mapping[str, Array]:
        if not self.examples:
            raise InvalidArgumentError("Input is empty.")
        batch = np.empty(len(self.examples), object)
        batch[:] = self.examples
        return self.servable.run(signature, {_INPUT: batch}, aliases, self.timeout_s)

    def _signature(self, name: str) -> SignatureDef:
        signature = self.servable.signatures.get(name)
        if signature is None:
            raise InvalidArgumentError(f"No signature was found with the name: {name}")
        return signature

    def _task_outputs(self, task: InferenceTask) -> list[str]:
        signature = self.servable.signatures.get(task.signature)
        if signature is None:
            raise InvalidArgumentError(f"Requested signature not found in model graph: {task.signature}")
        if task.method == CLASSIFY_METHOD:
            return self._class_outputs(signature)
        if task.method == REGRESS_METHOD:
            return self._value_outputs(signature)
        raise UnimplementedError(f"Unsupported signature method_name: {task.method}")

    def _class_outputs(self, signature: SignatureDef) -> list[str]:
        self._check_method(signature, "classification", CLASSIFY_METHOD)
        if len(signature.inputs) != 1:
            raise InvalidArgumentError("Expected one input Tensor.")
        if len(signature.outputs) not in (1, 2):
            raise InvalidArgumentError(f"Expected one or two output Tensors, found {len(signature.outputs)}")
        if _INPUT not in signature.inputs:
            raise InvalidArgumentError(f"No classification inputs found in SignatureDef: {signature}")
        aliases = [alias for alias in (_CLASSES, _SCORES) if alias in signature.outputs]
        if not aliases:
            raise InvalidArgumentError(
                'Expected classification signature outputs to contain at least one of "classes" or "scores". '
                f"Signature was: {signature}"
            )
        return aliases

    def _value_outputs(self, signature: SignatureDef) -> list[str]:
        self._check_method(signature, "regression", REGRESS_METHOD)
        if len(signature.inputs) != 1:
            raise InvalidArgumentError("Expected one input Tensor.")
        if len(signature.outputs) != 1:
            raise InvalidArgumentError("Expected one output Tensor.")
        if _INPUT not in signature.inputs:
            raise InvalidArgumentError(f"No regression inputs found in SignatureDef: {signature}")
        if _VALUES not in signature.outputs:
            raise InvalidArgumentError(f"No regression outputs found in SignatureDef: {signature}")
        return [_VALUES]

    def _check_method(self, signature: SignatureDef, kind: str, method: str) -> None:
        if self.check_method_names and signature.method_name != method:
            raise InvalidArgumentError(
                f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}"
            )

    def _check_classes(self, alias: str, array: Array, signature: SignatureDef) -> None:
        if array.ndim != 2:  # noqa: PLR2004  # as the message says
            raise InvalidArgumentError(
                f"Expected Tensor shape: [batch_size num_classes] but got {_format_shape(array)}"
            )
        dtype, name = (np.dtype(object), "DT_STRING") if alias == _CLASSES else (np.dtype(np.float32), "DT_FLOAT")
        if array.dtype != dtype:
            raise InvalidArgumentError(f"Expected {alias} Tensor of {name}. Got: {_data_type(signature, alias)}")
        if len(array) != len(self.examples):
            raise InvalidArgumentError(f"Expected {alias} output batch size of {len(self.examples)}. Got: {len(array)}")


def _data_type(signature: SignatureDef, alias: str) -> str:
    return data_type_name(signature.outputs[alias].dtype)


def _format_shape(array: Array) -> str:
    return f"[{','.join(map(str, array.shape))}]"
