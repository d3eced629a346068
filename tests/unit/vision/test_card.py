import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.card import Card, CardError, InputSpec, OutputSpec

DOCUMENTATION = Path(__file__).parents[3] / "docs/reference/card.md"
MINIMAL = {"name": "cats", "labels": ["cat", "other"], "input": {"height": 224, "width": 160}}

FULL = Card(
    name="scenes",
    title="Landschaften",
    description="Was auf dem Bild zu sehen ist: “Meer”, Berge …",
    task="multilabel",
    labels=("sea", "mountains", "sea"),
    threshold=(0.5, 0.25, 1.0),
    input=InputSpec(
        height=28,
        width=32,
        color="BGR",
        dtype="float32",
        layout="NCHW",
        resize="letterbox",
        interpolation="area",
        mean=(103.939, 116.779, 123.68),
        std=(58.0, 57.0, 57.5),
        invert_light_background=True,
        background=(0, 128, 255),
    ),
    output=OutputSpec(name="logits", activation="sigmoid"),
    metrics={"accuracy": 0.99, "per_label": {"sea": [1, 2]}},
    provenance={"licence": "CC0-1.0", "epochs": 3, "source": None},
)


def card_json(**changes: Any) -> str:
    return json.dumps(MINIMAL | changes)


def input_json(**changes: Any) -> str:
    return card_json(input=MINIMAL["input"] | changes)


def test_four_fields_are_enough():
    card = Card.from_json(json.dumps(MINIMAL))

    assert card == Card(name="cats", labels=("cat", "other"), input=InputSpec(height=224, width=160))
    assert (card.task, card.threshold, card.output) == ("multiclass", 0.5, OutputSpec())
    assert card.input.background == (255, 255, 255)


def test_json_contains_a_whole_card():
    document = json.loads(FULL.to_json())

    assert Card.from_json(FULL.to_json()) == FULL
    assert Card.from_json(FULL.to_json().encode()) == FULL
    assert document["schema"] == 2
    assert document["input"]["mean"] == [103.939, 116.779, 123.68]
    assert "Meer" in FULL.to_json(), "text other than ASCII is not escaped"


@pytest.mark.parametrize(
    "changes",
    [
        {"decoding": "full"},
        {"resize": "center_crop", "resize_size": 256},
        {"antialias": True},
        {"resize": "crop_to_aspect_ratio"},
        {"interpolation": "nearest_exact"},
    ],
)
def test_only_a_card_that_needs_it_is_written_in_the_newest_schema(changes: dict):
    card = Card.from_json(json.dumps(MINIMAL))
    changed = replace(card, input=replace(card.input, **changes))

    assert json.loads(changed.to_json())["schema"] == 3
    assert Card.from_json(changed.to_json()) == changed
    document = json.loads(card.to_json())
    assert document["schema"] == 2
    assert not {"decoding", "resize_size", "antialias"} & document["input"].keys()


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.text(min_size=1).filter(lambda text: text == text.strip("\ufeff \t\r\n\v\f")), min_size=1).map(
        tuple
    ),
    sides=st.tuples(st.integers(1, 10_000), st.integers(1, 10_000)),
    mean=st.none() | st.tuples(*[st.floats(1.5, 255)] * 3),
    threshold=st.floats(0, 1),
    extra=st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.text(), st.lists)),
)
def test_every_card_is_read_back_from_json(labels, sides, mean, threshold, extra):
    spec = InputSpec(height=sides[0], width=sides[1], dtype="float32", mean=mean or ())
    card = Card(name="m", labels=labels, input=spec, threshold=threshold, metrics=extra)

    assert Card.from_json(card.to_json()) == card


def test_null_and_notes_are_ignored():
    spec = {"height": 1, "width": 2, "mean": None, "_source": "the paper"}
    document = {"title": None, "output": {"_was": [10]}, "input": spec, "_todo": "more labels", "$schema": "card.json"}

    card = Card.from_json(card_json(**document))

    assert (card.title, card.input.mean, card.output) == ("", (), OutputSpec())


