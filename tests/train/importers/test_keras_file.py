"""Files of Keras 2 are read as those of Keras 3, without running code from them."""

import json
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from train.importers.cards import ImportModelError
from train.importers.comparison import compare_record
from train.importers.foreign import classify, from_keras
from train.importers.keras2_config import convert_config
from train.importers.keras_file import load_keras
from vision.card import Card, InputSpec

RECORDED = Path(__file__).parents[1] / "recorded"


def layer(kind: str, name: str, calls: Any = None, **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": name, **config}, "name": name, "inbound_nodes": calls or []}


def model(*layers: dict[str, Any], kind: str = "Functional", **ends: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": "model", "layers": list(layers), **ends}}


def operator(function: str, first: Any, **options: Any) -> dict[str, Any]:
    return layer("TFOpLambda", f"tf.{function}", [[*first, {"name": None, **options}]], function=function)


def test_a_model_of_keras_2_answers_as_there():
    card = Card.from_json(
        json.dumps(
            {
                "name": "photos",
                "labels": ["beach", "city", "sunset", "trees"],
                "task": "multilabel",
                "input": {"height": 16, "width": 16, "dtype": "float32"},
            }
        )
    )

    file = load_keras(RECORDED / "keras2_multilabel.h5", card.input)
    assert not file.framework, "Keras 3 cannot tell what Keras 2 returns"
    classifier = classify(from_keras(file.network, card), card)

    comparison = compare_record(classifier, RECORDED / "keras2_answers.npz")
    assert comparison.framework == "Keras 2.20.1"
    assert comparison.largest_difference < 1e-5
    assert classifier.choice.note == "The network ends in sigmoid; none was added."
    assert classifier.complete().network.explains


@pytest.mark.parametrize(
    ("function", "config"),
    [
        ("__operators__.add", {"scale": 1.0, "offset": 4}),
        ("math.subtract", {"scale": 1.0, "offset": -4}),
        ("math.multiply", {"scale": 4, "offset": 0.0}),
        ("math.truediv", {"scale": 0.25, "offset": 0.0}),
    ],
)
def test_an_operator_with_a_number_becomes_a_rescaling(function: str, config: dict[str, Any]):
    converted = convert_config(model(operator(function, ["image", 0, 0], y=4)))

    (rescaling,) = converted["config"]["layers"]
    assert rescaling["class_name"] == "Rescaling"
    assert rescaling["config"] == {"name": f"tf.{function}", **config}
    assert rescaling["inbound_nodes"] == [[["image", 0, 0, {}]]]


def test_an_operator_between_tensors_becomes_a_merging_layer():
    converted = convert_config(model(operator("math.multiply", ["a", 0, 0], y=["b", 0, 0])))

    (merging,) = converted["config"]["layers"]
    assert merging["class_name"] == "Multiply"
    assert merging["inbound_nodes"] == [[["a", 0, 0, {}], ["b", 0, 0, {}]]]


@pytest.mark.parametrize("function", ["io.read_file", "math.truediv"])
def test_a_function_without_a_layer_is_refused(function: str):
    with pytest.raises(ValueError, match=f"{function}|divide"):
        convert_config(model(operator(function, ["a", 0, 0], y=["b", 0, 0])))


def test_slashes_leave_the_names_and_the_references_to_them():
    converted = convert_config(model(layer("Conv2D", "a/b"), layer("ReLU", "c", [[["a/b", 0, 0, {}]]])))

    first, second = converted["config"]["layers"]
    assert first["config"]["name"] == "a_b"
    assert second["inbound_nodes"] == [[["a_b", 0, 0, {}]]]


def test_calls_of_an_inner_model_are_counted_from_zero():
    inner = model(layer("ReLU", "relu"))
    inner["config"]["name"] = "inner"

    converted = convert_config(model(inner, layer("ReLU", "next", [[["inner", 1, 0, {}]]])))

    assert converted["config"]["layers"][1]["inbound_nodes"] == [[["inner", 0, 0, {}]]]


def test_surplus_members_of_a_depthwise_convolution_are_left_out():
    original = model(layer("DepthwiseConv2D", "depthwise", groups=1, kernel_size=[3, 3]))

    converted = convert_config(original)

    assert converted["config"]["layers"][0]["config"] == {"name": "depthwise", "kernel_size": [3, 3]}
    assert original["config"]["layers"][0]["config"]["groups"] == 1


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("RandomFlip", {"mode": "horizontal", "rng_type": "stateful"}),
        ("SpatialDropout2D", {"rate": 0.1, "noise_shape": None}),
        ("Dense", {"units": 3, "dtype": {"class_name": "Policy", "config": {"name": "mixed_float16"}}}),
    ],
)
def test_layers_of_augmentation_and_of_mixed_precision_are_read(kind: str, config: dict[str, Any]):
    converted = convert_config(model(layer(kind, "a", **config)))

    (description,) = converted["config"]["layers"]
    built = getattr(keras.layers, kind).from_config(description["config"])
    assert built.compute_dtype == "float32"


