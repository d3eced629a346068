"""A classifier as it is served: one function whose weights are constants.

Constants let TensorFlow fold batch normalisation into the convolutions and lay weights out once, when a version is
loaded; that saves a fifth of the digits model's CPU time in batches of 8 or 64 against variables, and nothing is lost
for one image. Folding it before export gains nothing more (`docs/train.md`, "Smaller and faster").
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from train.compact import GraphDef, compute_in_bfloat16, store_weights
from train.form import PLAIN, Form
from train.model import HEAD, POOL
from vision.card import InputSpec

Tensor: TypeAlias = Any
"""TensorFlow publishes no types."""

IMAGE = "image"
PROBABILITIES = "probabilities"
FEATURES = "features"
KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Network:
    """A frozen classifier.

    Attributes:
        function: uint8[N, H, W, C] to a mapping of `PROBABILITIES`, float32[N, K]. Where those come from one dense
            layer over averaged features, also `FEATURES`, float32[N, h, w, F], before the average, and `KERNEL`,
            float32[F, K], of the layer: what class activation maps are made of.
        form: What was done to its weights.
    """

    function: Any
    form: Form = PLAIN

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


def network_of(model: keras.Model, spec: InputSpec, form: Form = PLAIN) -> Network:
    """Freeze a Keras classifier.

    Args:
        model: float32[N, H, W, C] of 0..255 to float32[N, K] probabilities. Class activation maps can be made if it
            has the layers `POOL` and `HEAD`.
        spec: What it takes.
        form: What shall be done to its weights.
    """
    outputs = {PROBABILITIES: model.output}
    explains = {POOL, HEAD} <= {layer.name for layer in model.layers}
    if explains:
        outputs[FEATURES] = model.get_layer(POOL).input
    both = keras.Model(model.input, outputs)

    def call(image: Tensor) -> Mapping[str, Tensor]:
        answer = dict(both(tf.cast(image, tf.float32), training=False))
        return answer | {KERNEL: tf.identity(model.get_layer(HEAD).kernel)} if explains else answer

    return freeze(call, spec, form)


def freeze(call: Callable[[Tensor], Mapping[str, Tensor]], spec: InputSpec, form: Form = PLAIN) -> Network:
    """Make a network of a function over tensors that may use variables.

    Args:
        call: As `Network.function`.
        spec: What it takes.
        form: What shall be done to its weights.
    """
    image = tf.TensorSpec((None, *spec.shape), tf.uint8, name=IMAGE)
    live = tf.function(call, input_signature=[image]).get_concrete_function()
    frozen = convert_variables_to_constants_v2(live)
    names = dict(zip(sorted(live.structured_outputs), (tensor.name for tensor in frozen.outputs), strict=True))
    graph: GraphDef = frozen.graph.as_graph_def()
    if form.compute == "bfloat16":
        graph = compute_in_bfloat16(graph, [name.partition(":")[0] for name in names.values()])
    small = store_weights(graph, form.weights)
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(small, name=""), [])
    function = tf.function(imported.prune(frozen.inputs[0].name, names), input_signature=[image], autograph=False)
    return Network(function.get_concrete_function(), form)
