"""Compressed weights are close to the originals, and are widened when a graph is loaded, not for every image."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.grappler import tf_optimizer

import train.export.graph_rewrites
from train.export.frozen_network import FrozenNetwork, freeze_function, freeze_model
from train.export.graph_rewrites import fold_constants, normalise_rows, store_weights
from train.export.precision import FULL_PRECISION, ExportPrecision
from train.networks.build import HEAD, POOL
from vision.card import InputSpec

SPEC = InputSpec(height=12, width=12)
REDUCED_PRECISIONS = (
    ExportPrecision("float16"),
    ExportPrecision("bfloat16"),
    ExportPrecision("int8"),
    ExportPrecision("float32", "bfloat16"),
    ExportPrecision("bfloat16", "bfloat16"),
    ExportPrecision("int8", "bfloat16"),
)


def graph_of(values: np.ndarray) -> graph_pb2.GraphDef:
    """A graph that returns the constant `values` plus its input."""
    with tf.Graph().as_default() as graph:
        fed = tf.compat.v1.placeholder(tf.float32, (), "fed")
        tf.add(tf.constant(values, tf.float32, name="kernel"), fed, name="result")
    return graph.as_graph_def()


def run(graph: graph_pb2.GraphDef) -> np.ndarray:
    with tf.Graph().as_default() as imported, tf.compat.v1.Session(graph=imported) as session:
        tf.graph_util.import_graph_def(graph, name="")
        return session.run("result:0", {"fed:0": 0.0})


def operations_after_folding(graph: graph_pb2.GraphDef, fetch: str = "result") -> set[str]:
    """The operations that remain after grappler's constant folding."""
    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph, name="")
        meta = tf.compat.v1.train.export_meta_graph(graph_def=imported.as_graph_def(), graph=imported)
    meta.collection_def["train_op"].node_list.value.append(fetch)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.optimizers.append("constfold")
    optimized = tf_optimizer.OptimizeGraph(config, meta)
    return {node.op for node in tf.compat.v1.graph_util.extract_sub_graph(optimized, [fetch]).node}


def weights(*shape: int) -> np.ndarray:
    """float32 values whose channels, the last axis, differ by orders of magnitude."""
    return np.random.default_rng(0).normal(0, 10.0 ** np.linspace(-3, 1, shape[-1]), shape).astype(np.float32)


