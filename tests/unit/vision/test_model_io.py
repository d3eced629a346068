from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from vision.card import Card, InputSpec, OutputSpec
from vision.model_io import (
    InputEncoder,
    SeveralOutputsError,
    Shape,
    UnusableModelError,
    choose_output,
    fit_input,
    fit_output,
    require_one_input,
)
from vision.preprocess import preprocess

N = None
GRAY = InputSpec(height=28, width=28, color="GRAY", dtype="float32", std=(255,))
RGB = InputSpec(height=6, width=8)
FLOATS = InputSpec(height=6, width=8, dtype="float32", mean=(127.5,) * 3, std=(127.5,) * 3)


@dataclass(frozen=True)
class Spec:
    """A `vision.model_io.Tensor`."""

    dtype: str
    shape: Shape


def card(spec: InputSpec = RGB, labels: int = 3, **members: object) -> Card:
    return Card(name="m", labels=tuple(map(str, range(labels))), input=spec, **members)


# Inputs


@pytest.mark.parametrize(
    ("spec", "dtype", "shape", "row"),
    [
        (RGB, "uint8", (N, 6, 8, 3), (6, 8, 3)),
        (RGB, "uint8", (1, 6, 8, 3), (6, 8, 3)),
        (RGB, "uint8", (N, N, N, 3), (6, 8, 3)),
        (RGB, "uint8", None, (6, 8, 3)),
        (RGB, "int32", (N, 6, 8, 3), (6, 8, 3)),
        (RGB, "int64", (N, 144), (144,)),
        (RGB, "uint8", (N, N), (144,)),
        (RGB, "uint8", (N, 1, 6, 8, 3), (1, 6, 8, 3)),
        (FLOATS, "float16", (N, 6, 8, 3), (6, 8, 3)),
        (FLOATS, "float64", (N, 6, 8, 3), (6, 8, 3)),
        (GRAY, "float32", (N, 28, 28), (28, 28)),
        (GRAY, "float32", (N, N, N), (28, 28)),
        (GRAY, "float32", (N, 784), (784,)),
        (GRAY, "float32", (N, 1, 28, 28), (1, 28, 28)),
        (GRAY, "float32", (N, 28, 28, 1, 1), (28, 28, 1, 1)),
        (InputSpec(height=6, width=8, layout="NCHW"), "uint8", (N, 3, 6, 8), (3, 6, 8)),
        (InputSpec(height=6, width=8, dtype="float32", mean=(128,) * 3), "int8", (N, 6, 8, 3), (6, 8, 3)),
    ],
)
def test_an_image_is_sent_in_the_rank_and_type_of_the_signature(
    spec: InputSpec, dtype: str, shape: Shape, row: tuple[int, ...]
):
    image = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
    prepared = preprocess(image, spec)

    encoder = fit_input(card(spec), Spec(dtype, shape))

    assert encoder == InputEncoder(dtype, row)
    encoded = encoder.encode(prepared)
    assert (encoded.dtype.name, encoded.shape) == (dtype, row)
    np.testing.assert_allclose(encoded.ravel(), prepared.ravel(), atol=1e-3)


