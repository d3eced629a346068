"""The TensorFlow Lite form holds the model contract, and survives whatever TensorFlow Serving can hand it."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2

from train.data.examples import Inputs, to_inputs
from train.export.export import export_network
from train.export.forms import QuantizationLossError, Samples, accuracy_loss, choose_forms, measure_forms
from train.export.frozen_network import PROBABILITIES, FrozenNetwork, freeze_function, freeze_model
from train.export.golden import golden_evaluation, read_golden
from train.export.precision import ExportPrecision, TfliteOptions
from train.export.savedmodel import Version, VersionError, load_version
from train.export.tflite_conversion import convert_float32, convert_int8, layer_name
from train.export.tflite_file import TABLE, TfliteError, build_table
from train.export.tflite_model import MODEL_FILE, TfliteModel, load_tflite
from vision.card import InputSpec

SPEC = InputSpec(height=16, width=16)
CLASSES = 3


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (30, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def network() -> FrozenNetwork:
    return build_network(CLASSES)


def build_network(classes: int) -> FrozenNetwork:
    """A network whose weights are variables until it is frozen, and that can be explained."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = keras.layers.Rescaling(1 / 64)(image)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = keras.layers.Dense(classes)(keras.layers.GlobalAveragePooling2D()(x))
    return freeze_model(keras.Model(image, keras.layers.Softmax()(x)), SPEC)


@pytest.fixture(scope="module")
def int8(network: FrozenNetwork, images: np.ndarray) -> TfliteModel:
    return convert_int8(network, SPEC, images).model


def parse(content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(content), 0))


def operations(content: bytes) -> list[tuple[str, list[int]]]:
    """Name of each operation, and the types of its inputs."""
    model = parse(content)
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    (graph,) = model.subgraphs
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    return [
        (names[codes[operator.opcodeIndex]], [graph.tensors[index].type for index in operator.inputs if index >= 0])
        for operator in graph.operators
    ]


def read_table(content: bytes) -> dict[str, meta_graph_pb2.SignatureDef]:
    model = parse(content)
    (entry,) = [entry for entry in model.metadata if entry.name == TABLE]
    table = flexbuffers.GetRoot(bytes(model.buffers[entry.buffer].data)).AsMap
    pairs = zip(table.Keys, table.Values, strict=True)
    return {key.AsKey: meta_graph_pb2.SignatureDef.FromString(bytes(value.AsStringBytes)) for key, value in pairs}


