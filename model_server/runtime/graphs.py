"""Properties of a GraphDef that determine how to run it."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from model_server.runtime.tensorflow_core import op_def_registry

GraphDef: TypeAlias = Any
"""tensorflow.GraphDef; the generated messages are untyped."""

_MAX_SIMPLE_NODES = 128
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_LOOPS = frozenset({"Enter", "RefEnter"})
"""First nodes of loops in graphs of TensorFlow 1; TensorFlow 2 calls functions instead."""
_CHANGES = (
    *("Assign", "ResourceApply", "ResourceScatter", "ResourceSparseApply"),
    *("LookupTableImport", "LookupTableInsert", "LookupTableRemove"),
)
"""Beginnings of the names of operations that change a variable or a table."""


def has_layout_sensitive_nodes(graph: GraphDef) -> bool:
    """Return whether the graph has convolutions, poolings or similar operations.

    Their kernels find a dimension by its letter in `data_format`, and abort the process if the tensor has fewer
    dimensions than letters (GetTensorDimIndex in tensorflow/core/util/tensor_format.h).
    """
    functions = (function.node_def for function in graph.library.function)
    names = {node.op for nodes in (graph.node, *functions) for node in nodes}
    # The nodes are not enough: attributes with default values are omitted from the file.
    operations = (op_def_registry.get(name) for name in names)
    return any(attr.name == "data_format" for operation in operations if operation for attr in operation.attr)


def is_simple(graph: GraphDef, tensors: Iterable[str]) -> bool:
    """Return whether these tensors are computed by few operations, without a loop or a branch.

    Args:
        graph: Graph of the whole model.
        tensors: Tensor names as in a signature, such as `StatefulPartitionedCall:0`.
    """
    nodes = {node.name: node for node in graph.node}
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    for number, node in enumerate(_all_nodes(_reachable(nodes, tensors), functions), 1):
        may_repeat = node.op in _LOOPS or (node.op not in _CALLS and any(_called_functions(node)))
        if may_repeat or number > _MAX_SIMPLE_NODES:
            return False
    return True


def changes_state(graph: GraphDef, tensors: Iterable[str]) -> bool:
    """Return whether computing these tensors changes a variable or a table.

    Args:
        graph: Graph of the whole model.
        tensors: Tensor names as in a signature.
    """
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    pending = list(_reachable({node.name: node for node in graph.node}, tensors))
    visited: set[str] = set()
    while pending:
        node = pending.pop()
        if node.op.startswith(_CHANGES):
            return True
        for name in set(_called_functions(node)) - visited:
            visited.add(name)
            pending += functions.get(name, ())
    return False


def _reachable(nodes: Mapping[str, Any], tensors: Iterable[str]) -> Iterator[Any]:
    """Yield each node that these tensors depend on."""
    visited: set[str] = set()
    pending = list(tensors)
    while pending:
        name = pending.pop().removeprefix("^").partition(":")[0]
        if name in nodes and name not in visited:
            visited.add(name)
            pending += nodes[name].input
            yield nodes[name]


def _all_nodes(nodes: Iterable[Any], functions: Mapping[str, Any]) -> Iterator[Any]:
    """Yield these nodes, each followed by the nodes of the functions that it calls."""
    for node in nodes:
        yield node
        for name in _called_functions(node):
            yield from _all_nodes(functions.get(name, ()), functions)


def _called_functions(node: Any) -> Iterator[str]:
    for attr in node.attr.values():
        if attr.HasField("func"):
            yield attr.func.name
        yield from (function.name for function in attr.list.func)