def test_the_input_name_that_early_releases_wrote_is_ignored():
    assert Card.from_json(input_json(name="image")) == Card.from_json(card_json())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "softmax"}, 'card: unknown key (did you mean output.activation?), found "activation"'),
        ({"lables": ["cat"]}, 'card: unknown key (did you mean labels?), found "lables"'),
        ({"Labels": ["cat"]}, 'card: unknown key (did you mean labels?), found "Labels"'),
        ({"class_names": ["cat"]}, 'card: unknown key (did you mean labels?), found "class_names"'),
        ({"std": [1, 1, 1]}, 'card: unknown key (did you mean input.std?), found "std"'),
        ({"type": "x"}, 'card: unknown key (did you mean task?), found "type"'),
        ({"abstain": 0.5}, 'card: unknown key (did you mean abstain_below?), found "abstain"'),
        (
            {"confidence_threshold": 0.5},
            'card: unknown key (did you mean abstain_below?), found "confidence_threshold"',
        ),
        ({"min_score": 0.5}, 'card: unknown key (did you mean abstain_below?), found "min_score"'),
        ({"confidence": "c"}, 'card: unknown key (did you mean output.confidence?), found "confidence"'),
        ({"input": {"type": "x"}}, 'card: unknown key in input (did you mean input.dtype?), found "type"'),
        ({"output": {"type": "x"}}, 'card: unknown key in output (did you mean output.activation?), found "type"'),
        (
            {"input": {"data_format": "x"}},
            'card: unknown key in input (did you mean input.layout?), found "data_format"',
        ),
        ({"input": {"crop": "x"}}, 'card: unknown key in input (did you mean input.resize?), found "crop"'),
        (
            {"input": {"range": [0, 1]}},
            'card: unknown key in input (did you mean input.mean and input.std?), found "range"',
        ),
        ({"comment": "mine"}, 'card: unknown key; a note begins with "_", found "comment"'),
        (
            {"input": {"shape": [8, 8, 3]}},
            'card: unknown key in input (did you mean input.height and input.width?), found "shape"',
        ),
        (
            {"input": {"activation": "softmax"}},
            'card: unknown key in input (did you mean output.activation?), found "activation"',
        ),
        (
            {"output": {"activtion": "x"}},
            'card: unknown key in output (did you mean output.activation?), found "activtion"',
        ),
    ],
)  # fmt: skip
def test_an_unknown_key_is_rejected_with_the_nearest_one(changes, message):
    with pytest.raises(CardError) as raised:
        Card.from_json(card_json(**changes))

    assert str(raised.value) == message


def test_blanks_and_line_ends_around_labels_are_removed():
    card = Card.from_json(card_json(labels=["\ufeffred\r", " dark green\n", "blue"]))

    assert card.labels == ("red", "dark green", "blue")
    with pytest.raises(CardError, match="no empty labels"):
        Card.from_json(card_json(labels=["red", "\r\n"]))