def test_an_activation_that_keras_3_computes_otherwise_is_refused():
    with pytest.raises(ValueError, match="hard_sigmoid in the layer gate"):
        convert_config(model(layer("Dense", "gate", activation="hard_sigmoid", units=3)))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_base_model_and_its_head_become_one_model_with_the_same_weights(tmp_path: Path, suffix: str):
    keras.utils.set_random_seed(0)
    base = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.GlobalMaxPooling2D()])
    image = keras.Input((8, 8, 3))
    outer = keras.Model(image, keras.layers.Dense(3)(base(keras.layers.Rescaling(1 / 2)(image), training=False)))
    outer.save(tmp_path / f"model{suffix}")

    loaded = load_keras(tmp_path / f"model{suffix}", InputSpec(height=8, width=8))

    assert loaded.framework == f"Keras {keras.__version__}"
    assert [type(layer).__name__ for layer in loaded.network.layers[1:]] == [
        "Rescaling",
        "Conv2D",
        "GlobalMaxPooling2D",
        "Dense",
    ]
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3))
    np.testing.assert_allclose(loaded.network(pixels), outer(pixels), rtol=1e-6)
    np.testing.assert_array_equal(loaded.original(pixels), outer(pixels))


def test_a_sequential_model_without_an_input_shape_is_built_for_the_card(tmp_path: Path):
    sequential = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.GlobalAveragePooling2D()])
    sequential(np.zeros((1, 8, 8, 3)))
    sequential.save(tmp_path / "model.keras")

    loaded = load_keras(tmp_path / "model.keras", InputSpec(height=8, width=8))

    assert loaded.network.inputs[0].shape == (None, 8, 8, 3)
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3))
    np.testing.assert_array_equal(loaded.original(pixels), sequential(pixels))


@pytest.mark.parametrize("is_list", [False, True])
@pytest.mark.parametrize("version", [{"keras_version": np.bytes_(b"2.2.4")}, {"keras_version": "2.2.4-tf"}, {}])
def test_a_sequential_model_of_the_first_versions_of_keras_2_is_read(
    tmp_path: Path, version: dict[str, Any], *, is_list: bool
):
    layers = [
        layer("Conv2D", "conv", filters=4, kernel_size=[3, 3], activation="relu", batch_input_shape=[None, 8, 8, 3]),
        layer("Flatten", "flat"),
    ]
    config = {"class_name": "Sequential", "config": layers if is_list else {"name": "model", "layers": layers}}
    kernel = np.random.default_rng(0).normal(size=(3, 3, 3, 4))
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file.attrs.update(version)
        file.attrs["model_config"] = np.bytes_(json.dumps(config).encode())
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = [np.bytes_(b"conv"), np.bytes_(b"flat")]
        weights.create_group("flat").attrs["weight_names"] = np.empty(0, "S1")
        conv = weights.create_group("conv")
        conv.attrs["weight_names"] = [np.bytes_(b"conv/kernel:0"), np.bytes_(b"conv/bias:0")]
        conv["conv/kernel:0"], conv["conv/bias:0"] = kernel, np.zeros(4)

    loaded = load_keras(tmp_path / "model.h5", InputSpec(height=8, width=8))

    assert not loaded.framework
    assert loaded.network.inputs[0].shape == (None, 8, 8, 3)
    np.testing.assert_allclose(loaded.network.get_weights()[0], kernel, rtol=1e-6)


def test_a_class_of_its_own_is_refused(tmp_path: Path):
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    own = Own()
    own(np.zeros((1, 4)))
    own.save(tmp_path / "model.keras")

    with pytest.raises(ImportModelError, match="without custom layers"):
        load_keras(tmp_path / "model.keras", InputSpec(height=8, width=8))
