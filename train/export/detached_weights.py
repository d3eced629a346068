"""Keep the weights of a graph apart from it, so that the steps of an export do not copy them.

TensorFlow copies a graph with all its constants when a function is traced, called, saved or loaded, and keeps some of
the copies: 94 MB of weights took 1.8 GB to save and 2.1 GB to load. Here a graph goes through these steps without its
large constants, which are put back into the file, or into the one graph that is computed.
"""

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from train.export.memory import release_memory

GraphDef: TypeAlias = Any
"""Any, because TensorFlow publishes no types; likewise `NodeDef` and `SavedModel` below."""

NUMBER = "_weights"
"""Attribute of a constant without values: their position among the weights."""
MIN_BYTES = 1024
"""Smaller constants stay in the graph, which may depend on their values."""
FILE = Path("saved_model.pb")
VARIABLES = Path("variables")


def detach_weights(graph: GraphDef) -> tuple[GraphDef, list[bytes]]:
    """Return a graph without the values of its large constants, which then stand for zeros, and these values.

    Args:
        graph: A graph; its values are removed, too.
    """
    weights = _detach(_graph_nodes(graph))
    return type(graph).FromString(graph.SerializeToString()), weights  # a message keeps the memory of removed values


def attach_weights(graph: GraphDef, weights: Sequence[bytes]) -> GraphDef:
    """Return a copy of a graph with the values that `detach_weights` removed."""
    complete = type(graph)()
    complete.CopyFrom(graph)
    _attach(_graph_nodes(complete), weights)
    return complete


def attach_to_saved_model(folder: Path, weights: Sequence[bytes]) -> None:
    """Put the weights of a graph into a SavedModel that was written of it.

    Raises:
        OSError: The SavedModel cannot be written.
    """
    saved_model = _read(folder)
    _attach(_nodes(saved_model), weights)
    (folder / FILE).write_bytes(saved_model.SerializeToString(deterministic=True))
    del saved_model
    fingerprinting_utils.write_fingerprint(str(folder))
    release_memory()


def load_without_weights(folder: Path) -> tuple[Any, list[bytes]]:
    """Load a SavedModel without the values of its large constants, and return these values, too."""
    saved_model = _read(folder)
    weights = _detach(_nodes(saved_model))
    with tempfile.TemporaryDirectory(prefix="saved-model-") as copy:
        Path(copy, FILE).write_bytes(saved_model.SerializeToString())
        del saved_model
        release_memory()
        shutil.copytree(folder / VARIABLES, copy / VARIABLES)
        return tf.saved_model.load(copy), weights


def _detach(nodes: Iterable[Any]) -> list[bytes]:
    weights: list[bytes] = []
    for node in nodes:
        if node.op == "Const" and len(content := node.attr["value"].tensor.tensor_content) >= MIN_BYTES:
            node.attr["value"].tensor.ClearField("tensor_content")
            node.attr[NUMBER].i = len(weights)
            weights.append(content)
    return weights


def _attach(nodes: Iterable[Any], weights: Sequence[bytes]) -> None:
    for node in nodes:
        if NUMBER in node.attr:
            node.attr["value"].tensor.tensor_content = weights[node.attr[NUMBER].i]
            del node.attr[NUMBER]


def _read(folder: Path) -> Any:
    return saved_model_pb2.SavedModel.FromString((folder / FILE).read_bytes())


def _nodes(saved_model: Any) -> Iterator[Any]:
    for meta_graph in saved_model.meta_graphs:
        yield from _graph_nodes(meta_graph.graph_def)


def _graph_nodes(graph: GraphDef) -> Iterator[Any]:
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def
