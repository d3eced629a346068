"""Convert a network to TensorFlow Lite: one graph with the signatures of the model contract, for TensorFlow Serving.

TensorFlow Serving computes the whole graph for every request. The inputs that a signature does not feed keep the bytes
and the shape of an earlier request, and are uninitialised before the first. So no part of the graph may fail, whatever
the inputs of the other parts hold: images are reshaped to the network's input, and class ids are cut or padded to the
number of images and clipped to the classes. docs/decisions/0019 says what happens otherwise.
"""

import contextlib
import csv
import io
import math
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert_phase import ConverterError

from train.data.batching import predict_in_batches
from train.export.detached_weights import attach_to_saved_model
from train.export.frozen_network import (
    CONFIDENCE,
    CONFIDENCE_SCOPE,
    FEATURES,
    IMAGE,
    PROBABILITIES,
    FrozenNetwork,
    Tensor,
)
from train.export.memory import returning_large_blocks
from train.export.signatures import CARD, CLASS_ID, HEATMAP, INDEX, heat_map, repeat_card
from train.export.tflite_file import Signature, TfliteError, add_signatures, input_names, tensor_names
from train.export.tflite_model import MERGED, NO_CARD, Images, TfliteModel
from vision.card import InputSpec

FLOAT_OPERATIONS = ("DIV", "SOFTMAX")
"""Operations that int8 networks compute in float32. The int8 division fails for a divisor that is stored as 0, the
middle of its range (tensorflow/lite/kernels/div.cc), and with it every request. The int8 softmax knows 256
probabilities, so that those of 1,000 classes do not add up to 1."""
DEBUGGED_IMAGES = 20
"""Number of images over which the error of each layer is averaged."""


class LayerError(NamedTuple):
    """What a layer loses by int8.

    Attributes:
        layer: Its name in the graph.
        steps: Root mean square error of its output, in steps of its int8 scale; rounding alone makes 0.29.
        tensor: Name of its output in the file.
    """

    layer: str
    steps: float
    tensor: str


@dataclass(frozen=True, slots=True)
class Int8Conversion:
    """An int8 network, and what its layers lose.

    Attributes:
        model: The network.
        debugger: The `tf.lite.experimental.QuantizationDebugger` that made it.
    """

    model: TfliteModel
    debugger: Any

    def layer_errors(self) -> list[LayerError]:
        """Return the error of each layer, the largest first; this runs the network on some calibration images.

        Operations outside layers, such as those of the heat maps, are left out.
        """
        self.debugger.run()
        table = io.StringIO()
        self.debugger.layer_statistics_dump(table)
        table.seek(0)
        errors: dict[str, LayerError] = {}
        for row in csv.DictReader(table):
            if layer := layer_name(row["tensor_name"]):
                steps = math.sqrt(float(row["mean_squared_error"])) / float(row["scale"])
                if layer not in errors or steps > errors[layer].steps:
                    errors[layer] = LayerError(layer, steps, row["tensor_name"])
        return sorted(errors.values(), key=lambda error: -error.steps)


def convert_int8(
    network: FrozenNetwork, spec: InputSpec, calibration: Images, float_tensors: Sequence[str] = ()
) -> Int8Conversion:
    """Convert a network to int8 weights and arithmetic; images arrive as uint8, probabilities leave as float32.

    Args:
        network: A network that computes in float32.
        spec: Input of the network.
        calibration: uint8[N, H, W, C], images of the kind that will be classified, which determine the range of each
            activation. A few hundred are enough.
        float_tensors: Outputs of the operations that stay in float32; see `LayerError`.

    Raises:
        TfliteError: The network computes in bfloat16 or has operations that TensorFlow Lite lacks, or the signatures
            cannot be written.
    """
    feeds = _feeds(network, calibration)
    network.release()
    with (
        tempfile.TemporaryDirectory(prefix="tflite-") as folder,
        warnings.catch_warnings(),
        returning_large_blocks(),
    ):
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")  # the debugger uses it
        converter = _converter(network, spec, folder)
        with _naming_operations():
            confidence_tensors = _confidence_tensors(converter) if CONFIDENCE in network.answers else []
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: iter(feeds)
            debugger: Any = tf.lite.experimental.QuantizationDebugger(
                converter=converter,
                debug_dataset=lambda: (
                    [feed[name] for name in input_names(debugger.quant_model)] for feed in feeds[:DEBUGGED_IMAGES]
                ),
                debug_options=tf.lite.experimental.QuantizationDebugOptions(
                    denylisted_ops=list(FLOAT_OPERATIONS), denylisted_nodes=[*float_tensors, *confidence_tensors]
                ),
            )
    content = add_signatures(debugger.get_nondebug_quantized_model(), _signatures(network, spec))
    return Int8Conversion(TfliteModel(content, "int8"), debugger)


def convert_float32(network: FrozenNetwork, spec: InputSpec) -> TfliteModel:
    """Convert a network to TensorFlow Lite without quantization.

    Args:
        network: The network.
        spec: Input of the network.

    Raises:
        TfliteError: The network computes in bfloat16 or has operations that TensorFlow Lite lacks, or the signatures
            cannot be written.
    """
    network.release()
    with tempfile.TemporaryDirectory(prefix="tflite-") as folder, returning_large_blocks():
        converter = _converter(network, spec, folder)
        with _naming_operations():
            content = converter.convert()
    return TfliteModel(add_signatures(content, _signatures(network, spec)), "float32")


