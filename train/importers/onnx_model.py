"""Import classifiers from ONNX files: their operators become those of TensorFlow, their weights constants."""

import dataclasses
import importlib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from train.errors import TrainError
from train.export.frozen_network import FEATURES, KERNEL, PROBABILITIES, Tensor
from train.export.golden import TOLERANCE
from train.export.graph_input import normalise
from train.importers.cards import ImportModelError, ModelTensor, check_card
from train.importers.foreign import ForeignModel
from train.importers.onnx_image_operators import IMAGE_OPERATORS
from train.importers.onnx_operators import OPERATORS, Call
from train.importers.onnx_value import BATCH, IMAGE_RANK, Value, widen
from train.weights.onnx_file import OnnxModel, OnnxNode, OnnxValue, read_onnx_model
from vision.card import Card
from vision.model_io import UnusableModelError, choose_output, require_one_input

logger = logging.getLogger(__name__)

ALL_OPERATORS = {**OPERATORS, **IMAGE_OPERATORS}
OPSETS = range(7, 22)
"""Versions of ONNX' operators that these were written for."""
SHAPED_BY_BATCH = frozenset({"ConstantOfShape", "Expand", "Tile"})
"""Operators that make a tensor of an image from a constant shape with the length of the batch in it."""
AFTER_SCORES = frozenset(
    {"Cast", "Flatten", "Identity", "LogSoftmax", "Reshape", "Sigmoid", "Softmax", "Squeeze", "Unsqueeze"}
)
BEFORE_SCORES = frozenset({"Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze"})
HALF_TOLERANCE = 0.01
"""How far the probabilities of a model in float16 may be from those in float32, in which it is imported."""
SPATIAL_AXES = ({2, 3}, {-1, -2})

Array = npt.NDArray[Any]


class OnnxError(TrainError):
    """An ONNX model has operators that are not supported, or uses them in an unsupported way."""


class _Ending(NamedTuple):
    """What class activation maps are made of: names of the last features and of the array of class weights."""

    features: str
    kernel: Array | None


def from_onnx(path: Path, card: Card) -> ForeignModel:
    """Return an ONNX model as a foreign model.

    Args:
        path: The file.
        card: Card of the model.

    Raises:
        WeightsFileError: The file cannot be read.
        OnnxError: It has operators that are not supported.
        ImportModelError: The card does not match the model.
    """
    model = read_onnx_model(path)
    _require_operators(model)
    if model.opset not in OPSETS:
        logger.warning(
            "%s has operators of version %d; %d to %d are known, and others are computed alike. Compare the answers.",
            path.name,
            model.opset,
            OPSETS[0],
            OPSETS[-1],
        )
    try:
        name = require_one_input({value.name: _tensor(value) for value in model.inputs})
        output = choose_output({value.name: _tensor(value) for value in model.outputs}, card)
    except UnusableModelError as error:
        raise ImportModelError(f"{path}: {error}") from error
    (source,) = model.inputs
    result = next(value for value in model.outputs if value.name == output)
    row = check_card(_tensor(source), _tensor(result), card)
    ending = _find_ending(model, output)
    keeps_last = card.input.layout == "NCHW" and len(row) == IMAGE_RANK - 1
    spec = dataclasses.replace(card.input, layout="NHWC") if keeps_last else card.input
    is_half = source.dtype == "float16" or any(array.dtype == np.float16 for array in model.arrays.values())
    dtype = tf.float32 if source.dtype == "float16" else tf.as_dtype(source.dtype)

    def outputs(image: Tensor) -> Mapping[str, Tensor]:
        pixels = tf.cast(normalise(image, spec), dtype)
        value = Value(pixels, channels_last=True) if keeps_last else Value(tf.reshape(pixels, [-1, *row]))
        values = translate(model, {name: value}, tf.shape(image)[0])
        results = {PROBABILITIES: tf.convert_to_tensor(values[output].plain())}
        if ending:
            results[FEATURES] = tf.cast(values[ending.features].to_last(), tf.float32)
            if ending.kernel is not None:
                results[KERNEL] = tf.constant(ending.kernel, tf.float32)
        return results

    parameters = sum(array.size for array in model.arrays.values() if array.dtype.kind == "f")
    run, framework = _runner(model, source, output)
    tolerance = HALF_TOLERANCE if is_half else TOLERANCE
    return ForeignModel(outputs, run, row, framework, int(parameters), tolerance)