class RawInterpreter:
    """An interpreter whose inputs keep their content between requests, as in TensorFlow Serving."""

    def __init__(self, content: bytes) -> None:
        self._interpreter = Interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._table = read_table(content)

    def request(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        infos = self._table[signature]
        indices = {details["name"]: details["index"] for details in self._interpreter.get_input_details()}
        for name, value in inputs.items():
            self._interpreter.resize_tensor_input(indices[infos.inputs[name].name], value.shape)
        self._interpreter.allocate_tensors()
        for name, value in inputs.items():
            self._interpreter.set_tensor(indices[infos.inputs[name].name], value)
        self._interpreter.invoke()
        outputs = {details["name"]: details["index"] for details in self._interpreter.get_output_details()}
        return {name: self._interpreter.get_tensor(outputs[f"{info.name}"]) for name, info in infos.outputs.items()}


def ids(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int32)


def test_the_table_names_the_tensors_of_one_graph_with_their_true_types_and_shapes(int8: TfliteModel):
    table = {
        name: tuple(
            {
                key: (tf.as_dtype(info.dtype), *tf.TensorShape(info.tensor_shape).as_list())
                for key, info in infos.items()
            }
            for infos in (entry.inputs, entry.outputs)
        )
        for name, entry in read_table(int8.content).items()
    }
    image = (tf.uint8, None, 16, 16, 3)

    assert table == {
        "serving_default": ({"image": image}, {"probabilities": (tf.float32, None, CLASSES)}),
        "describe": ({"index": (tf.int32, None)}, {"card": (tf.string, None)}),
        "explain": ({"image": image, "class_id": (tf.int32, None)}, {"heatmap": (tf.float32, None, 8, 8)}),
    }
    assert len(parse(int8.content).subgraphs) == 1


def test_inputs_have_the_shape_of_one_image_before_the_first_request(int8: TfliteModel):
    (graph,) = parse(int8.content).subgraphs

    shapes = {graph.tensors[index].name: graph.tensors[index].shape.tolist() for index in graph.inputs}

    assert sorted(shapes.values()) == [[1], [1], [1, 16, 16, 3]]


def test_the_weights_are_constants(int8: TfliteModel):
    assert not [name for name, _ in operations(int8.content) if "VAR" in name]


def test_convolutions_are_int8_and_divisions_and_softmax_are_float(int8: TfliteModel):
    types = {name: inputs[0] for name, inputs in operations(int8.content)}

    assert types["CONV_2D"] == types["FULLY_CONNECTED"] == schema.TensorType.INT8
    assert types["DIV"] == types["SOFTMAX"] == schema.TensorType.FLOAT32


def test_int8_predicts_and_explains_as_the_network_does(network: FrozenNetwork, int8: TfliteModel, images: np.ndarray):
    expected = network(tf.constant(images))
    float32 = convert_float32(network, SPEC)

    assert 0 < np.abs(int8.predict(images) - expected["probabilities"]).max() < 0.05
    np.testing.assert_allclose(float32.predict(images), expected["probabilities"], atol=1e-5)
    np.testing.assert_allclose(int8.predict(images).sum(axis=1), 1, atol=1e-5)

    class_id = ids(*range(30)) % CLASSES
    maps = int8.run(images, class_id)["heatmap"]

    assert np.abs(maps - float32.run(images, class_id)["heatmap"]).mean() < 0.05


@pytest.mark.parametrize("class_id", [ids(99), ids(-1, 0), ids(*range(20)), ids(), ids(7).reshape(1, 1)])
def test_no_request_fails_by_what_an_earlier_one_left(int8: TfliteModel, images: np.ndarray, class_id: np.ndarray):
    raw = RawInterpreter(int8.content)
    expected = int8.predict(images)

    raw.request("explain", image=images[:5], class_id=class_id)
    probabilities = raw.request("serving_default", image=images[:8])["probabilities"]
    cards = raw.request("describe", index=ids(5, -1, 0))["card"]
    probabilities_again = raw.request("serving_default", image=images[8:9])["probabilities"]

    np.testing.assert_allclose(probabilities, expected[:8], atol=1e-6)
    np.testing.assert_allclose(probabilities_again, expected[8:9], atol=1e-6)
    assert cards.tolist() == [b"{}"] * 3


def test_missing_class_ids_are_filled_and_unknown_ones_clipped(int8: TfliteModel, images: np.ndarray):
    maps = int8.run(images[:3], ids(99, 1))["heatmap"]

    np.testing.assert_array_equal(maps, int8.run(images[:3], ids(CLASSES - 1, 1, 0))["heatmap"])


@pytest.mark.parametrize("classes", [2, 7])
def test_unknown_class_ids_are_clipped_for_numbers_of_classes_that_resemble_an_activation(classes: int):
    model = convert_float32(build_network(classes), SPEC)
    interpreter = RawInterpreter(model.content)
    image = np.full((1, 16, 16, 3), 200, np.uint8)

    maps = [interpreter.request("explain", image=image, class_id=ids(number)) for number in (classes - 1, classes + 5)]

    np.testing.assert_array_equal(maps[0]["heatmap"], maps[1]["heatmap"])


@pytest.mark.parametrize("shape", [(), (10,), (15, 16, 3), (1, 1, 1, 1), (2, 15, 16, 3)])
def test_a_wrong_shape_is_an_error_and_the_next_request_is_right(
    int8: TfliteModel, images: np.ndarray, shape: tuple[int, ...]
):
    raw = RawInterpreter(int8.content)

    with pytest.raises(RuntimeError, match="RESHAPE"):
        raw.request("serving_default", image=np.zeros(shape, np.uint8))

    probabilities = raw.request("serving_default", image=images[:2])["probabilities"]

    np.testing.assert_allclose(probabilities, int8.predict(images[:2]), atol=1e-6)


def test_images_in_one_row_of_bytes_are_reshaped(int8: TfliteModel, images: np.ndarray):
    probabilities = RawInterpreter(int8.content).request("serving_default", image=images[:2].ravel())["probabilities"]

    np.testing.assert_allclose(probabilities, int8.predict(images[:2]), atol=1e-6)


def test_a_signature_that_tensorflow_serving_would_cut_off_is_refused():
    scalar = meta_graph_pb2.SignatureDef()
    scalar.outputs["card"].tensor_shape.SetInParent()

    with pytest.raises(TfliteError, match="the signature describe has a scalar"):
        build_table({"describe": scalar})


def test_a_network_without_heat_maps_has_two_signatures(images: np.ndarray):
    weights = tf.constant(np.random.default_rng(1).normal(size=(768, CLASSES)), tf.float32)
    network = freeze_function(
        lambda image: {
            "probabilities": tf.nn.softmax(tf.reshape(tf.cast(image, tf.float32), [-1, 768]) @ weights / 1e4)
        },
        SPEC,
    )

    model = convert_int8(network, SPEC, images).model

    assert read_table(model.content).keys() == {"serving_default", "describe"}
    assert np.abs(model.predict(images) - network.predict(images)).max() < 0.05


def predicted(network: FrozenNetwork, images: np.ndarray) -> Samples:
    """Images whose true classes are those that the network predicts."""
    targets = np.eye(CLASSES, dtype=np.float32)[network.predict(images).argmax(axis=1)]
    return Samples(Inputs(images, targets))


@pytest.fixture(scope="module")
def fragile() -> FrozenNetwork:
    """A network that int8 destroys: the outputs that decide are tiny beside others of the same layer."""
    image = keras.Input((16, 16, 3))
    colour = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(image))
    widen = keras.layers.Dense(6, activation="relu", name="widen")
    decide = keras.layers.Dense(3, activation="softmax", name="decide")
    model = keras.Model(image, decide(widen(colour)))
    widen.set_weights([np.hstack([np.eye(3), 300 * np.eye(3)]), np.zeros(6)])
    decide.set_weights([np.vstack([100 * np.eye(3), np.zeros((3, 3))]), np.zeros(3)])
    return freeze_model(model, SPEC)