@contextlib.contextmanager
def _naming_operations() -> Iterator[None]:
    """Turn errors of the converter into `TfliteError`, with the operations that it cannot convert."""
    try:
        yield
    except (ConverterError, RuntimeError, ValueError) as error:
        names = sorted(set(re.findall(r"\btf\.([A-Z]\w+)", str(error))))
        reason = f"it lacks {', '.join(names)} for the types of its tensors" if names else "its converter fails"
        raise TfliteError(f"TensorFlow Lite cannot compute this network: {reason}; use --tflite none") from error


def merge_signatures(network: FrozenNetwork, spec: InputSpec) -> Any:
    """Return one function with the inputs and outputs of all signatures, none of which fails by the input of another.

    It has the network's `outline`, without the weights.

    All dimensions of its inputs are unknown, and class ids and indices have one more than they need, because the
    converter drops a reshape whose result it knows.

    Args:
        network: The network behind the signatures.
        spec: Input of the network.
    """
    specs = {IMAGE: tf.TensorSpec([None] * 4, tf.uint8, IMAGE), INDEX: tf.TensorSpec([None] * 2, tf.int32, INDEX)}
    if network.explains:
        specs[CLASS_ID] = tf.TensorSpec([None] * 2, tf.int32, CLASS_ID)

    def merged(**inputs: Tensor) -> dict[str, Tensor]:
        images = tf.reshape(inputs[IMAGE], [-1, *spec.shape])
        outputs = network.outline(images)
        results = {
            **{name: outputs[name] for name in network.answers},
            CARD: repeat_card(NO_CARD, tf.reshape(inputs[INDEX], [-1])),
        }
        if network.explains:
            count = tf.shape(images)[0]
            padded = tf.concat([tf.reshape(inputs[CLASS_ID], [-1]), tf.zeros([count], tf.int32)], axis=0)
            # The converter makes a ReLU6, which TensorFlow Lite has for floats only, of a clip to 0..6.
            class_ids = tf.minimum(tf.maximum(padded[:count], 0), network.classes - 1)
            results[HEATMAP] = heat_map(outputs, class_ids)
        return results

    return tf.function(merged, autograph=False).get_concrete_function(**specs)


def layer_name(tensor: str) -> str | None:
    """Return the layer that ends with a tensor, as the graph names it; None if no layer does.

    The graph adds a number to a name that it has had before: ``stem_relu_1`` is the layer ``stem_relu``.

    Args:
        tensor: Its name in the `.tflite` file, such as ``PartitionedCall/functional_1/stem_relu_1/Relu6;…``: calls, the
            network, the layer, also within another one, its operation, and the earlier operations that were joined
            with it.
    """
    path = tensor.partition(";")[0].rpartition("PartitionedCall/")[2].split("/")
    return "/".join(path[1:-1]) or None


def _converter(network: FrozenNetwork, spec: InputSpec, folder: str) -> Any:
    """Return a converter of a SavedModel that is written to `folder`, where it must stay until it is converted."""
    if network.precision.compute != "float32":
        raise TfliteError(
            f"a network that computes in {network.precision.compute} cannot be converted to TensorFlow Lite; export it"
            " with --compute float32 or with --tflite none"
        )
    module = tf.Module()
    module.function = merge_signatures(network, spec)
    try:
        tf.saved_model.save(module, folder, signatures={MERGED: module.function})
    except tf.errors.OpError as error:
        raise OSError(f"{folder} could not be written: {error.message}") from error
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[MERGED])  # reads only the signature
    attach_to_saved_model(Path(folder), network.weights)
    return converter


def _confidence_tensors(converter: Any) -> list[str]:
    """Return the names of the tensors between the features and the confidence.

    In int8 the confidence would have some 30 different values, too few to choose a threshold among.
    """
    return [name for name in tensor_names(converter.convert()) if f"/{CONFIDENCE_SCOPE}/" in f"/{name}"]


def _feeds(network: FrozenNetwork, images: Images) -> list[dict[str, np.ndarray[Any, Any]]]:
    """Return inputs of the merged function, each with one image and its best class.

    To that class an image contributes most. With other ones the range of heat maps would be too small, and they would
    be cut off.
    """
    feeds = [{IMAGE: image[None], INDEX: np.zeros((1, 1), np.int32)} for image in images]
    if network.explains:
        classes = predict_in_batches(network.predict, images).argmax(axis=1).astype(np.int32)
        for feed, number in zip(feeds, classes, strict=True):
            feed[CLASS_ID] = number.reshape(1, 1)
    return feeds


def _signatures(network: FrozenNetwork, spec: InputSpec) -> dict[str, Signature]:
    image = {IMAGE: spec.shape}
    signatures = {
        "serving_default": Signature(
            image, {name: (network.classes,) if name == PROBABILITIES else () for name in network.answers}
        ),
        "describe": Signature({INDEX: ()}, {CARD: ()}),
    }
    if network.explains:
        features = network.outline.structured_outputs[FEATURES].shape
        signatures["explain"] = Signature({**image, CLASS_ID: ()}, {HEATMAP: tuple(features[1:3])})
    return signatures