@pytest.mark.parametrize(
    ("mean", "std", "corrected"),
    [
        (
            (0.485, 0.456, 0.406),
            (0.229, 0.224, 0.225),
            '"mean": [123.675, 116.28, 103.53] and "std": [58.395, 57.12, 57.375]',
        ),
        ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), '"mean": [127.5, 127.5, 127.5] and "std": [127.5, 127.5, 127.5]'),
        ((0.485, 0.456, 0.406), (), '"mean": [123.675, 116.28, 103.53] and "std": [255, 255, 255]'),
        ((0.485, 0.456, 0.406), (1, 1, 1), '"mean": [123.675, 116.28, 103.53] and "std": [255, 255, 255]'),
        ((0.485, 0.456, 0.406), (58, 57, 57), '"mean": [123.675, 116.28, 103.53] and "std": [58, 57, 57]'),
        ((124, 116, 104), (0.229, 0.224, 0.225), '"mean": [124, 116, 104] and "std": [58.395, 57.12, 57.375]'),
        ((), (1 / 255, 1 / 255, 1 / 255), '"std": [255, 255, 255]'),
        ((1, 1, 1), (127.5,) * 3, '"mean": [127.5, 127.5, 127.5] and "std": [127.5, 127.5, 127.5]'),
        ((-1, -1, -1), (127.5,) * 3, '"mean": [127.5, 127.5, 127.5] and "std": [127.5, 127.5, 127.5]'),
        ((1, 1, 1), (1 / 127.5,) * 3, '"mean": [127.5, 127.5, 127.5] and "std": [127.5, 127.5, 127.5]'),
        ((1, 1, 1), (), '"mean": [255, 255, 255] and "std": [255, 255, 255]'),
        ((127.5, 127.5, 127.5), (1 / 127.5,) * 3, '"mean": [127.5, 127.5, 127.5] and "std": [127.5, 127.5, 127.5]'),
    ],
)  # fmt: skip
def test_numbers_in_units_of_0_to_1_are_rejected_with_the_right_ones(mean, std, corrected):
    with pytest.raises(CardError) as raised:
        Card.from_json(input_json(dtype="float32", mean=mean, std=std))

    assert "units of 0..255" in str(raised.value)
    assert f"and write {corrected}" in str(raised.value)
    assert Card.from_json(input_json(dtype="float32", **json.loads("{" + corrected.replace(" and ", ", ") + "}"))), (
        "the advice is accepted"
    )


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ((), ()),
        ((0, 0, 0), (1, 1, 1)),
        ((0, 0, 0), (255, 255, 255)),
        ((127.5, 127.5, 127.5), (127.5, 127.5, 127.5)),
        ((103.939, 116.779, 123.68), ()),
        ((0, 0, 104), (1, 1, 1)),
    ],
)
def test_numbers_in_units_of_0_to_255_are_accepted(mean, std):
    assert Card.from_json(input_json(dtype="float32", mean=mean, std=std)).input.mean == mean


def test_the_summary_of_an_error_does_not_quote_the_card():
    for text in ('{"hunter2": 1}', '"hunter2"', "hunter2", card_json(task="hunter2"), card_json(labels=["hunter2", 3])):
        with pytest.raises(CardError) as raised:
            Card.from_json(text)
        assert "hunter2" not in raised.value.summary
        assert str(raised.value).startswith(raised.value.summary)


@pytest.mark.parametrize("number", [0, 4, "1", 1.5, [1], None, True])
def test_another_schema_number_is_rejected(number):
    with pytest.raises(CardError, match=r"^schema: expected an integer in 1\.\.3, found "):
        Card.from_json(card_json(schema=number))


def test_a_card_may_say_below_which_confidence_it_is_not_sure():
    output = {"confidence": "certainty"}

    card = Card.from_json(card_json(schema=2, abstain_below=0.25, output=output))

    assert (card.abstain_below, card.output) == (0.25, OutputSpec(confidence="certainty"))
    assert Card.from_json(card.to_json()) == card
    assert Card.from_json(card_json(abstain_below=None)).abstain_below is None


@pytest.mark.parametrize("schema", [1, 2, 3])
def test_preprocessing_of_earlier_schemas_is_that_of_a_card_that_leaves_it_open(schema):
    card = Card.from_json(card_json(schema=schema))

    assert (card.input.decoding, card.input.resize_size, card.input.antialias) == ("scaled", None, False)


def test_a_card_may_have_the_preprocessing_of_torchvision():
    recipe = {"resize": "center_crop", "resize_size": 256, "antialias": True, "decoding": "full"}

    card = Card.from_json(input_json(**recipe))

    assert card.input == InputSpec(height=224, width=160, **recipe)
    assert Card.from_json(card.to_json()) == card


def test_the_recipes_of_the_documentation_are_inputs():
    recipes = re.findall(r"^\| .* \| `(\"decoding\": .*)` \|$", DOCUMENTATION.read_text(encoding="utf-8"), re.MULTILINE)

    specs = [Card.from_json(input_json(**json.loads(f"{{{recipe}}}"))).input for recipe in recipes]

    assert len(specs) == 8
    assert specs[0].resize_size == 256