def test_int8_that_loses_too_much_is_refused_with_the_layers_that_lose_most(fragile: FrozenNetwork, images: np.ndarray):
    samples = predicted(fragile, images)

    with pytest.raises(QuantizationLossError) as refusal:
        choose_forms(fragile, SPEC, samples, TfliteOptions("int8"))

    message, *layers = str(refusal.value).splitlines()
    assert re.match(r"int8 costs \S+ points of accuracy, measured on 30 images; at most 1 are accepted", message)
    assert "--max-loss" in message
    assert re.fullmatch(r"  decide(_\d+)?: \d+\.\d", layers[0]), layers

    forms = choose_forms(fragile, SPEC, samples, TfliteOptions("auto"))

    assert forms.tflite is None
    assert "SavedModel only: int8 costs" in forms.decision
    assert choose_forms(fragile, SPEC, samples, TfliteOptions("int8", max_loss=100)).served == "tflite"


def test_layers_that_lose_accuracy_stay_in_float32():
    random = np.random.default_rng(0)
    grays = np.tile(random.integers(0, 256, (60, 1, 1, 1), np.uint8), (1, 16, 16, 3))
    image = keras.Input((16, 16, 3))
    weigh = keras.layers.Conv2D(16, 1, activation="relu6", name="weigh")
    decide = keras.layers.Dense(CLASSES, activation="softmax", name="decide")
    features = keras.layers.GlobalAveragePooling2D()(weigh(keras.layers.Rescaling(1 / 255)(image)))
    model = keras.Model(image, decide(features))
    kernel = random.normal(0, 300, (1, 1, 3, 16))  # of a gray pixel only their sum counts, which rounding changes
    kernel += random.uniform(-2, 2, 16) - kernel.mean(axis=2, keepdims=True)
    weigh.set_weights([kernel, np.full(16, 3.0)])
    contributions = random.normal(0, 1, (16, CLASSES))
    mean = np.asarray(keras.Model(image, features)(grays.astype(np.float32))).mean(axis=0)
    decide.set_weights([contributions, -mean @ contributions])
    network = freeze_model(model, SPEC)
    samples = predicted(network, grays)
    plain = samples.evaluate(convert_int8(network, SPEC, grays).model.predict)

    forms = choose_forms(network, SPEC, samples, TfliteOptions("int8", max_loss=100))

    assert forms.tflite is not None
    assert re.search(r", with weigh_\d+(, decide_\d+)? in float32$", forms.decision), forms.decision
    assert samples.evaluate(forms.tflite.predict).accuracy > plain.accuracy + 0.1


