"""A classifier as it is served: one function whose weights are constants.

Constants let TensorFlow fold batch normalisation into the convolutions and lay weights out once, when a version is
loaded; that saves a fifth of the digits model's CPU time in batches of 8 or 64 against variables, and nothing is lost
for one image. That it is folded before export already gains nothing more, but lets weights be rounded once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from train.export.graph_input import normalised
from train.export.graph_rewrites import GraphDef, compute_in_bfloat16, computed_in_advance, store_weights
from train.export.precision import FULL_PRECISION, ExportPrecision
from vision.card import Activation, InputSpec

Tensor: TypeAlias = Any
"""TensorFlow publishes no types."""

ACTIVATIONS: Mapping[Activation, Callable[[Tensor], Tensor]] = {
    "none": tf.identity,
    "softmax": tf.nn.softmax,
    "sigmoid": tf.math.sigmoid,
}
IMAGE = "image"
PROBABILITIES = "probabilities"
FEATURES = "features"
KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Network:
    """A frozen classifier.

    Attributes:
        function: uint8[N, H, W, C] to a mapping of `PROBABILITIES`, float32[N, K]. Where those come from features
            averaged over the image, also `FEATURES`, float32[N, h, w, F], before the average, and, unless there is
            one feature for each class, `KERNEL`, float32[F, K], of the dense layer that comes after it: what class
            activation maps are made of.
        precision: What was done to its weights.
    """

    function: Any
    precision: ExportPrecision = FULL_PRECISION

    @property
    def explains(self) -> bool:
        """Whether there is what class activation maps are made of."""
        return FEATURES in self.function.structured_outputs

    def __call__(self, image: Tensor) -> Mapping[str, Tensor]:
        """Call the function, within a graph or on values."""
        answer: Mapping[str, Tensor] = self.function(image)
        return answer

    def predict(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Compute float32[N, K] probabilities of uint8[N, H, W, C]."""
        return np.asarray(self(tf.constant(images))[PROBABILITIES].numpy(), np.float32)


def network_of(
    model: keras.Model, spec: InputSpec, precision: ExportPrecision = FULL_PRECISION, activation: Activation = "none"
) -> Network:
    """Freeze a Keras classifier.

    Class activation maps can be made if it ends in an average over the image, then at most a dense layer and an
    activation, with or without dropout between.

    Args:
        model: Takes float32[N, H, W, C], and gives float32[N, K].
        spec: What it takes.
        precision: What shall be done to its weights.
        activation: What turns its answers into probabilities.
    """
    ending = _ending(model)
    outputs = {PROBABILITIES: model.output} | ({FEATURES: ending.pool.input} if ending else {})
    inner = keras.Model(model.input, outputs)

    def call(image: Tensor) -> Mapping[str, Tensor]:
        answer = dict(inner(tf.cast(normalised(image, spec), tf.float32), training=False))
        answer[PROBABILITIES] = ACTIVATIONS[activation](tf.cast(answer[PROBABILITIES], tf.float32))
        return answer | ({KERNEL: tf.identity(ending.head.kernel)} if ending and ending.head else {})

    return freeze(call, spec, precision)


def freeze(
    call: Callable[[Tensor], Mapping[str, Tensor]], spec: InputSpec, precision: ExportPrecision = FULL_PRECISION
) -> Network:
    """Make a network of a function over tensors that may use variables.

    Args:
        call: As `Network.function`.
        spec: The size and the channels of what it takes.
        precision: What shall be done to its weights.
    """
    image = tf.TensorSpec((None, spec.height, spec.width, spec.channels), tf.uint8, name=IMAGE)
    live = tf.function(call, input_signature=[image], autograph=False).get_concrete_function()
    frozen = convert_variables_to_constants_v2(live)
    names = dict(zip(sorted(live.structured_outputs), (tensor.name for tensor in frozen.outputs), strict=True))
    fetches = [name.partition(":")[0] for name in names.values()]
    graph: GraphDef = computed_in_advance(frozen.graph.as_graph_def(), fetches)
    if precision.compute == "bfloat16":
        graph = compute_in_bfloat16(graph, fetches)
    small = store_weights(graph, precision.weights)
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(small, name=""), [])
    function = tf.function(imported.prune(frozen.inputs[0].name, names), input_signature=[image], autograph=False)
    return Network(function.get_concrete_function(), precision)


class _Ending(NamedTuple):
    """The layer that averages over the image, and the dense layer after it, if there is one."""

    pool: keras.layers.Layer
    head: keras.layers.Layer | None


def _ending(model: keras.Model) -> _Ending | None:
    layer = _before(model.output, (layers.Activation, layers.Softmax, layers.Dropout))
    head = layer if isinstance(layer, layers.Dense) else None
    if head:
        layer = _before(head.input, (layers.Dropout, layers.Flatten))
    return _Ending(layer, head) if isinstance(layer, layers.GlobalAveragePooling2D) and not layer.keepdims else None


def _before(tensor: keras.KerasTensor, passed: tuple[type[keras.layers.Layer], ...]) -> keras.layers.Layer:
    """Return the layer that made a tensor, or the nearest one before it that is none of those to be passed."""
    layer = tensor._keras_history.operation  # noqa: SLF001  # Keras has no other way from a tensor to its layer
    return _before(layer.input, passed) if isinstance(layer, passed) else layer
