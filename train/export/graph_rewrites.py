"""Graph rewrites before export: constant folding, whole rows of pixels, smaller weights, arithmetic in fewer bits.

None of them adds work per image.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, rewriter_config_pb2
from tensorflow.python.grappler import tf_optimizer

from train.export.precision import Weights

GraphDef: TypeAlias = Any
"""Any, because TensorFlow publishes no types; likewise `NodeDef` below."""
Array: TypeAlias = npt.NDArray[np.float32]

MIN_VALUES = 4096
"""Smaller constants stay float32, because compressing them saves too little."""
CHUNK = 24_000
"""The number of weights that one operation widens.

Grappler folds an operation on constants unless the result is both larger than its inputs and larger than 100 KiB
(kMaxConstantSize in tensorflow/core/grappler/optimizers/constant_folding.cc). Large arrays are therefore widened in
pieces and then joined, which takes time when a version is loaded and none per image. Widened in one piece, a ResNet-18
took 60 % longer per image.
"""
INT8_MAX = 127
MAX_CHANNELS = 4
"""Of an image."""
CHANNEL_OPERATIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "Add": tf.add,
    "AddV2": tf.add,
    "Mul": tf.multiply,
    "RealDiv": tf.divide,
    "Sub": tf.subtract,
}
"""Operations with a number for each channel, by which pixels are normalised."""


def store_weights(graph: GraphDef, weights: Weights) -> GraphDef:
    """Return a graph whose large constants are stored in the type `weights`, and widened when the graph is loaded.

    ``int8`` means integers in -127..127 times one float32 scale per output channel, chosen so that the largest weight
    of the channel is exact. The types of the arithmetic do not change.

    Args:
        graph: A graph without functions; it is not modified.
        weights: Type of the stored weights; ``float32`` returns the graph unchanged.
    """
    if weights == "float32":
        return graph
    compressed = graph_pb2.GraphDef(versions=graph.versions)
    for node in graph.node:
        values = _large_weights(node)
        compressed.node.extend([node] if values is None else _widening_nodes(node.name, values, weights))
    return compressed


def fold_constants(graph: GraphDef, fetches: Sequence[str]) -> GraphDef:
    """Return a graph in which grappler has folded constants, as it otherwise does whenever the graph is loaded.

    Weights that were stored in another type become one float32 array again, and batch normalisation becomes part of
    its convolution. The weights that are then stored or rounded are therefore those of the actual arithmetic.

    Args:
        graph: A graph without functions; it is not modified.
        fetches: Names of the operations whose results are needed.
    """
    return _optimize(graph, fetches, "constfold")


def normalise_rows(graph: GraphDef) -> GraphDef:
    """Return a graph that normalises the channels of an image row by row, with the same results.

    One number for each of three channels leaves TensorFlow Lite loops of three pixels: 0.9 ms for an image of 224 x 224
    in int8, where a network takes 4. Here the numbers are repeated for a whole row, or one number stands for all.

    Args:
        graph: A graph without functions; it is not modified.
    """
    rewritten = graph_pb2.GraphDef(versions=graph.versions)
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph, name="")
    for node in graph.node:
        rewritten.node.extend(_row_nodes(imported.get_operation_by_name(node.name)) or [node])
    return rewritten


def compute_in_bfloat16(graph: GraphDef, fetches: Sequence[str]) -> GraphDef:
    """Return a graph that computes convolutions, matrix products and the operations between them in bfloat16.

    Grappler chooses these operations; those that its lists consider sensitive to rounding, such as softmax, stay
    float32.

    Args:
        graph: A graph without functions; it is not modified.
        fetches: Names of the operations whose results are needed; float32 results stay float32.
    """
    return _optimize(graph, fetches, "auto_mixed_precision_onednn_bfloat16")


def _optimize(graph: GraphDef, fetches: Sequence[str], optimizer: str) -> GraphDef:
    meta = meta_graph_pb2.MetaGraphDef(graph_def=graph)
    # The collection from which grappler takes the fetches.
    meta.collection_def["train_op"].node_list.value.extend(fetches)
    config = config_pb2.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.optimizers.append(optimizer)
    rewrites.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    rewrites.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    optimized = tf_optimizer.OptimizeGraph(config, meta)
    del meta
    # No operation has side effects, so control dependencies only keep the nodes that folded weights were computed from.
    for node in optimized.node:
        node.input[:] = [source for source in node.input if not source.startswith("^")]
        # TensorFlow refuses to save operations with a gradient of their own, such as swish.
        node.attr.pop("_gradient_op_type", None)
    return tf.compat.v1.graph_util.extract_sub_graph(optimized, list(fetches))


def _row_nodes(operation: tf.Operation) -> Sequence[Any]:
    """Return nodes for an operation with a number for each channel of an image; none if it is another one."""
    constants = [tensor for tensor in operation.inputs if tensor.op.type == "Const"]
    if operation.type not in CHANNEL_OPERATIONS or len(constants) != 1 or operation.outputs[0].dtype != tf.float32:
        return []
    values = tf.make_ndarray(constants[0].op.get_attr("value")).ravel()
    (source,) = (tensor for tensor in operation.inputs if tensor is not constants[0])
    shape = source.shape.as_list() if source.shape.rank == len("NHWC") else []
    if None in shape[1:] or not 1 < values.size <= MAX_CHANNELS or shape[-1:] != [values.size]:
        return []
    height, width, channels = shape[1:]
    is_uniform = bool((values == values[0]).all())
    numbers = values[0] if is_uniform else np.tile(values, width)
    with tf.Graph().as_default() as graph:
        pixels = tf.compat.v1.placeholder(tf.float32, shape, name="pixels")
        rows = pixels if is_uniform else tf.reshape(pixels, (-1, height, width * channels))
        operands = [rows if tensor is source else tf.constant(numbers) for tensor in operation.inputs]
        normalised = CHANNEL_OPERATIONS[operation.type](*operands)
        result = (normalised if is_uniform else tf.reshape(normalised, (-1, *shape[1:]))).op.name
    names = {node.name: f"{operation.name}/{node.name}" for node in graph.as_graph_def().node}
    names |= {"pixels": source.name.removesuffix(":0"), result: operation.name}
    return [_rename(node, names) for node in graph.as_graph_def().node if node.name != "pixels"]


def _large_weights(node: Any) -> Array | None:
    """Return the float32 array of a constant that is large enough to be stored in another type, else None."""
    if node.op != "Const" or node.attr["dtype"].type != tf.float32.as_datatype_enum:
        return None
    values: Array = tf.make_ndarray(node.attr["value"].tensor)
    return values if values.size >= MIN_VALUES and values.ndim > 1 else None


def _widening_nodes(name: str, values: Array, weights: Weights) -> Sequence[Any]:
    """Return nodes that compute an approximation of `values`; the last is called `name`, the others `name/...`."""
    with tf.Graph().as_default() as graph:
        stored, scale = _round(values, weights)
        pieces = np.array_split(stored.ravel(), -(-stored.size // CHUNK))
        wide = tf.concat([tf.cast(tf.constant(piece), tf.float32) for piece in pieces], axis=0)
        wide = tf.reshape(wide, values.shape)
        result = tf.identity(wide if scale is None else wide * scale).op.name
    names = {node.name: f"{name}/{node.name}" for node in graph.as_graph_def().node} | {result: name}
    return [_rename(node, names) for node in graph.as_graph_def().node]


def _round(values: Array, weights: Weights) -> tuple[npt.NDArray[Any], Array | None]:
    """Return `values` in another type, and the factor that restores them, if there is one."""
    if weights != "int8":
        return values.astype(tf.as_dtype(weights).as_numpy_dtype), None
    # The channels are last, except in depthwise convolutions: [h, w, C, 1].
    axes = (0, 1) if values.ndim == len("HWCM") and values.shape[-1] == 1 else tuple(range(values.ndim - 1))
    scale = np.abs(values).max(axis=axes, keepdims=True) / np.float32(INT8_MAX)
    scale[scale == 0] = 1
    return np.rint(values / scale).astype(np.int8), scale


def _rename(node: Any, names: Mapping[str, str]) -> Any:
    """Return a copy of a node with its name and inputs replaced; all inputs here are first outputs of their nodes."""
    copy = node_def_pb2.NodeDef()
    copy.CopyFrom(node)
    copy.name = names[node.name]
    copy.input[:] = [names[source] for source in node.input]
    return copy