@pytest.mark.parametrize(
    ("metrics", "abstain_below"),
    [
        ({"abstain_below": 0.9}, 0.9),
        ({"abstain_below": 0}, 0),
        ({"abstain_below": None}, None),
        ({"abstain_below": True}, None),
        ({"abstain_below": "0.9"}, None),
        ({"abstain_below": 1.5}, None),
        ({}, None),
    ],
)
def test_schema_1_has_the_threshold_among_its_metrics(metrics, abstain_below):
    card = Card.from_json(card_json(schema=1, metrics=metrics))

    assert card.abstain_below == abstain_below
    assert card.metrics == metrics


def test_only_schema_1_has_the_threshold_among_its_metrics():
    metrics = {"abstain_below": 0.9}

    assert Card.from_json(card_json(schema=2, metrics=metrics)).abstain_below is None
    assert Card.from_json(card_json(schema=1, metrics=metrics, abstain_below=0.5)).abstain_below == 0.5
    assert Card.from_json(card_json(schema=1, metrics=metrics, task="multilabel")).abstain_below is None


@pytest.mark.parametrize(
    ("text", "summary", "found"),
    [
        ("", "card: expected JSON, found an empty file", ""),
        (b"\n", "card: expected JSON, found an empty file", ""),
        ("{", "card: expected JSON, found a fault in line 1, column 2", ': "{"'),
        (
            b'{"name": "m",\n  "labels": [hunter2]}',
            "card: expected JSON, found a fault in line 2, column 14",
            ': "  \\"labels\\": [hunter2]}"',
        ),
        (b'{"name": "\xff"}', "card: expected JSON in UTF-8, found other bytes", ""),
        ("[" * 100_000, "card: expected JSON, found a number that is too long or lists nested too deeply", ""),
        ("1" * 5000, "card: expected JSON, found a number that is too long or lists nested too deeply", ""),
        ('{"threshold": NaN}', "card: expected JSON, which has no NaN and no Infinity", ", found NaN"),
        ('{"threshold": -Infinity}', "card: expected JSON, which has no NaN and no Infinity", ", found -Infinity"),
        ('{"labels": ["a"], "labels": ["b"]}', "card: a key occurs twice (labels)", ', found "labels"'),
        ('{"metrics": {"hunter2": 1, "hunter2": 2}}', "card: a key occurs twice", ', found "hunter2"'),
    ],
)
def test_text_other_than_json_is_rejected_with_the_place_of_the_fault(text: str | bytes, summary: str, found: str):
    with pytest.raises(CardError) as raised:
        Card.from_json(text)

    assert raised.value.summary == summary
    assert str(raised.value) == summary + found


def test_a_note_may_occur_twice():
    assert Card.from_json(card_json().replace("{", '{"_a": 1, "_a": 2, ', 1))


