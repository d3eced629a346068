"""Graphs whose weights take less room, or that compute in fewer bits, without TensorFlow doing more for each image."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
from tensorflow.python.grappler import tf_optimizer

from train.export.precision import Weights

GraphDef: TypeAlias = Any
"""A protobuf message without published types, as `NodeDef` below."""
Array: TypeAlias = npt.NDArray[np.float32]

MIN_VALUES = 4096
"""Smaller constants stay float32: there is nothing to gain."""
CHUNK = 24_000
"""So many weights are widened in one operation.

Grappler computes an operation on constants in advance unless the result is both larger than its inputs and larger
than 100 KiB (kMaxConstantSize of tensorflow/core/grappler/optimizers/constant_folding.cc); so large arrays are
widened in pieces and then joined, which costs time when a version is loaded and none for an image. Widened in one
piece, a ResNet-18 took 60 % longer for an image.
"""
INT8_MAX = 127


def store_weights(graph: GraphDef, weights: Weights) -> GraphDef:
    """Return a graph whose large arrays of constants are stored as `weights`, and widened when it is loaded.

    ``int8`` stands for whole numbers in -127..127 times one float32 for each output channel, chosen so that the
    largest weight of the channel is reached exactly. Arithmetic is done in the types of the graph as it is.

    Args:
        graph: Without functions; not changed.
        weights: How they are stored; ``float32`` changes nothing.
    """
    if weights == "float32":
        return graph
    small = graph_pb2.GraphDef(versions=graph.versions)
    for node in graph.node:
        values = _weights_in(node)
        small.node.extend([node] if values is None else _widened(node.name, values, weights))
    return small


def computed_in_advance(graph: GraphDef, fetches: Sequence[str]) -> GraphDef:
    """Return a graph in which grappler has computed what depends on constants alone, as it would at each loading.

    Weights that were stored small are one float32 array again, and batch normalisation is part of its convolution,
    so that the weights to be stored, or rounded, are those that images meet.

    Args:
        graph: Without functions; not changed.
        fetches: The operations whose results are wanted.
    """
    return _optimized(graph, fetches, "constfold")


def compute_in_bfloat16(graph: GraphDef, fetches: Sequence[str]) -> GraphDef:
    """Return a graph that convolves and multiplies matrices in bfloat16, and what lies between them.

    Grappler decides what that is; what its lists deem delicate, such as the softmax, stays float32.

    Args:
        graph: Without functions; not changed.
        fetches: The operations whose results are wanted; float32 stays float32.
    """
    return _optimized(graph, fetches, "auto_mixed_precision_onednn_bfloat16")


def _optimized(graph: GraphDef, fetches: Sequence[str], optimizer: str) -> GraphDef:
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph, name="")
        meta = tf.compat.v1.train.export_meta_graph(graph_def=imported.as_graph_def(), graph=imported)
    meta.collection_def["train_op"].node_list.value.extend(fetches)  # grappler's name for what is fetched
    config = config_pb2.ConfigProto()
    rewrites = config.graph_options.rewrite_options
    rewrites.optimizers.append(optimizer)
    rewrites.auto_mixed_precision_onednn_bfloat16 = rewriter_config_pb2.RewriterConfig.ON
    rewrites.meta_optimizer_iterations = rewriter_config_pb2.RewriterConfig.ONE
    optimized = tf_optimizer.OptimizeGraph(config, meta)
    for node in optimized.node:  # nothing here has effects to wait for, and waiting keeps what weights were made of
        node.input[:] = [source for source in node.input if not source.startswith("^")]
    return tf.compat.v1.graph_util.extract_sub_graph(optimized, list(fetches))


def _weights_in(node: Any) -> Array | None:
    """Return what a node holds if it is worth storing in another type."""
    if node.op != "Const" or node.attr["dtype"].type != tf.float32.as_datatype_enum:
        return None
    values: Array = tf.make_ndarray(node.attr["value"].tensor)
    return values if values.size >= MIN_VALUES and values.ndim > 1 else None


def _widened(name: str, values: Array, weights: Weights) -> Sequence[Any]:
    """Make nodes that give about `values`; the last one is called `name`, the others are below it."""
    with tf.Graph().as_default() as graph:
        stored, scale = _rounded(values, weights)
        pieces = np.array_split(stored.ravel(), -(-stored.size // CHUNK))
        wide = tf.concat([tf.cast(tf.constant(piece), tf.float32) for piece in pieces], axis=0)
        wide = tf.reshape(wide, values.shape)
        result = tf.identity(wide if scale is None else wide * scale).op.name
    below = {node.name: f"{name}/{node.name}" for node in graph.as_graph_def().node} | {result: name}
    return [_renamed(node, below) for node in graph.as_graph_def().node]


def _rounded(values: Array, weights: Weights) -> tuple[npt.NDArray[Any], Array | None]:
    """Return `values` in another type, and what they have to be multiplied by."""
    if weights != "int8":
        return values.astype(tf.as_dtype(weights).as_numpy_dtype), None
    # The channels are last, except in depthwise convolutions: [h, w, C, 1].
    axes = (0, 1) if values.ndim == len("HWCM") and values.shape[-1] == 1 else tuple(range(values.ndim - 1))
    scale = np.abs(values).max(axis=axes, keepdims=True) / np.float32(INT8_MAX)
    scale[scale == 0] = 1
    return np.rint(values / scale).astype(np.int8), scale


def _renamed(node: Any, names: Mapping[str, str]) -> Any:
    """Copy a node under its new name, its inputs' names replaced too; here all of them are first outputs."""
    renamed = node_def_pb2.NodeDef()
    renamed.CopyFrom(node)
    renamed.name = names[node.name]
    renamed.input[:] = [names[source] for source in node.input]
    return renamed