def test_without_labels_the_loss_is_called_an_estimate(fragile: FrozenNetwork, images: np.ndarray):
    samples = dataclasses.replace(predicted(fragile, images), are_labelled=False)

    with pytest.raises(QuantizationLossError, match="estimated from 30 images without labels"):
        choose_forms(fragile, SPEC, samples, TfliteOptions("int8"))


def test_equal_accuracy_has_no_minus_sign(network: FrozenNetwork, images: np.ndarray):
    samples = predicted(network, images[:1])

    assert choose_forms(network, SPEC, samples, TfliteOptions("int8")).decision.endswith("accuracy +0.00 points")


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("PartitionedCall/PartitionedCall/functional_1/stem_relu_1/Relu6;PartitionedCall/x/y/z", "stem_relu_1"),
        ("PartitionedCall/functional_1_1/bn_1/batchnorm/add_1;", "bn_1/batchnorm"),
        ("StatefulPartitionedCall/model/conv2d/BiasAdd", "conv2d"),
        ("PartitionedCall/sequential_1/base_1/conv2d_1_2/Relu", "base_1/conv2d_1_2"),
        ("PartitionedCall:1", None),
        ("einsum/Einsum", None),
        ("sub", None),
    ],
)
def test_a_layer_is_named_as_in_the_graph(tensor: str, layer: str | None):
    assert layer_name(tensor) == layer


def test_int8_is_taken_where_it_is_cheaper(network: FrozenNetwork, images: np.ndarray):
    samples = predicted(network, images)

    forms = choose_forms(network, SPEC, samples, TfliteOptions("auto", max_loss=100))

    assert forms.tflite is not None
    assert forms.tflite.weights == "int8"
    assert "SavedModel and TensorFlow Lite in int8" in forms.decision


def test_a_network_that_computes_in_bfloat16_is_not_converted(network: FrozenNetwork, images: np.ndarray):
    half = freeze_function(network, SPEC, ExportPrecision("bfloat16", "bfloat16"))
    samples = predicted(network, images)

    assert choose_forms(half, SPEC, samples, TfliteOptions("auto")).tflite is None
    with pytest.raises(TfliteError, match="computes in bfloat16 cannot be converted"):
        choose_forms(half, SPEC, samples, TfliteOptions("int8"))


def test_a_network_with_an_operation_that_tensorflow_lite_lacks_has_no_second_form(
    network: FrozenNetwork, images: np.ndarray
):
    def call(image: tf.Tensor) -> dict[str, tf.Tensor]:
        size, half = tf.constant([*SPEC.shape[:2]]), tf.constant([0.5, 0.5])
        scaled = tf.raw_ops.ScaleAndTranslate(
            images=tf.cast(image, tf.float32), size=size, scale=half, translation=half, kernel_type="triangle"
        )
        scores = tf.reduce_mean(scaled, axis=(1, 2))[:, :1]
        return {PROBABILITIES: tf.nn.softmax(tf.concat([scores, -scores], axis=1))}

    scaling, samples = freeze_function(call, SPEC), predicted(network, images)

    forms = choose_forms(scaling, SPEC, samples, TfliteOptions("auto"))
    assert (forms.tflite, "it lacks ScaleAndTranslate" in forms.decision) == (None, True)
    with pytest.raises(TfliteError, match="it lacks ScaleAndTranslate for the types of its tensors; use --tflite none"):
        choose_forms(scaling, SPEC, samples, TfliteOptions("float32"))


def test_without_true_classes_the_loss_is_the_one_to_expect(images: np.ndarray):
    reference = np.array([[0.6, 0.4], [0.9, 0.1]], np.float32)
    other = np.array([[0.4, 0.6], [0.9, 0.1]], np.float32)
    inputs = Inputs(images[:2], np.zeros((2, 2), np.float32))

    losses = {
        thresholds: accuracy_loss(
            *(samples.evaluate(lambda _, scores=scores: scores) for scores in (reference, other)), samples
        )
        for thresholds in (None, 0.5)
        for samples in [Samples(inputs, thresholds, are_labelled=False)]
    }

    assert losses == {None: pytest.approx(10, abs=1e-4), 0.5: pytest.approx(10, abs=1e-4)}