@pytest.mark.parametrize(("precision", "tolerance"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_weights_are_rounded_to_the_nearest_16_bit_float(precision: str, tolerance: float):
    values = weights(3, 3, 80, 100)

    compressed = store_weights(graph_of(values), precision)

    np.testing.assert_allclose(run(compressed), values, rtol=tolerance, atol=1e-7)
    assert compressed.ByteSize() == pytest.approx(2 * values.size, rel=0.1)


def test_int8_weights_have_a_scale_for_each_channel():
    values = weights(3, 3, 80, 100)
    values[..., 7] = 0

    compressed = store_weights(graph_of(values), "int8")

    half_a_step = np.abs(values).max(axis=(0, 1, 2)) / 127 / 2
    assert (np.abs(run(compressed) - values) <= half_a_step * 1.001).all()
    np.testing.assert_allclose(run(compressed).max(axis=(0, 1, 2)), values.max(axis=(0, 1, 2)), rtol=0.01)
    assert compressed.ByteSize() == pytest.approx(values.size, rel=0.1)


def test_the_channels_of_a_depthwise_kernel_are_the_second_last_axis():
    values = weights(3, 3, 1, 600).reshape(3, 3, 600, 1)

    compressed = store_weights(graph_of(values), "int8")

    half_a_step = np.abs(values).max(axis=(0, 1), keepdims=True) / 127 / 2
    assert (np.abs(run(compressed) - values) <= half_a_step * 1.001).all()


@pytest.mark.parametrize("values", [weights(40, 40), weights(5000)], ids=["few", "vector"])
def test_small_arrays_and_vectors_stay_float32(values: np.ndarray):
    assert store_weights(graph_of(values), "int8") == graph_of(values)


def test_storing_as_float32_changes_nothing():
    assert store_weights(graph_of(weights(80, 100)), "float32") == graph_of(weights(80, 100))


@pytest.mark.parametrize("precision", ["float16", "bfloat16", "int8"])
def test_widening_is_folded_when_a_graph_is_loaded(precision: str):
    operations = operations_after_folding(store_weights(graph_of(weights(3, 3, 80, 100)), precision))

    assert operations == {"Const", "Placeholder", "AddV2"}


def test_widening_in_one_piece_would_not_be_folded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(train.export.graph_rewrites, "CHUNK", 10**9)

    assert "Cast" in operations_after_folding(store_weights(graph_of(weights(3, 3, 80, 100)), "int8"))


@pytest.fixture(scope="module")
def classifier() -> keras.Model:
    """A network with batch normalisation statistics, and weights large enough to be compressed."""
    keras.utils.set_random_seed(0)
    x = image = keras.Input((12, 12, 3))
    x = keras.layers.Rescaling(1 / 64, offset=-2.0)(x)
    for filters in (24, 48):
        x = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.Dense(6, name=HEAD)(keras.layers.GlobalAveragePooling2D(name=POOL)(x))
    model = keras.Model(image, keras.layers.Softmax()(x))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (40, 12, 12, 3), np.uint8)


def predict_with_keras(model: keras.Model, images: np.ndarray) -> np.ndarray:
    return np.asarray(model(images.astype(np.float32), training=False))


def test_a_frozen_network_returns_the_probabilities_of_keras(classifier: keras.Model, images: np.ndarray):
    network = freeze_model(classifier, SPEC)

    np.testing.assert_allclose(network.predict(images), predict_with_keras(classifier, images), atol=1e-5)
    assert network.precision == FULL_PRECISION


@pytest.mark.parametrize(
    "precision", REDUCED_PRECISIONS, ids=lambda precision: f"{precision.weights} {precision.compute}"
)
def test_reduced_precision_changes_probabilities_slightly(
    classifier: keras.Model, images: np.ndarray, precision: ExportPrecision
):
    network = freeze_model(classifier, SPEC, precision)

    assert network.precision == precision
    difference = np.abs(network.predict(images) - predict_with_keras(classifier, images)).max()
    assert 0 < difference < 0.05


def graph_of_network(network: FrozenNetwork) -> graph_pb2.GraphDef:
    """The nodes of all functions in the network's graph."""
    library = network.function.graph.as_graph_def().library.function
    return graph_pb2.GraphDef(node=[node for function in library for node in function.node_def])


def dtypes(graph: graph_pb2.GraphDef, operation: str) -> set[tf.DType]:
    return {tf.as_dtype(node.attr["T"].type) for node in graph.node if node.op == operation}


def test_convolutions_use_bfloat16_and_softmax_float32(classifier: keras.Model):
    graph = graph_of_network(freeze_model(classifier, SPEC, ExportPrecision("float32", "bfloat16")))

    assert dtypes(graph, "Conv2D") == {tf.bfloat16}
    assert dtypes(graph, "Softmax") == {tf.float32}


def test_bfloat16_arithmetic_keeps_bfloat16_weights_small(classifier: keras.Model):
    plain, half = (
        graph_of_network(freeze_model(classifier, SPEC, precision)).ByteSize()
        for precision in (FULL_PRECISION, ExportPrecision("bfloat16", "bfloat16"))
    )

    assert half < plain * 0.8  # in this small network the structure is about as large as the weights


def test_batch_normalisation_is_folded_into_the_convolution():
    with tf.Graph().as_default() as graph:
        kernel = tf.constant(weights(1, 1, 64, 64))
        fed = tf.compat.v1.placeholder(tf.float32, (None, 4, 4, 64), "fed")
        tf.identity(tf.nn.conv2d(fed, kernel, 1, "SAME") * tf.constant(weights(64)), name="result")

    operations = [node.op for node in fold_constants(graph.as_graph_def(), ["result"]).node]

    assert "Mul" not in operations
    assert operations.count("Conv2D") == 1


@pytest.mark.parametrize(
    ("mean", "std", "shape"),
    [
        ((123.0, 117.0, 104.0), (58.0, 57.0, 57.5), (15,)),
        ((127.5, 127.5, 127.5), (128.0, 128.0, 128.0), ()),
    ],
)
def test_pixels_are_normalised_by_whole_rows(mean: tuple[float, ...], std: tuple[float, ...], shape: tuple[int, ...]):
    with tf.Graph().as_default() as graph:
        fed = tf.compat.v1.placeholder(tf.float32, (None, 4, 5, 3), "fed")
        tf.identity(tf.constant(255.0) - (fed - tf.constant(mean)) / tf.constant([[[std]]]), name="result")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.float32)

    rewritten = normalise_rows(graph.as_graph_def())

    with tf.Graph().as_default() as imported, tf.compat.v1.Session(graph=imported) as session:
        tf.graph_util.import_graph_def(rewritten, name="")
        normalised = session.run("result:0", {"fed:0": pixels})
        operations = [operation for operation in imported.get_operations() if operation.type in {"Sub", "RealDiv"}]
    constants = [tensor for operation in operations for tensor in operation.inputs if tensor.op.type == "Const"]
    np.testing.assert_array_equal(normalised, np.float32(255) - (pixels - np.float32(mean)) / np.float32(std))
    assert {tuple(tensor.shape) for tensor in constants} == {shape, ()}


def test_numbers_for_the_channels_of_features_stay():
    with tf.Graph().as_default() as graph:
        fed = tf.compat.v1.placeholder(tf.float32, (None, 4, 4, 64), "fed")
        tf.multiply(fed, tf.constant(weights(64)), name="result")

    assert normalise_rows(graph.as_graph_def()) == graph.as_graph_def()


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_compressed_network_can_be_stored_in_another_type(
    classifier: keras.Model, images: np.ndarray, precision: str
):
    compressed = freeze_model(classifier, SPEC, ExportPrecision("float16"))

    again = freeze_function(compressed, SPEC, ExportPrecision(precision))

    directly = freeze_model(classifier, SPEC, ExportPrecision(precision))
    assert graph_of_network(again).ByteSize() == pytest.approx(graph_of_network(directly).ByteSize(), rel=0.2)
    np.testing.assert_allclose(again.predict(images), directly.predict(images), atol=1e-2)


def test_a_network_without_global_pooling_has_no_heat_maps(images: np.ndarray):
    keras.utils.set_random_seed(0)
    image = keras.Input((12, 12, 3))
    model = keras.Model(image, keras.layers.Dense(4, activation="softmax")(keras.layers.Flatten()(image)))

    network = freeze_model(model, SPEC)

    assert not network.explains
    np.testing.assert_allclose(network.predict(images), predict_with_keras(model, images), atol=1e-5)


def test_a_network_with_swish_has_no_gradients_that_cannot_be_saved():
    image = keras.Input(SPEC.shape)
    x = keras.layers.Conv2D(4, 3, activation="silu")(image)
    model = keras.Model(image, keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x)))

    nodes = freeze_model(model, SPEC).function.graph.as_graph_def(add_shapes=False)

    functions = [node for function in nodes.library.function for node in function.node_def]
    assert not [node.name for node in (*nodes.node, *functions) if "_gradient_op_type" in node.attr]
