"""ONNX models become networks with the same answers; OpenCV's own reader of ONNX is the reference."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from tests.support.onnx_files import OnnxBuilder
from train.cli.main import app
from train.importers.cards import ImportModelError
from train.importers.foreign import classify
from train.importers.onnx_model import OnnxError, from_onnx, translate
from train.importers.onnx_value import Value
from train.weights.onnx_file import EXTERNAL, MESSAGES, read_onnx_model
from train.weights.tensors import WeightsFileError
from vision.card import Card

SIDE, LABELS = 16, ["a", "b", "c", "d"]
SPEC = {"height": SIDE, "width": SIDE, "dtype": "float32", "layout": "NCHW", "std": [64.0, 64.0, 64.0]}
CARD = {"name": "letters", "labels": LABELS, "input": SPEC}
IMAGE: list[int | None] = [None, 3, SIDE, SIDE]
Build = Callable[[OnnxBuilder], str]


def dense_head(builder: OnnxBuilder, x: str, channels: int) -> str:
    pooled = builder.call("Flatten", builder.call("GlobalAveragePool", x))
    kernel, bias = builder.weights(len(LABELS), channels), builder.weights(len(LABELS))
    return str(builder.call("Gemm", pooled, kernel, bias, transB=1))


def residual(builder: OnnxBuilder) -> str:
    x = builder.call("Conv", "image", builder.weights(8, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1])
    x = builder.call("Relu", builder.batch_normalization(x, 8))
    x = builder.call("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    y = builder.call("Conv", x, builder.weights(8, 8, 3, 3), builder.weights(8), pads=[1, 1, 1, 1])
    return dense_head(builder, builder.call("Relu", builder.call("Add", x, y)), 8)


def mobile(builder: OnnxBuilder) -> str:
    x = builder.call("Conv", "image", builder.weights(8, 3, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2])
    x = builder.call("Clip", x, min=0.0, max=6.0)
    x = builder.call("Conv", x, builder.weights(8, 1, 3, 3), pads=[1, 1, 1, 1], group=8)
    squeezed = builder.call("Conv", builder.call("GlobalAveragePool", x), builder.weights(8, 8, 1, 1))
    gate = builder.call("Sigmoid", squeezed)
    return dense_head(builder, builder.call("Mul", x, gate), 8)


def inception(builder: OnnxBuilder) -> str:
    x = builder.call("Conv", "image", builder.weights(6, 3, 3, 3), pads=[0, 1, 2, 1])
    x = builder.call("LRN", builder.call("LeakyRelu", x, alpha=0.2), size=3)
    left, right = builder.call("Split", x, builder.constant([2, 4]), outputs=2, axis=1)
    right = builder.call("Conv", right, builder.weights(4, 2, 3, 3), pads=[1, 1, 1, 1], group=2)
    left = builder.call("AveragePool", left, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1])
    return dense_head(builder, builder.call("Concat", left, right, axis=1), 6)


def with_shapes(builder: OnnxBuilder) -> str:
    x = builder.call("Conv", "image", builder.weights(4, 3, 5, 5), strides=[3, 3])
    batch = builder.call("Gather", builder.call("Shape", x), builder.constant(np.int64(-4)), axis=0)
    rows = builder.call("Unsqueeze", batch, builder.constant([0]))
    x = builder.call("Reshape", x, builder.call("Concat", rows, builder.constant([-1]), axis=0))
    return str(builder.call("MatMul", x, builder.weights(64, len(LABELS))))


def save(build: Build, folder: Path, opset: int = 17, image: list[int | None] = IMAGE) -> Path:
    builder = OnnxBuilder(image, opset)
    return builder.save(folder / "model.onnx", build(builder), [image[0], len(LABELS)])


def make_card(**changes: Any) -> Card:
    return Card.from_json(json.dumps(CARD | changes))


def run_opencv(path: Path, images: np.ndarray) -> np.ndarray:
    """Return the scores of each image in OpenCV."""
    network = cv2.dnn.readNetFromONNX(str(path))
    scores = []
    for image in images:
        network.setInput(image.astype(np.float32).transpose(2, 0, 1)[None] / 64)
        scores.append(network.forward().reshape(-1))
    return np.array(scores)


def run_imported(path: Path, images: np.ndarray) -> np.ndarray:
    """Return the scores of the imported graph."""
    card = make_card()
    return np.asarray(classify(from_onnx(path, card), card).scores(tf.constant(images))["probabilities"])


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize(("build", "opset"), [(residual, 17), (mobile, 10), (inception, 13)])
def test_a_network_of_convolutions_answers_as_in_opencv(build: Build, opset: int, images: np.ndarray, tmp_path: Path):
    path = save(build, tmp_path, opset)

    np.testing.assert_allclose(run_imported(path, images), run_opencv(path, images), atol=1e-4)


@pytest.mark.parametrize(
    ("operator", "attributes", "expected"),
    [
        ("HardSigmoid", {}, lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
        ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}, lambda x: np.clip(x / 6 + 0.5, 0, 1)),
        ("HardSwish", {}, lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
        ("LeakyRelu", {"alpha": 0.2}, lambda x: np.where(x > 0, x, 0.2 * x)),
        ("Elu", {"alpha": 2.0}, lambda x: np.where(x > 0, x, 2 * np.expm1(x))),
        ("Gelu", {}, lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
        ("Clip", {"min": -1.0}, lambda x: np.maximum(x, -1)),
        ("Pad", {"pads": [0, 0, 1, 2, 0, 0, 0, 1]}, lambda x: np.pad(x, [(0, 0), (0, 0), (1, 0), (2, 1)])),
        ("ReduceMax", {"axes": [1], "keepdims": 0}, lambda x: x.max(axis=1)),
        ("Transpose", {"perm": [2, 0, 3, 1]}, lambda x: x.transpose(2, 0, 3, 1)),
        ("Flatten", {"axis": 1}, lambda x: x.reshape(len(x), -1)),
    ],
)
@pytest.mark.parametrize("channels_last", [False, True])
def test_an_operator_does_what_its_formula_says(
    tmp_path: Path,
    operator: str,
    attributes: dict[str, Any],
    expected: Callable[[np.ndarray], np.ndarray],
    channels_last: bool,  # noqa: FBT001  # how the image is stored
):
    builder = OnnxBuilder([None, 3, 4, 5], opset=10)
    output = builder.call(operator, "image", **attributes)
    model = read_onnx_model(builder.save(tmp_path / "model.onnx", output, [None]))
    x = np.random.default_rng(0).normal(0, 3, (2, 3, 4, 5)).astype(np.float32)
    image = Value(tf.constant(x.transpose(0, 2, 3, 1)), channels_last=True) if channels_last else Value(tf.constant(x))

    value = translate(model, {"image": image}, tf.constant(2))[output]

    np.testing.assert_allclose(value.plain(), expected(x), atol=1e-5)


def test_shapes_that_are_computed_from_the_batch_are_folded(images: np.ndarray, tmp_path: Path):
    path = save(with_shapes, tmp_path)

    together, alone = run_imported(path, images), [run_imported(path, image[None])[0] for image in images]

    assert together.shape == (3, len(LABELS))
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_model_that_was_exported_for_one_image_takes_batches(images: np.ndarray, tmp_path: Path):
    def build(builder: OnnxBuilder) -> str:
        x = builder.call("Conv", "image", builder.weights(4, 3, 5, 5), strides=[3, 3])
        x = builder.call("Reshape", x, builder.constant([1, -1]))
        return str(builder.call("MatMul", x, builder.weights(64, len(LABELS))))

    path = save(build, tmp_path, image=[1, 3, SIDE, SIDE])

    np.testing.assert_allclose(run_imported(path, images), run_opencv(path, images), atol=1e-4)


def test_feature_maps_stay_channels_last(tmp_path: Path):
    card = make_card()

    graph = classify(from_onnx(save(residual, tmp_path), card), card).scores.graph

    assert not [operation for operation in graph.get_operations() if operation.type == "Transpose"]


def expected_pool(images: np.ndarray, *, counts_padding: bool) -> np.ndarray:
    """Average windows of 3 x 3 in steps of 2 over an image with a border of one pixel, rounded up."""
    x = images.astype(np.float64) / 64
    padded = np.zeros((len(x), SIDE + 3, SIDE + 3, 3))
    padded[:, 1 : SIDE + 1, 1 : SIDE + 1] = x
    counted = np.zeros((SIDE + 3, SIDE + 3))
    counted[: SIDE + 2, : SIDE + 2] = counts_padding
    counted[1 : SIDE + 1, 1 : SIDE + 1] = 1
    sides = range(0, SIDE + 1, 2)
    return np.array(
        [
            [padded[:, i : i + 3, j : j + 3].sum(axis=(1, 2)) / counted[i : i + 3, j : j + 3].sum() for j in sides]
            for i in sides
        ]
    ).transpose(2, 0, 1, 3)


@pytest.mark.parametrize("counts_padding", [0, 1])
def test_averages_count_the_pixels_that_they_are_of(images: np.ndarray, tmp_path: Path, counts_padding: int):
    builder = OnnxBuilder(IMAGE)
    pads = {"pads": [1, 1, 1, 1], "strides": [2, 2], "ceil_mode": 1, "count_include_pad": counts_padding}
    pooled = builder.call("AveragePool", "image", kernel_shape=[3, 3], **pads)
    mean = builder.call("ReduceMean", pooled, axes=[2, 3], keepdims=0)
    path = builder.save(tmp_path / "model.onnx", mean, [None, 3])
    card = make_card(labels=["r", "g", "b"], task="multilabel")

    outputs = classify(from_onnx(path, card), card).model.outputs(tf.constant(images))

    expected = expected_pool(images, counts_padding=bool(counts_padding)).mean(axis=(1, 2))
    np.testing.assert_allclose(outputs["probabilities"], expected, rtol=1e-5)


@pytest.mark.parametrize("opset", [11, 13])
def test_a_softmax_is_found_and_heat_maps_are_there(images: np.ndarray, tmp_path: Path, opset: int):
    path = save(lambda builder: str(builder.call("Softmax", residual(builder), axis=1)), tmp_path, opset)
    card = make_card(output={"activation": "softmax"})

    classifier = classify(from_onnx(path, card), card)

    network = classifier.complete().network
    assert classifier.choice.note == "The network ends in softmax; none was added."
    assert network.explains
    np.testing.assert_allclose(network.predict(images), run_opencv(path, images), atol=1e-5)


def transformer(builder: OnnxBuilder) -> str:
    """Attention over the pixels of 4 x 4 patches, as the exporters of PyTorch write it."""
    x = builder.call("Conv", "image", builder.weights(8, 3, 4, 4), strides=[4, 4])
    x = builder.call("Transpose", builder.call("Reshape", x, builder.constant([0, 8, -1])), perm=[0, 2, 1])
    x = builder.call("LayerNormalization", x, builder.weights(8), builder.weights(8), axis=-1)
    keys = builder.call("Transpose", builder.call("MatMul", x, builder.weights(8, 8)), perm=[0, 2, 1])
    scaled = builder.call("Div", builder.call("MatMul", x, keys), builder.call("Sqrt", builder.constant(np.float32(8))))
    x = builder.call("MatMul", builder.call("Softmax", scaled, axis=-1), x)
    half = builder.call("Mul", x, builder.constant(np.float32(0.5)))
    erf = builder.call("Erf", builder.call("Div", x, builder.constant(np.float32(2**0.5))))
    x = builder.call("Mul", half, builder.call("Add", erf, builder.constant(np.float32(1))))
    x = builder.call("Slice", x, *(builder.constant([number]) for number in (0, 1, 1)))
    x = builder.call("Squeeze", x, builder.constant([1]))
    return str(builder.call("Gemm", x, builder.weights(8, len(LABELS))))


def test_a_transformer_treats_each_image_alone(images: np.ndarray, tmp_path: Path):
    path = save(transformer, tmp_path)

    together, alone = run_imported(path, images), [run_imported(path, image[None])[0] for image in images]

    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda builder: builder.call("GridSample", residual(builder)), "model.onnx: the operators GridSample are not"),
        (
            lambda builder: builder.call("Conv", "image", "image"),
            r"the operator Conv \(Conv_1\) cannot be used: only conv",
        ),
    ],
)
def test_what_is_not_supported_is_named_with_the_file(tmp_path: Path, build: Build, message: str):
    path, card = save(build, tmp_path), make_card()

    with pytest.raises(OnnxError, match=message):
        classify(from_onnx(path, card), card)


def test_a_card_of_another_size_is_refused(tmp_path: Path):
    path, card = save(residual, tmp_path), make_card(input=SPEC | {"height": 20})

    with pytest.raises(ImportModelError, match=r"takes float32\[N, 3, 16, 16\]"):
        from_onnx(path, card)


@pytest.mark.parametrize(
    ("content", "reason"), [(b"", "it has no graph"), (b"\xff" * 40, "it has another format or is truncated")]
)
def test_a_file_without_a_model_is_refused(tmp_path: Path, content: bytes, reason: str):
    (tmp_path / "model.onnx").write_bytes(content)

    with pytest.raises(WeightsFileError, match=rf"model\.onnx: expected an ONNX model: {reason}$"):
        read_onnx_model(tmp_path / "model.onnx")


def test_a_missing_file_of_weights_is_named(tmp_path: Path):
    model = MESSAGES.create("Model")
    tensor = model.graph.add().initializer.add()
    tensor.name.append("kernel")
    tensor.data_type.append(1)
    tensor.data_location.append(EXTERNAL)
    location = tensor.external_data.add()
    location.key.append("location")
    location.value.append("weights.data")
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())

    with pytest.raises(WeightsFileError, match=r"model\.onnx: .*its weights are in weights\.data, .*: No such file"):
        read_onnx_model(tmp_path / "model.onnx")


@pytest.mark.parametrize(("opset", "warnings"), [(7, 0), (21, 0), (22, 1)])
def test_operators_of_other_versions_are_read_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, opset: int, warnings: int
):
    from_onnx(save(residual, tmp_path, opset), make_card())

    assert caplog.text.count(f"model.onnx has operators of version {opset}; 7 to 21 are known") == warnings


def test_the_command_writes_a_version(tmp_path: Path):
    path = save(residual, tmp_path)
    (tmp_path / "card.json").write_text(json.dumps(CARD))
    options = ["--card", tmp_path / "card.json", "--pictures", "examples", "--models", tmp_path, "--tflite", "none"]

    result = CliRunner().invoke(app, [*map(str, ["import-onnx", path, *options])])

    output = " ".join(result.output.split())
    assert result.exit_code == 0, result.exception
    assert "The network ends in scores" in output
    assert re.search("ompared with (ONNX Runtime|the model's own framework)", output)
    assert "letters/1 written: 4 classes" in output
    assert "heat maps: yes" in output