def test_the_metrics_compare_every_form_on_every_set(network: FrozenNetwork, int8: TfliteModel, images: np.ndarray):
    forms = choose_forms(network, SPEC, predicted(network, images), TfliteOptions("int8", max_loss=100))
    few = Samples(predicted(network, images[:4]).inputs, are_labelled=False)

    measurement = measure_forms(forms, {"test": predicted(network, images), "few": few})

    metrics = measurement.metrics
    difference = np.abs(int8.predict(images) - network.predict(images))
    assert metrics["form"] == "tflite"
    assert metrics["forms"]["saved_model"]["accuracy"] == 1
    assert metrics["forms"]["saved_model"]["few"] == {"images": 4}
    assert metrics["forms"]["tflite"]["largest_difference"] == pytest.approx(difference.max(), abs=1e-6)
    agreement = {"same_class", "largest_difference", "mean_difference", "mean_difference_of_largest"}
    assert metrics["forms"]["tflite"]["few"].keys() == {"images"} | agreement
    np.testing.assert_allclose(measurement.evaluations["test"].probabilities, int8.predict(images), atol=1e-6)


@pytest.fixture(scope="module")
def exported(version: Version, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """A version of `shapes` in both forms."""
    network = freeze_function(version.network, version.card.input)
    examples = [golden.example for golden in read_golden(version.path)]
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), np.uint8)
    model = convert_int8(network, version.card.input, images).model
    base = tmp_path_factory.mktemp("forms") / "shapes"
    return load_version(export_network(network, version.card, examples, base, network.predict, model).path)


def test_a_version_in_two_forms_has_the_same_card_in_both(exported: Version):
    model = load_tflite(exported.path, exported.card)

    assert exported.card.provenance["tflite"] == "int8"
    assert model is not None
    assert model.describe() == exported.card.to_json().encode()


def test_golden_images_record_the_probabilities_of_both_forms(exported: Version):
    goldens = read_golden(exported.path)
    model = load_tflite(exported.path, exported.card)
    images = to_inputs([golden.example for golden in goldens], exported.card.input, 2).images

    assert model is not None
    np.testing.assert_array_equal(model.predict(images), golden_evaluation(goldens, form="tflite").probabilities)
    np.testing.assert_allclose(exported.predict(images), golden_evaluation(goldens).probabilities, atol=1e-6)


@pytest.mark.parametrize("weights", [None, "int4"])
def test_a_card_that_does_not_tell_the_weights_is_reported(exported: Version, weights: str | None):
    card = dataclasses.replace(exported.card, provenance={"tflite": weights} if weights else {})

    with pytest.raises(VersionError, match=r"model\.tflite: expected provenance\.tflite .* int8, float32, received"):
        load_tflite(exported.path, card)


@pytest.mark.parametrize("size", [0, 10, 5000])
def test_a_damaged_file_is_noticed_when_it_is_loaded(exported: Version, tmp_path: Path, size: int):
    (tmp_path / MODEL_FILE).write_bytes((exported.path / MODEL_FILE).read_bytes()[:size])

    with pytest.raises(VersionError, match=r"model\.tflite is damaged; export the version again"):
        load_tflite(tmp_path, exported.card)


def test_the_file_of_another_model_is_noticed_when_it_is_loaded(exported: Version):
    card = dataclasses.replace(exported.card, labels=("x", "y", "z"))

    with pytest.raises(VersionError, match=r"model\.tflite and the SavedModel in the same folder have different cards"):
        load_tflite(exported.path, card)


def test_a_damaged_file_is_noticed_before_the_version_appears(version: Version, exported: Version, tmp_path: Path):
    examples = [golden.example for golden in read_golden(version.path)]
    network = freeze_function(version.network, version.card.input)
    content = (exported.path / MODEL_FILE).read_bytes()

    with pytest.raises(ValueError, match="not a valid Flatbuffer"):
        export_network(
            network, version.card, examples, tmp_path / "shapes", network.predict, TfliteModel(content[:1000], "int8")
        )

    assert not list(tmp_path.rglob("*.tflite"))
