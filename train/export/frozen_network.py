"""A classifier in the form in which it is served: one function whose weights are constants.

Constants let TensorFlow fold batch normalisation into the convolutions and arrange the weights once, when a version is
loaded. Compared with variables, this saves a fifth of the CPU time of the digits model in batches of 8 or 64, and costs
nothing for one image. Folding before export saves no more time, but it lets weights be rounded only once.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from train.errors import TrainError
from train.export.detached_weights import attach_weights, detach_weights
from train.export.graph_input import normalise
from train.export.graph_rewrites import GraphDef, compute_in_bfloat16, fold_constants, normalise_rows, store_weights
from train.export.graph_session import GraphSession
from train.export.memory import release_memory, returning_large_blocks
from train.export.precision import FULL_PRECISION, ExportPrecision
from vision.card import Activation, InputSpec
from vision.postprocess import BINARY

Tensor: TypeAlias = Any
"""Any, because TensorFlow publishes no types."""

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "none": tf.identity,
    "softmax": tf.nn.softmax,
    "sigmoid": tf.math.sigmoid,
}
IMAGE = "image"
PROBABILITIES = "probabilities"
FEATURES = "features"
KERNEL = "kernel"
CONFIDENCE = "confidence"
LOOP_OPERATIONS = {"Enter", "StatelessWhile", "While"}
TABLE_OPERATION = re.compile("LookupTable|.*HashTable")
AS_IT_IS = "export it without, or serve its SavedModel as it is: python -m tools.models add FOLDER"
CONFIDENCE_SCOPE = "confidence"
"""Name scope of the operations that compute `CONFIDENCE`, which int8 forms keep in float32."""


@dataclass(frozen=True)
class FrozenNetwork:
    """A frozen classifier: a function from uint8[N, H, W, C] to named outputs.

    There is always `PROBABILITIES`, float32[N, K]. If the network averages its last features over the image, there is
    also what class activation maps are made of: `FEATURES`, float32[N, h, w, F], before the average, and `KERNEL`,
    float32[F, K], of the dense layer after it. `KERNEL` is absent if there is no dense layer because each feature
    stands for a class. `CONFIDENCE`, float32[N] in 0..1, is there if `train.export.confidence` has attached it.

    Attributes:
        graph: The graph without its weights; see `train.export.detached_weights`.
        weights: The weights.
        source: Name of the tensor that is the input.
        fetches: Names of the tensors that are the outputs, by the names of the outputs.
        precision: Precision of the weights and the arithmetic.
    """

    graph: GraphDef
    weights: Sequence[bytes]
    source: str
    fetches: Mapping[str, str]
    precision: ExportPrecision = FULL_PRECISION

    @cached_property
    def outline(self) -> Any:
        """The function in a graph, with zeros in the place of large weights."""
        return self._import(self.graph)

    @property
    def function(self) -> Any:
        """The function in a graph or outside of one, built by each access, since it has many copies of the weights."""
        return self._import(attach_weights(self.graph, self.weights))

    @property
    def explains(self) -> bool:
        """Whether class activation maps can be computed."""
        return FEATURES in self.fetches

    @property
    def classes(self) -> int:
        """The number of classes."""
        return int(self.outline.structured_outputs[PROBABILITIES].shape[-1])

    @property
    def answers(self) -> tuple[str, ...]:
        """Names of the outputs that `serving_default` returns."""
        return tuple(name for name in (PROBABILITIES, CONFIDENCE) if name in self.fetches)

    def __call__(self, image: Tensor) -> Mapping[str, Tensor]:
        """Call the function, in a graph or eagerly."""
        outputs: Mapping[str, Tensor] = self.function(image)
        return outputs

    def run(self, images: npt.NDArray[np.uint8], output: str) -> npt.NDArray[np.float32]:
        """Return one output for uint8[N, H, W, C]; the weights then stay in memory until `release`."""
        return np.asarray(self._session.run(images, self.fetches[output]), np.float32)

    def predict(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32[N, K] probabilities for uint8[N, H, W, C]; see `run`."""
        return self.run(images, PROBABILITIES)

    def predict_confidence(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return float32[N] for uint8[N, H, W, C], if `CONFIDENCE` is among the outputs; see `run`."""
        return self.run(images, CONFIDENCE)

    def release(self) -> None:
        """Free the memory that `run` takes, until it is called again."""
        session = self.__dict__.pop("_session", None)
        if session is not None:
            session.close()
            del session
            release_memory()

    @cached_property
    def _session(self) -> GraphSession:
        widens = self.precision.weights != "float32"
        return GraphSession(attach_weights(self.graph, self.weights), self.source, widens=widens)

    def _import(self, graph: GraphDef) -> Any:
        imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
        pruned = imported.prune(self.source, dict(self.fetches))
        image = tf.TensorSpec(pruned.inputs[0].shape, tf.uint8, name=IMAGE)
        return tf.function(pruned, input_signature=[image], autograph=False).get_concrete_function()


def to_probabilities(scores: Tensor, activation: Activation, labels: int | None = None) -> Tensor:
    """Turn the scores of a model into float32[N, K] probabilities, as `vision.postprocess.class_probabilities` does.

    Args:
        scores: Floating-point numbers of shape [N, K], with or without further dimensions of length 1.
        activation: Function that turns them into probabilities.
        labels: Number of labels; 2 for one score stand for that of the second label and the rest.
    """
    rows = tf.reshape(tf.cast(scores, tf.float32), [tf.shape(scores)[0], math.prod(scores.shape[1:])])
    probabilities = ACTIVATIONS[activation](rows)
    if labels == BINARY and probabilities.shape[1] == 1:
        return tf.concat([1 - probabilities, probabilities], axis=1)
    return probabilities


def complete_outputs(
    outputs: Mapping[str, Tensor], activation: Activation = "none", labels: int | None = None
) -> dict[str, Tensor]:
    """Turn a model's own outputs into those of a `FrozenNetwork`.

    Args:
        outputs: As those of a `FrozenNetwork`, but `PROBABILITIES` are what `to_probabilities` takes.
        activation: The function that turns them into probabilities.
        labels: Number of labels; None for one per score.
    """
    results = {name: tf.cast(tensor, tf.float32) for name, tensor in outputs.items()}
    if labels == BINARY and math.prod(outputs[PROBABILITIES].shape[1:]) == 1:
        results |= {
            key: _oppose(results[key]) for key in (KERNEL if KERNEL in results else FEATURES,) if key in results
        }
    results[PROBABILITIES] = to_probabilities(outputs[PROBABILITIES], activation, labels)
    return results


def trace_model(model: keras.Model, spec: InputSpec) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return the function from uint8[N, H, W, C] to a Keras classifier's outputs, as `complete_outputs` takes them.

    It can be explained if it ends in an average over the image, followed by at most one dense layer and an activation,
    with or without dropout between them.

    Args:
        model: Takes float32[N, H, W, C] or its pixels in another shape, and returns what `to_probabilities` takes.
        spec: The input of the model.
    """
    shape = model.inputs[0].shape[1:]
    row = spec.shape if len(shape) == len(spec.shape) or None in shape else shape
    ending = _find_ending(model)
    inner = keras.Model(
        model.inputs[0], {PROBABILITIES: model.outputs[0]} | ({FEATURES: ending.features} if ending else {})
    )

    def call(image: Tensor) -> dict[str, Tensor]:
        pixels = tf.reshape(tf.cast(normalise(image, spec), tf.float32), [-1, *row])
        results = dict(inner(pixels, training=False))
        if ending and ending.head:
            results[KERNEL] = tf.identity(ending.head.kernel)
        return results

    return call


def freeze_model(model: keras.Model, spec: InputSpec, precision: ExportPrecision = FULL_PRECISION) -> FrozenNetwork:
    """Freeze a Keras classifier that returns probabilities; see `trace_model` for those that can be explained."""
    call = trace_model(model, spec)
    return freeze_function(lambda image: complete_outputs(call(image)), spec, precision)


def freeze_function(
    call: Callable[[Tensor], Mapping[str, Tensor]], spec: InputSpec, precision: ExportPrecision = FULL_PRECISION
) -> FrozenNetwork:
    """Freeze a function over tensors that may use variables.

    Args:
        call: As `FrozenNetwork`.
        spec: Defines height, width and channels of the function's input.
        precision: Precision of the frozen network.
    """
    image = tf.TensorSpec((None, spec.height, spec.width, spec.channels), tf.uint8, name=IMAGE)
    with returning_large_blocks():
        graph, source, fetches = flatten_function(
            tf.function(call, input_signature=[image], autograph=False).get_concrete_function()
        )
        operations = [name.partition(":")[0] for name in fetches.values()]
        for rewrite in _rewrites(operations, precision):
            release_memory()
            graph = rewrite(graph)
        outline, weights = detach_weights(graph)
        del graph
    return FrozenNetwork(outline, weights, source, fetches, precision)


def flatten_function(live: Any) -> tuple[GraphDef, str, dict[str, str]]:
    """Return the graph of a concrete function with one input, without calls of others and with constants for variables.

    Returns:
        The graph, the name of the input tensor, and the names of the output tensors by the names of the outputs.
    """
    frozen = freeze(live)
    fetches = dict(zip(sorted(live.structured_outputs), (tensor.name for tensor in frozen.outputs), strict=True))
    return frozen.graph.as_graph_def(), frozen.inputs[0].name, fetches


def freeze(live: Any) -> Any:
    """Return a concrete function with constants for its variables.

    Raises:
        TrainError: It has a loop or a lookup table.
    """
    frozen = convert_variables_to_constants_v2(live)
    operations = {node.op for node in frozen.graph.as_graph_def().node}
    if operations & LOOP_OPERATIONS:
        raise TrainError(f"the network has a loop, as recurrent layers and tf.map_fn make; {AS_IT_IS}")
    if any(map(TABLE_OPERATION.match, operations)):
        raise TrainError(f"the network has a lookup table, whose values are not constants; {AS_IT_IS}")
    return frozen


def _rewrites(fetches: Sequence[str], precision: ExportPrecision) -> Iterator[Callable[[GraphDef], GraphDef]]:
    """Yield the rewrites of a graph whose results are `fetches`, in their order."""
    yield partial(fold_constants, fetches=fetches)
    yield normalise_rows
    if precision.compute == "bfloat16":
        yield partial(compute_in_bfloat16, fetches=fetches)
    yield partial(store_weights, weights=precision.weights)


def _oppose(contributions: Tensor) -> Tensor:
    """Add what speaks for the first of two classes, the opposite of the second's: [..., 1] becomes [..., 2]."""
    return tf.concat([-contributions, contributions], axis=-1)


class _Ending(NamedTuple):
    """The features that a network averages over the image, and the dense layer after it, if there is one."""

    features: keras.KerasTensor
    head: keras.layers.Layer | None


def _find_ending(model: keras.Model) -> _Ending | None:
    layer, source = _layer_before(model.outputs[0], (layers.Activation, layers.Softmax, layers.Dropout))
    head = layer if isinstance(layer, layers.Dense) else None
    if head:
        layer, source = _layer_before(source, (layers.Dropout, layers.Flatten))
    return _Ending(source, head) if isinstance(layer, layers.GlobalAveragePooling2D) and not layer.keepdims else None


def _layer_before(
    tensor: keras.KerasTensor, skip: tuple[type[keras.layers.Layer], ...]
) -> tuple[keras.layers.Layer, keras.KerasTensor]:
    """Return the layer that produced a tensor, or the nearest earlier one not of a type in `skip`, and its input."""
    # Keras has no public way from a tensor to the call that made it; a layer of several models has several calls.
    history = tensor._keras_history  # noqa: SLF001
    node = history.operation._inbound_nodes[history.node_index]  # noqa: SLF001
    source = node.input_tensors[0] if node.input_tensors else tensor
    return _layer_before(source, skip) if isinstance(history.operation, skip) else (history.operation, source)
