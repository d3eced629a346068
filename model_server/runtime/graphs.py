"""What a graph tells about how to run it, read from its GraphDef."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from model_server.runtime.tensorflow_core import op_def_registry

GraphDef: TypeAlias = Any
"""tensorflow.GraphDef; generated messages have no types."""

_MOST_SIMPLE_NODES = 128
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_LOOPS = frozenset({"Enter", "RefEnter"})
"""What loops begin with in graphs of TensorFlow 1; later ones call functions."""


def has_layout_sensitive_nodes(graph: GraphDef) -> bool:
    """Tell whether the graph has convolutions, poolings and the like.

    Their kernels find a dimension by its letter in `data_format`, and end the whole process where the tensor
    has fewer dimensions than letters (GetTensorDimIndex of tensorflow/core/util/tensor_format.h).
    """
    functions = (function.node_def for function in graph.library.function)
    names = {node.op for nodes in (graph.node, *functions) for node in nodes}
    # The nodes themselves do not tell: attributes at their default are left out of the file.
    operations = (op_def_registry.get(name) for name in names)
    return any(attr.name == "data_format" for operation in operations if operation for attr in operation.attr)


def is_simple(graph: GraphDef, tensors: Iterable[str]) -> bool:
    """Tell whether what computes these tensors is a few operations, and none of them a loop or a branch.

    Args:
        graph: Of the whole model.
        tensors: Names as in a signature, such as `StatefulPartitionedCall:0`.
    """
    nodes = {node.name: node for node in graph.node}
    functions = {function.signature.name: function.node_def for function in graph.library.function}
    for number, node in enumerate(_all_nodes(_reachable(nodes, tensors), functions), 1):
        may_repeat = node.op in _LOOPS or (node.op not in _CALLS and any(_called(node)))
        if may_repeat or number > _MOST_SIMPLE_NODES:
            return False
    return True


def _reachable(nodes: Mapping[str, Any], tensors: Iterable[str]) -> Iterator[Any]:
    """Give each node that these tensors need."""
    seen: set[str] = set()
    waiting = list(tensors)
    while waiting:
        name = waiting.pop().removeprefix("^").partition(":")[0]
        if name in nodes and name not in seen:
            seen.add(name)
            waiting += nodes[name].input
            yield nodes[name]


def _all_nodes(nodes: Iterable[Any], functions: Mapping[str, Any]) -> Iterator[Any]:
    """Give these nodes and, after each that calls functions, those of the functions."""
    for node in nodes:
        yield node
        for name in _called(node):
            yield from _all_nodes(functions.get(name, ()), functions)


def _called(node: Any) -> Iterator[str]:
    for attr in node.attr.values():
        if attr.HasField("func"):
            yield attr.func.name
        yield from (function.name for function in attr.list.func)