def translate(model: OnnxModel, inputs: Mapping[str, Value], batch: Tensor) -> dict[str, Value]:
    """Compute all values of a model from its inputs, in a graph; what depends on no image is computed at once.

    Args:
        model: The model.
        inputs: Values of its inputs by name.
        batch: Length of the batch, an integer tensor.

    Raises:
        OnnxError: An operator is not used as expected.
    """
    values = {name: Value(widen(array)) for name, array in model.arrays.items()} | dict(inputs)
    for node in model.nodes:
        operands = [values[name] if name else None for name in node.inputs]
        call = Call(node, operands, model.opset, batch)
        try:
            results = _fold(call) if _is_constant(call) else ALL_OPERATORS[node.operator](call)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, tf.errors.OpError) as error:
            raise OnnxError(
                f"{model.path}: the operator {node.operator} ({node.name}) cannot be used: {error}"
            ) from error
        for name, value in zip(node.outputs, results if isinstance(results, list) else [results], strict=False):
            values[name] = value
    return values


def _is_constant(call: Call) -> bool:
    inputs = [value for value in call.inputs if value is not None]
    if not all(value.is_constant for value in inputs):
        return False
    return call.node.operator not in SHAPED_BY_BATCH or not any(
        value.tensor.dtype.kind == "i" and (value.tensor >= BATCH).any() for value in inputs
    )


def _fold(call: Call) -> list[Value]:
    with tf.init_scope():  # outside of the graph
        results = ALL_OPERATORS[call.node.operator](call)
        return [
            Value(np.asarray(value.tensor), value.channels_last)
            for value in (results if isinstance(results, list) else [results])
        ]


def _require_operators(model: OnnxModel) -> None:
    unknown = sorted({node.operator for node in model.nodes} - ALL_OPERATORS.keys())
    if unknown:
        raise OnnxError(
            f"{model.path}: the operators {', '.join(unknown)} are not supported. Convert the file to a SavedModel with"
            " onnx2tf, and import that with python -m train import-keras"
        )


def _tensor(value: OnnxValue) -> ModelTensor:
    """Return an input or output as `vision.model_io` takes it; a batch of one image becomes one of any length."""
    shape = value.shape
    return ModelTensor(value.dtype, (None, *shape[1:]) if shape and shape[0] == 1 else shape)


def _runner(model: OnnxModel, source: OnnxValue, output: str) -> tuple[Any, str]:
    """Return a function from inputs to outputs: by ONNX Runtime if it is installed, otherwise by what is imported."""
    try:
        onnxruntime = importlib.import_module("onnxruntime")  # not required
    except ImportError:
        return tf.function(
            lambda inputs: translate(model, {source.name: Value(inputs)}, tf.shape(inputs)[0])[output].plain()
        ), ""
    try:
        session = onnxruntime.InferenceSession(str(model.path), providers=["CPUExecutionProvider"])
    except Exception as error:  # it has several classes of its own
        raise OnnxError(f"{model.path}: ONNX Runtime cannot load the file: {error}") from error
    size = 1 if source.shape and source.shape[0] == 1 else None

    def run(inputs: Array) -> Array:
        batches = np.split(inputs, len(inputs)) if size else [inputs]
        results = [session.run([output], {source.name: batch.astype(source.dtype)})[0] for batch in batches]
        return np.concatenate(results)

    return run, f"ONNX Runtime {onnxruntime.__version__}"


def _find_ending(model: OnnxModel, output: str) -> _Ending | None:
    """Return what class activation maps are made of, if the model ends in an average and at most one dense layer."""
    producers = {name: node for node in model.nodes for name in node.outputs}
    node = _skip(producers, output, AFTER_SCORES)
    kernel = None
    if node and node.operator == "Add":
        dense = [producers[name] for name in node.inputs if name in producers]
        node = dense[0] if len(dense) == 1 and dense[0].operator == "MatMul" else node
    if node and node.operator in {"Gemm", "MatMul"} and node.inputs[1] in model.arrays:
        kernel = model.arrays[node.inputs[1]]
        kernel = kernel.T if node.attributes.get("transB", 0) else kernel
        node = _skip(producers, node.inputs[0], BEFORE_SCORES)
    if node is None or not _averages_image(node, model):
        return None
    return _Ending(node.inputs[0], kernel)


def _skip(producers: Mapping[str, OnnxNode], name: str, operators: Iterable[str]) -> OnnxNode | None:
    node = producers.get(name)
    while node and node.operator in operators:
        node = producers.get(node.inputs[0])
    return node


def _averages_image(node: OnnxNode, model: OnnxModel) -> bool:
    if node.operator == "GlobalAveragePool":
        return True
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1:
        axes = model.arrays.get(node.inputs[1])
    return node.operator == "ReduceMean" and axes is not None and {int(axis) for axis in axes} in SPATIAL_AXES