@pytest.mark.parametrize(("color", "shape"), [("RGB", (N,)), ("BGR", (N, 1)), ("GRAY", None), ("RGB", (1,))])
def test_an_encoded_image_holds_the_prepared_pixels(color: str, shape: Shape):
    spec = InputSpec(height=6, width=8, color=color)
    prepared = preprocess(np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8), spec)

    row = fit_input(card(spec), Spec("string", shape)).encode(prepared)

    assert row.shape == (shape or (N,))[1:]
    decoded = cv2.imdecode(np.frombuffer(row.item(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(decoded, np.broadcast_to(prepared, decoded.shape))


@pytest.mark.parametrize(
    ("spec", "dtype", "shape", "advice"),
    [
        (RGB, "float32", (N, 6, 8, 3), 'Write "dtype": "float32" in the card\'s input, with "std": [255, 255, 255]'),
        (FLOATS, "int32", (N, 6, 8, 3), 'Write "dtype": "uint8" in its input'),
        (RGB, "int8", (N, 6, 8, 3), 'Write "dtype": "float32", "mean": [128, 128, 128] in its input'),
        (FLOATS, "string", (N,), 'Write "dtype": "uint8" in the card\'s input'),
        (RGB, "uint8", (N, 3, 6, 8), 'Write "height": 6, "width": 8, "layout": "NCHW" in the card\'s input'),
        (RGB, "uint8", (N, 6, 8, 1), 'Write "height": 6, "width": 8, "color": "GRAY" in the card\'s input'),
        (RGB, "uint8", (N, 784), 'Write "height": 28, "width": 28, "color": "GRAY" in the card\'s input'),
        (RGB, "uint8", (N, 224, 224, 3), 'Write "height": 224, "width": 224 in the card\'s input'),
        (RGB, "uint8", (N, N, N, 1), 'Write "height": 6, "width": 8, "color": "GRAY" in the card\'s input'),
        (RGB, "uint8", (N, 3, N, N), 'Write "height": 6, "width": 8, "layout": "NCHW" in the card\'s input'),
        (RGB, "uint8", (N, 6, 8, 4), "has 4 channels; images are sent with 1 (gray) or 3 (RGB). No card helps"),
        (RGB, "uint8", (N, 4, 6, 8), "has 4 channels; images are sent with 1 (gray) or 3 (RGB). No card helps"),
        (RGB, "uint8", (N, N, N, 4), "has 4 channels; images are sent with 1 (gray) or 3 (RGB). No card helps"),
        (RGB, "uint8", (N, 4, N, N), "has 4 channels; images are sent with 1 (gray) or 3 (RGB). No card helps"),
        (RGB, "uint8", (6, 8, 3), "has no batch dimension. No card helps: export the model again with None as"),
        (RGB, "uint8", (4, 6, 8, 3), "takes batches of exactly 4 images. No card helps"),
        (RGB, "uint8", (), "has no batch dimension. No card helps"),
        (RGB, "uint8", (N,), "does not take images of height, width and channels. No card helps"),
        (RGB, "uint8", (N, 16, 6, 8, 3), "does not take images of height, width and channels. No card helps"),
        (RGB, "bool", (N, 6, 8, 3), "does not take pixels. No card helps"),
        (RGB, "bfloat16", (N, 6, 8, 3), "does not take pixels. No card helps"),
        (RGB, "string", (), "has no batch dimension. No card helps"),
        (RGB, "string", (N, 4), "does not take one encoded image. No card helps"),
    ],
)  # fmt: skip
def test_an_input_that_does_not_fit_is_refused_with_what_to_do(spec: InputSpec, dtype: str, shape: Shape, advice: str):
    with pytest.raises(UnusableModelError) as refused:
        fit_input(card(spec), Spec(dtype, shape))

    assert advice in str(refused.value)


def test_a_model_takes_one_input():
    image = Spec("uint8", (N, 6, 8, 3))
    assert require_one_input({"x": image}) == "x"
    for inputs, listed in (
        ({}, "none"),
        ({"x": image, "training": Spec("bool", ())}, "training bool[], x uint8[N, 6, 8, 3]"),
    ):
        with pytest.raises(UnusableModelError) as refused:
            require_one_input(inputs)
        assert f"It takes {len(inputs)} inputs ({listed})" in str(refused.value)


# Outputs


@pytest.mark.parametrize(
    ("labels", "shape", "row"),
    [
        (3, (N, 3), (3,)),
        (3, (1, 3), (3,)),
        (3, (N, N), (3,)),
        (3, None, None),
        (3, (N, 1, 1, 3), (1, 1, 3)),
        (3, (N, 3, 1, 1), (3, 1, 1)),
        (3, (N, N, 1), (3, 1)),
        (2, (N, 1), (1,)),
        (2, (N,), ()),
        (2, (N, 1, 1, 1), (1, 1, 1)),
        (2, (N, 2), (2,)),
        (2, (N, N), (None,)),
    ],
)
def test_the_scores_of_an_image_have_the_shape_of_the_signature(labels: int, shape: Shape, row: Shape):
    assert fit_output(card(labels=labels), Spec("float32", shape)) == row


@pytest.mark.parametrize(
    ("members", "dtype", "shape", "advice"),
    [
        ({}, "float32", (N, 2), "has 3 labels; the output float32[N, 2] holds 2 scores. Write one label per score"),
        ({}, "float32", (N,), "holds 1 score."),
        ({"labels": 2, "task": "multilabel"}, "float32", (N, 1), 'One score for two labels needs "task": "multiclass"'),
        ({"labels": 2, "output": OutputSpec(activation="softmax")}, "float32", (N, 1), '{"activation": "sigmoid"}'),
        ({"labels": 1}, "float32", (N, 1), 'Write two labels, of which the second has this score, or "task"'),
        ({}, "int64", (N,), "whole numbers, such as class numbers, not scores. No card helps"),
        ({}, "string", (N, 3), "text, such as class names, not scores. No card helps"),
        ({}, "float32", (N, 7, 7, 3), "does not hold one score per class. No card helps"),
        ({}, "float32", (3,), "has no batch dimension. No card helps"),
        ({}, "float32", (2, 3), "has no batch dimension. No card helps"),
    ],
)  # fmt: skip
def test_scores_that_do_not_fit_are_refused_with_what_to_do(
    members: dict[str, object], dtype: str, shape: Shape, advice: str
):
    with pytest.raises(UnusableModelError) as refused:
        fit_output(card(**members), Spec(dtype, shape))

    assert advice in str(refused.value)


def test_one_label_of_a_multilabel_model_has_one_score():
    assert fit_output(card(labels=1, task="multilabel"), Spec("float32", (N, 1))) == (1,)


SCORES, NUMBERS, FEATURES = Spec("float32", (N, 3)), Spec("int64", (N,)), Spec("float32", (N, 64))


@pytest.mark.parametrize(
    ("outputs", "name", "chosen"),
    [
        ({"dense_1": SCORES}, "probabilities", "dense_1"),
        ({"a": SCORES, "b": SCORES}, "b", "b"),
        ({"classes": NUMBERS, "a": SCORES}, "probabilities", "a"),
        ({"a": SCORES, "embedding": FEATURES}, "probabilities", "a"),
        ({"logits": SCORES, "Predictions": SCORES}, "probabilities", "Predictions"),
    ],
)
def test_the_output_with_the_scores_is_chosen(outputs: dict[str, Spec], name: str, chosen: str):
    assert choose_output(outputs, card(output=OutputSpec(name=name))) == chosen


def test_an_output_that_the_card_names_must_exist():
    with pytest.raises(UnusableModelError, match=r'names the output "c"; its outputs are a .*\. Correct output\.name'):
        choose_output({"a": SCORES, "b": NUMBERS}, card(output=OutputSpec(name="c")))


def test_without_a_card_only_unambiguous_outputs_are_chosen():
    assert choose_output({"classes": NUMBERS, "a": SCORES}, None) == "a"
    assert choose_output({"embedding": FEATURES, "softmax": SCORES}, None) == "softmax"
    with pytest.raises(SeveralOutputsError, match=r'Name the one .* "output": \{"name": "a"\}') as refused:
        choose_output({"a": SCORES, "b": FEATURES}, None)
    assert refused.value.candidates == ["a", "b"]
    with pytest.raises(SeveralOutputsError) as reordered:
        choose_output({"b": FEATURES, "a": SCORES}, None)
    assert str(reordered.value) == str(refused.value), "every process gives the same advice"
    with pytest.raises(UnusableModelError, match=r"None of its outputs .* holds one score per class\. No card helps"):
        choose_output({"classes": NUMBERS, "names": Spec("string", (N,))}, None)


def test_outputs_that_another_card_would_fit_are_refused_with_what_is_wrong_in_this_one():
    outputs = {"classes": NUMBERS, "logits": SCORES, "probabilities_out": SCORES}
    with pytest.raises(
        UnusableModelError, match=r"^The card has 2 labels; the output float32\[N, 3\] holds 3 scores\."
    ):
        choose_output(outputs, card(labels=2))
    with pytest.raises(UnusableModelError, match=r"None of its outputs .* No card helps"):
        choose_output({"classes": NUMBERS, "names": Spec("string", (N,))}, card(labels=2))
