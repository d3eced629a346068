"""Which graphs run in the caller's thread."""

from pathlib import Path

import pytest
import tensorflow as tf

from model_server.runtime.graphs import is_simple
from tfs_api.protos import saved_model_pb2
from tools.committed_models import newest_version

ROOT = Path(__file__).parents[3]


def graph_of(function):
    concrete = tf.function(function).get_concrete_function(tf.TensorSpec([None], tf.float32))
    graph = concrete.graph.as_graph_def()
    return graph, [tensor.name for tensor in concrete.outputs]


def twice(x):
    return x + x


def called(x):
    return tf.function(twice)(x)


def loop(x):
    return tf.while_loop(lambda i, _: i < 3.0, lambda i, y: (i + 1.0, y + x), (0.0, x))[1]


def branch(x):
    return tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x)


def loop_in_a_called_function(x):
    return tf.function(loop)(x)


def long_chain(x):
    for _ in range(200):
        x = tf.sin(x)
    return x


@pytest.mark.parametrize("function", [twice, called])
def test_a_few_operations_are_simple(function):
    assert is_simple(*graph_of(function))


@pytest.mark.parametrize("function", [loop, branch, loop_in_a_called_function, long_chain])
def test_loops_branches_and_many_operations_are_not_simple(function):
    assert not is_simple(*graph_of(function))


def test_loops_of_tensorflow_1_are_not_simple():
    with tf.Graph().as_default() as graph:
        tf.compat.v1.disable_control_flow_v2()
        x = tf.compat.v1.placeholder(tf.float32, [])
        try:
            result = tf.compat.v1.while_loop(lambda y: y < 8.0, lambda y: y + 1.0, [x])
        finally:
            tf.compat.v1.enable_control_flow_v2()
        result = tf.identity(result, name="result")
    assert any(node.op == "Enter" for node in graph.as_graph_def().node)
    assert not is_simple(graph.as_graph_def(), [result.name])


def test_only_nodes_that_the_tensors_need_count():
    with tf.Graph().as_default() as graph:
        x = tf.compat.v1.placeholder(tf.float32, [None])
        short = tf.identity(twice(x), name="short")
        long = tf.identity(long_chain(x), name="long")
    assert is_simple(graph.as_graph_def(), [short.name])
    assert not is_simple(graph.as_graph_def(), [long.name])
    assert not is_simple(graph.as_graph_def(), [short.name, long.name])


@pytest.mark.parametrize(("model", "expected"), [("digits", True), ("cifar10", False)])
def test_committed_models(model, expected):
    content = (newest_version(model) / "saved_model.pb").read_bytes()
    meta_graph = saved_model_pb2.SavedModel.FromString(content).meta_graphs[0]
    outputs = meta_graph.signature_def["serving_default"].outputs.values()
    assert is_simple(meta_graph.graph_def, [info.name for info in outputs]) is expected