@pytest.mark.parametrize("text", ["[]", "3", "null", '"card"'])
def test_json_other_than_an_object_is_rejected(text):
    with pytest.raises(CardError, match=r"^card: expected a JSON object, found "):
        Card.from_json(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": None}, "name: is required but missing"),
        ({"labels": None}, "labels: is required but missing"),
        ({"input": None}, "input: is required but missing"),
        ({"input": {"width": 3}}, "input.height: is required but missing"),
        ({"input": {"height": 3}}, "input.width: is required but missing"),
        ({"name": 7}, "name: expected a string, found 7"),
        ({"name": ""}, 'name: expected the name of the model, found ""'),
        ({"labels": "cat"}, 'labels: expected a list, found "cat"'),
        ({"labels": []}, "labels: expected at least one label, found []"),
        ({"labels": ["cat", ""]}, 'labels: expected no empty labels, found ["cat", ""]'),
        ({"labels": ["cat", 3]}, "labels[1]: expected a string, found 3"),
        ({"abstain_below": 1.01}, "abstain_below: expected a number in 0..1, found 1.01"),
        ({"abstain_below": "0.5"}, 'abstain_below: expected a number, found "0.5"'),
        (
            {"abstain_below": 0.5, "task": "multilabel"},
            'abstain_below: expected none if task is "multilabel", which has threshold, found 0.5',
        ),
        (
            {"output": {"confidence": "c"}},
            "abstain_below: expected a number in 0..1 if output.confidence is set, found null",
        ),
        (
            {"abstain_below": 0.5, "output": {"confidence": "probabilities"}},
            'output.confidence: expected the name of another output tensor, found "probabilities"',
        ),
        ({"task": "regression"}, 'task: expected one of "multiclass", "multilabel", found "regression"'),
        ({"task": ["multiclass"]}, 'task: expected one of "multiclass", "multilabel", found ["multiclass"]'),
        ({"threshold": "0.5"}, 'threshold: expected a number, found "0.5"'),
        ({"threshold": True}, "threshold: expected a number, found true"),
        ({"threshold": 1.5}, "threshold: expected numbers in 0..1, found 1.5"),
        ({"threshold": [0.5]}, "threshold: expected one number, or one per label (2), found [0.5]"),
        ({"threshold": [0.5, None]}, "threshold[1]: expected a number, found null"),
        ({"input": []}, "input: expected an object, found []"),
        ({"output": "logits"}, 'output: expected an object, found "logits"'),
        ({"output": {"activation": 1}}, 'output.activation: expected one of "none", "softmax", "sigmoid", found 1'),
        ({"output": {"name": ""}}, 'output.name: expected the name of the output tensor, found ""'),
        (
            {"task": "multilabel", "output": {"activation": "softmax"}},
            'output.activation: expected "sigmoid" or "none" if task is "multilabel", found "softmax"',
        ),
        (
            {"labels": ["cat"], "output": {"activation": "softmax"}},
            'output.activation: expected "sigmoid" or "none" for one label, found "softmax"',
        ),
        ({"metrics": [0.9]}, "metrics: expected an object, found [0.9]"),
    ],
)  # fmt: skip
def test_an_invalid_field_is_named_with_its_value(changes, message):
    with pytest.raises(CardError) as raised:
        Card.from_json(card_json(**changes))

    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": "28"}, 'input.height: expected an integer, found "28"'),
        ({"height": 28.0}, "input.height: expected an integer, found 28.0"),
        ({"height": True}, "input.height: expected an integer, found true"),
        ({"height": 0}, "input.height: expected an integer in 1..16384, found 0"),
        ({"width": -3}, "input.width: expected an integer in 1..16384, found -3"),
        ({"color": "rgb"}, 'input.color: expected one of "RGB", "BGR", "GRAY", found "rgb"'),
        ({"layout": "CHW"}, 'input.layout: expected one of "NHWC", "NCHW", found "CHW"'),
        ({"dtype": "float16"}, 'input.dtype: expected one of "uint8", "float32", found "float16"'),
        ({"mean": 127.5}, "input.mean: expected a list, found 127.5"),
        ({"mean": [1, 2]}, "input.mean: expected one number per channel of RGB (3), or none, found [1.0, 2.0]"),
        ({"std": [1]}, "input.std: expected one number per channel of RGB (3), or none, found [1.0]"),
        (
            {"color": "GRAY", "std": [1, 2]},
            "input.std: expected one number per channel of GRAY (1), or none, found [1.0, 2.0]",
        ),
        (
            {"dtype": "float32", "std": [1, 0, 1]},
            "input.std: expected numbers in 0.001..10000, found [1.0, 0.0, 1.0]",
        ),
        ({"height": 100_000}, "input.height: expected an integer in 1..16384, found 100000"),
        (
            {"dtype": "float32", "mean": [0, 0, 1000]},
            "input.mean: expected numbers in -255..255, as pixels are in 0..255, found [0.0, 0.0, 1000.0]",
        ),
        (
            {"dtype": "float32", "std": [1e9, 1, 1]},
            "input.std: expected numbers in 0.001..10000, found [1000000000.0, 1.0, 1.0]",
        ),
        ({"std": [1, 1, 1]}, 'input.dtype: expected "float32" if mean or std is set, found "uint8"'),
        ({"background": [0, 0]}, "input.background: expected a list of three integers, found [0, 0]"),
        ({"background": [0, 0, 256]}, "input.background: expected integers in 0..255, found [0, 0, 256]"),
        ({"background": [0, 0, 1.5]}, "input.background[2]: expected an integer, found 1.5"),
        ({"invert_light_background": 1}, "input.invert_light_background: expected true or false, found 1"),
        ({"resize": "fit_ink"}, 'input.color: expected "GRAY" if resize is "fit_ink", found "RGB"'),
        ({"decoding": "half"}, 'input.decoding: expected one of "scaled", "full", found "half"'),
        ({"resize_size": 256}, 'input.resize: expected "center_crop" if resize_size is set, found "stretch"'),
        ({"resize": "center_crop", "resize_size": "256"}, 'input.resize_size: expected an integer, found "256"'),
        (
            {"resize": "center_crop", "resize_size": 223},
            "input.resize_size: expected an integer in 224..16384, of which height and width are cropped, found 223",
        ),
        (
            {"resize": "center_crop", "resize_size": 16_385},
            "input.resize_size: expected an integer in 224..16384, of which height and width are cropped, found 16385",
        ),
        ({"antialias": 1}, "input.antialias: expected true or false, found 1"),
        (
            {"antialias": True, "interpolation": "nearest"},
            'input.interpolation: expected "bilinear" or "bicubic" if antialias is true, found "nearest"',
        ),
        (
            {"antialias": True, "interpolation": "area"},
            'input.interpolation: expected "bilinear" or "bicubic" if antialias is true, found "area"',
        ),
        (
            {"antialias": True, "resize": "fit_ink", "color": "GRAY"},
            'input.antialias: expected false if resize is "fit_ink", found true',
        ),
    ],
)  # fmt: skip
def test_an_invalid_input_field_is_named_with_its_value(changes, message):
    with pytest.raises(CardError) as raised:
        Card.from_json(input_json(**changes))

    assert str(raised.value) == message


@pytest.mark.parametrize("number", ["1e999", "1" + "0" * 400])
def test_a_number_beyond_the_range_of_floats_is_rejected(number):
    text = input_json(dtype="float32", mean=[1, 2, 3]).replace("[1, 2, 3]", f"[1, 2, {number}]")

    with pytest.raises(CardError, match=r"^input\.mean\[2\]: expected a finite number, found "):
        Card.from_json(text)


def test_a_long_invalid_value_is_shortened_in_the_message():
    with pytest.raises(CardError) as raised:
        Card.from_json(card_json(task="x" * 10_000))

    assert len(str(raised.value)) < 200


def test_values_are_checked_in_code_as_well():
    with pytest.raises(CardError, match=r"^labels: "):
        Card(name="m", labels=(), input=InputSpec(height=1, width=1))
    with pytest.raises(CardError, match=r"^input\.height: "):
        InputSpec(height=0, width=1)


def test_numbers_that_json_does_not_have_are_not_written():
    card = Card(name="m", labels=("a",), input=InputSpec(height=1, width=1), metrics={"loss": float("nan")})

    with pytest.raises(ValueError, match="not JSON compliant"):
        card.to_json()


@pytest.mark.parametrize(
    ("color", "layout", "shape"),
    [
        ("RGB", "NHWC", (2, 3, 3)),
        ("BGR", "NCHW", (3, 2, 3)),
        ("GRAY", "NHWC", (2, 3, 1)),
        ("GRAY", "NCHW", (1, 2, 3)),
    ],
)
def test_shape_follows_color_and_layout(color, layout, shape):
    spec = InputSpec(height=2, width=3, color=color, layout=layout)

    assert spec.shape == shape


def test_shape_of_a_modified_spec_is_computed_again():
    spec = replace(InputSpec(height=2, width=3), color="GRAY", layout="NCHW", height=5)

    assert (spec.channels, spec.shape) == (1, (1, 5, 3))
    assert spec != InputSpec(height=2, width=3)
    assert "shape" not in Card(name="m", labels=("a",), input=spec).to_json()
