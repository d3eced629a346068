import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from gateway.deadline import Deadline
from gateway.errors import ModelContractError, ModelUnavailableError, VersionGoneError
from gateway.model_client.protocol import Array, Signature, TensorSpec
from gateway.models.binding import bind, inspect_version
from gateway.models.derived_cards import derive_card
from tests.support.fake_model_server import (
    FakeModelServer,
    FakeVersion,
    classifier,
    constant,
    explainable,
    image_signature,
)
from vision.card import Card, InputSpec, OutputSpec
from vision.model_io import InputEncoder


def signature(inputs: Mapping[str, TensorSpec], **outputs: TensorSpec) -> Signature:
    return Signature(inputs, outputs)


def image_input(dtype: str = "uint8", *shape: int | None) -> dict[str, TensorSpec]:
    return {"image": TensorSpec(dtype, shape or (None, 4, 4, 1))}


def bind_error(card: Card, inputs: Mapping[str, TensorSpec], **outputs: TensorSpec) -> str:
    """Return the message with which `bind` refuses a signature."""
    try:
        return f"accepted: {bind(card, signature(inputs, **outputs), model='pets', version=1)}"
    except ModelContractError as error:
        return error.detail


SCORES = TensorSpec("float32", (None, 3))


# bind


def test_a_card_and_the_signature_that_fits_are_combined(card: Card):
    default = image_signature(card)

    served = bind(card, default, model="pets", version=7)

    assert (served.name, served.version, served.input_name) == ("pets", 7, "image")
    assert served.card is card
    assert served.call.signature is default
    assert (served.call.model, served.call.version) == ("pets", 7)
    assert (served.call.signature_name, served.call.output) == ("serving_default", "probabilities")


def test_an_input_that_contradicts_the_card_is_refused(card: Card):
    for inputs in (
        image_input("float32"),
        image_input("uint8", None, 4, 4, 3),
        image_input("uint8", None, 4, 5, 1),
        image_input("uint8", 8, 4, 4, 1),
    ):
        message = bind_error(card, inputs, probabilities=SCORES)
        assert message.startswith("pets version 1 cannot be used. The "), message
        assert str(inputs["image"]) in message


def test_the_usual_input_needs_no_encoder(card: Card):
    assert bind(card, image_signature(card), model="pets", version=1).encoder is None


def test_an_input_of_another_form_has_an_encoder(card: Card):
    for inputs, expected in (
        (image_input("uint8", None, 4, 4), InputEncoder("uint8", (4, 4))),
        (image_input("int32", None, 16), InputEncoder("int32", (16,))),
        (image_input("string", None), InputEncoder("string", ())),
    ):
        served = bind(card, signature(inputs, probabilities=SCORES), model="pets", version=1)
        assert served.encoder == expected


def test_the_shape_of_the_scores_is_that_of_the_output(card: Card):
    for shape, expected in (((None, 3), (3,)), ((None, 1, 1, 3), (1, 1, 3)), ((None, None), (3,)), (None, None)):
        outputs = {"probabilities": TensorSpec("float32", shape)}
        assert bind(card, Signature(image_input(), outputs), model="pets", version=1).score_shape == expected, shape


def test_an_input_may_leave_its_shape_open(card: Card):
    for shape in (None, (None, None, None, None), (1, 4, 4, 1), (None, 4, 4, None)):
        inputs = {"x": TensorSpec("uint8", shape)}
        served = bind(card, signature(inputs, probabilities=SCORES), model="pets", version=1)
        assert served.input_name == "x", shape


def test_a_channels_first_card_needs_a_channels_first_signature():
    card = Card(name="x", labels=("a", "b"), input=InputSpec(height=4, width=5, layout="NCHW", dtype="float32"))
    scores = TensorSpec("float32", (None, 2))
    assert bind(card, signature(image_input("float32", None, 3, 4, 5), y=scores), model="x", version=1)
    with pytest.raises(ModelContractError):
        bind(card, signature(image_input("float32", None, 4, 5, 3), y=scores), model="x", version=1)


def test_a_signature_without_exactly_one_input_is_refused(card: Card):
    for count in (0, 2):
        inputs = {f"image_{number}": TensorSpec("uint8", (None, 4, 4, 1)) for number in range(count)}
        message = bind_error(card, inputs, probabilities=SCORES)
        assert message.startswith(f"pets version 1 cannot be used. It takes {count} inputs (")
        assert "No card helps" in message


def test_the_card_names_the_output(card: Card):
    card = dataclasses.replace(card, output=OutputSpec(name="logits", activation="softmax"))
    outputs = {"features": TensorSpec("float32", (None, 3)), "logits": SCORES}
    assert bind(card, Signature(image_input(), outputs), model="pets", version=1).call.output == "logits"


def test_a_single_output_needs_no_name(card: Card):
    assert bind(card, signature(image_input(), dense_1=SCORES), model="pets", version=1).call.output == "dense_1"


def test_a_missing_output_is_refused(card: Card):
    several = bind_error(card, image_input(), a=SCORES, b=SCORES)
    none = bind_error(card, image_input())

    assert "Its outputs are a float32[N, 3], b float32[N, 3]. Name the one" in several
    assert '"output": {"name": "a"}' in several
    assert "None of its outputs (none) holds one score per class" in none


def test_the_number_of_scores_must_be_that_of_the_labels(card: Card):
    for shape, scores in (((None, 2), 2), ((None, 4), 4), ((None,), 1), ((None, 1, 2), 2)):
        message = bind_error(card, image_input(), probabilities=TensorSpec("float32", shape))
        assert "The card has 3 labels" in message, shape
        assert f"holds {scores} score" in message, shape


def test_the_card_names_the_output_with_the_confidence(card: Card):
    careful = dataclasses.replace(card, abstain_below=0.5, output=OutputSpec(confidence="certainty"))
    outputs = {"probabilities": SCORES, "certainty": TensorSpec("float32", (None,))}

    served = bind(careful, signature(image_input(), **outputs), model="pets", version=1)

    assert (served.call.output, served.call.confidence) == ("probabilities", "certainty")
    scores, confidence = served.call.split_row(np.array([0.1, 0.7, 0.2, 0.4], np.float32))
    assert (scores.tolist(), confidence) == (np.array([0.1, 0.7, 0.2], np.float32).tolist(), np.float32(0.4))


def test_a_confidence_must_be_one_number_per_image(card: Card):
    careful = dataclasses.replace(card, abstain_below=0.5, output=OutputSpec(confidence="certainty"))

    assert 'the output "certainty"; its outputs are probabilities' in bind_error(
        careful, image_input(), probabilities=SCORES
    )
    for spec in (TensorSpec("float32", (None, 3)), TensorSpec("int32", (None,))):
        message = bind_error(careful, image_input(), probabilities=SCORES, certainty=spec)
        assert "is not one number per image, as output.confidence requires" in message
    for shape in ((None,), (None, 1), None):
        spec = TensorSpec("float32", shape)
        assert bind_error(careful, image_input(), probabilities=SCORES, certainty=spec).startswith("accepted")


def test_scores_must_be_floating_point_numbers(card: Card):
    for dtype in ("string", "int64", "uint8", "bool"):
        message = bind_error(card, image_input(), probabilities=TensorSpec(dtype, (None, 3)))
        assert "not scores. No card helps" in message, dtype
    for dtype in ("float16", "bfloat16", "float32", "float64"):
        message = bind_error(card, image_input(), probabilities=TensorSpec(dtype, (None, 3)))
        assert message.startswith("accepted"), dtype


# derive_card


def test_a_card_is_derived_from_a_signature_with_uint8_input():
    card = derive_card(
        "foreign", signature(image_input("uint8", None, 6, 8, 3), scores=TensorSpec("float32", (None, 2)))
    )
    assert card.name == "foreign"
    assert card.labels == ("0", "1")
    assert card.input == InputSpec(height=6, width=8)
    assert card.output.activation == "none"


def test_a_card_is_derived_from_a_signature_with_float32_input():
    card = derive_card("foreign", signature(image_input("float32", None, 6, 8, 1), scores=SCORES))
    assert card.input == InputSpec(height=6, width=8, color="GRAY", dtype="float32", std=(255.0,))
    coloured = derive_card("foreign", signature(image_input("float32", None, 6, 8, 3), scores=SCORES))
    assert coloured.input.std == (255.0, 255.0, 255.0)


def test_a_card_is_derived_for_every_number_type_and_shape_that_means_one_thing():
    rgb, gray = InputSpec(height=6, width=8), InputSpec(height=28, width=30, color="GRAY")
    floats = {"dtype": "float32", "std": (255.0,)}
    for inputs, expected in (
        (image_input("int32", None, 6, 8, 3), rgb),
        (image_input("int64", 1, 6, 8, 3), rgb),
        (image_input("float16", None, 6, 8, 3), dataclasses.replace(rgb, dtype="float32", std=(255.0,) * 3)),
        (image_input("float64", None, 28, 30), dataclasses.replace(gray, **floats)),
        (image_input("uint8", None, 28, 30), gray),
        (image_input("uint8", None, 1, 28, 30), gray),
        (image_input("uint8", None, 4, 4, 1), InputSpec(height=4, width=4, color="GRAY")),
    ):
        assert derive_card("foreign", signature(inputs, scores=SCORES)).input == expected, inputs


def test_a_single_score_stands_for_two_classes():
    for shape in ((None, 1), (None,), (None, 1, 1, 1)):
        outputs = {"dense": TensorSpec("float32", shape)}
        card = derive_card("foreign", Signature(image_input("uint8", None, 6, 8, 3), outputs))
        assert card.labels == ("0", "1"), shape


def test_the_output_with_scores_is_found_among_several():
    numbers = TensorSpec("int64", (None,))
    for outputs, expected in (
        ({"classes": numbers, "out": SCORES}, "out"),
        ({"logits": SCORES, "probabilities": SCORES}, "probabilities"),
        ({"features": TensorSpec("float32", (None, 7, 7, 64)), "dense": SCORES}, "dense"),
    ):
        card = derive_card("foreign", Signature(image_input("uint8", None, 6, 8, 3), outputs))
        assert card.output.name == expected


def test_a_signature_that_leaves_something_open_is_refused_with_a_card_that_fits():
    for inputs, outputs in (
        (image_input("uint8", None, None, None, 3), {"scores": SCORES}),
        (image_input("uint8", None, None, None, 1), {"scores": SCORES}),
        (image_input("uint8", None, 3, None, None), {"scores": SCORES}),
        (image_input("uint8", None, 28, 28, None), {"scores": SCORES}),
        (image_input("uint8", None, None, None), {"scores": SCORES}),
        (image_input("uint8", None, None), {"scores": SCORES}),
        (image_input("uint8", None, 784), {"scores": SCORES}),
        (image_input("uint8", None, 192), {"scores": SCORES}),
        (image_input("uint8", None, 10), {"scores": SCORES}),
        (image_input("float16", None, 13), {"scores": SCORES}),
        (image_input("float32", None, 3, 6, 8), {"scores": SCORES}),
        (image_input("string", None), {"scores": SCORES}),
        (image_input("int8", None, 6, 8, 3), {"scores": SCORES}),
        ({"image": TensorSpec("uint8", None)}, {"scores": SCORES}),
        (image_input("uint8", None, 6, 8, 3), {"a": SCORES, "b": SCORES}),
    ):
        with pytest.raises(
            ModelContractError, match=r"has no card.* leaves open .* Write foreign/card\.json"
        ) as caught:
            pytest.fail(f"{inputs}: {derive_card('foreign', Signature(inputs, outputs))}")

        proposed = caught.value.detail.partition("such as ")[2].removesuffix(".")
        assert bind(Card.from_json(proposed), Signature(inputs, outputs), model="foreign", version=1), proposed


def test_many_labels_are_not_all_listed():
    outputs = {"scores": TensorSpec("float32", (None, 1000))}
    with pytest.raises(ModelContractError, match=r'"labels": \["0", "1", … 1000 labels\]'):
        derive_card("foreign", Signature(image_input("string", None), outputs))


def test_no_card_is_proposed_where_none_helps():
    usable = image_input("uint8", None, 6, 8, 3)
    for inputs, scores, reason in (
        (image_input("uint8", None, 6, 8, 4), SCORES, "has 4 channels"),
        (image_input("uint8", 6, 8, 3), SCORES, "has no batch dimension"),
        (image_input("uint8", 4, 6, 8, 3), SCORES, "takes batches of exactly 4 images"),
        (image_input("uint8", None, 16, 6, 8, 3), SCORES, "does not take images of height, width and channels"),
        (image_input("bool", None, 6, 8, 3), SCORES, "does not take pixels"),
        (usable, TensorSpec("int64", (None,)), "whole numbers, such as class numbers, not scores"),
        (usable, TensorSpec("string", (None,)), "text, such as class names, not scores"),
        (usable, TensorSpec("float32", (None, 7, 7, 64)), "does not hold one score per class"),
        (usable, TensorSpec("float32", (3,)), "has no batch dimension"),
        (
            {**usable, "training": TensorSpec("bool", ())},
            SCORES,
            "It takes 2 inputs (image uint8[N, 6, 8, 3], training",
        ),
    ):
        with pytest.raises(ModelContractError, match="No card helps: export the model again with") as caught:
            pytest.fail(f"{inputs} > {scores}: {derive_card('foreign', signature(inputs, scores=scores))}")
        assert reason in caught.value.detail
        assert "card.json" not in caught.value.detail


# inspect_version


def inspect(server: FakeModelServer, cards_dir: Path, version: int = 1):
    return inspect_version(server, "pets", version, cards_dir=cards_dir, deadline=Deadline.after(10))


def test_a_version_describes_itself_with_its_card(server: FakeModelServer, card: Card, tmp_path: Path):
    served = inspect(server, tmp_path)
    assert served.card == card
    assert served.call.output == "probabilities"


def test_the_card_in_the_model_takes_precedence_over_the_file(server: FakeModelServer, card: Card, tmp_path: Path):
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "card.json").write_text(dataclasses.replace(card, labels=("x", "y", "z")).to_json())
    assert inspect(server, tmp_path).card == card


@pytest.fixture
def card_file(server: FakeModelServer, card: Card, tmp_path: Path) -> Path:
    """Serve a model that carries no card, and return the path of its card.json, which does not exist."""
    server.swap("pets", 1, classifier(card, constant(0.2, 0.7, 0.1), has_card=False))
    (tmp_path / "pets").mkdir()
    return tmp_path / "pets" / "card.json"


def test_a_model_without_a_card_is_described_by_the_file(
    server: FakeModelServer, card_file: Path, card: Card, tmp_path: Path
):
    card_file.write_text(card.to_json())
    assert inspect(server, tmp_path).card == card


def test_a_model_without_card_and_file_is_described_by_its_signature(
    server: FakeModelServer, card_file: Path, tmp_path: Path
):
    assert not card_file.exists()
    assert inspect(server, tmp_path).card.labels == ("0", "1", "2")


def test_a_damaged_card_is_refused(server: FakeModelServer, card_file: Path, tmp_path: Path):
    for content in (b"{", b"\xff\xfe", b'{"name": "pets"}', b"[]"):
        card_file.write_bytes(content)
        with pytest.raises(ModelContractError, match="The card of pets version 1"):
            pytest.fail(f"{content!r}: {inspect(server, tmp_path)}")


def test_a_card_that_cannot_be_read_is_refused(server: FakeModelServer, card_file: Path, tmp_path: Path):
    card_file.mkdir()
    with pytest.raises(ModelContractError, match=r"card\.json cannot be read: Is a directory"):
        inspect(server, tmp_path)


def test_a_card_that_contradicts_the_signature_is_refused(
    server: FakeModelServer, card_file: Path, card: Card, tmp_path: Path
):
    card_file.write_text(dataclasses.replace(card, labels=("cat", "dog")).to_json())
    with pytest.raises(ModelContractError, match="has 2 labels"):
        inspect(server, tmp_path)


def test_a_model_without_the_default_signature_is_refused(server: FakeModelServer, card: Card, tmp_path: Path):
    server.swap("pets", 1, FakeVersion({"other": image_signature(card)}, {}))
    with pytest.raises(ModelContractError, match="pets version 1 has no signature serving_default; it has other"):
        inspect(server, tmp_path)


def test_describe_must_return_one_text(server: FakeModelServer, card: Card, tmp_path: Path):
    working = classifier(card, constant(1, 0, 0))
    for rows in (
        np.array([], object),
        np.array([b"{}", b"{}"], object),
        np.array(b"{}", object),
        np.zeros(1, np.float32),
        np.array([[b"{}"]], object),
    ):
        compute = {**working.compute, "describe": lambda _, rows=rows: {"card": rows}}
        server.swap("pets", 1, FakeVersion(working.signatures, compute))
        with pytest.raises(
            ModelContractError, match=r"The card of pets version 1: describe returned .* expected string"
        ):
            pytest.fail(f"{rows!r}: {inspect(server, tmp_path)}")


def test_callers_are_not_told_what_a_damaged_card_contains(
    server: FakeModelServer, card: Card, card_file: Path, tmp_path: Path
):
    working = classifier(card, constant(1, 0, 0))
    for content in (b"password: hunter2", b'{"name": "hunter2", "labels": 3}', b'{"schema": "hunter2"}', b'"hunter2"'):
        compute = {**working.compute, "describe": lambda _, text=content: {"card": np.array([text], object)}}
        card_file.write_bytes(content)
        for version in (FakeVersion(working.signatures, compute), classifier(card, constant(1, 0, 0), has_card=False)):
            server.swap("pets", 1, version)

            with pytest.raises(ModelContractError) as refusal:
                inspect(server, tmp_path)

            assert "hunter2" not in refusal.value.detail
            assert "hunter2" in str(refusal.value.__cause__) or b"labels" in content


def test_describe_must_take_the_gateways_inputs(server: FakeModelServer, card: Card, tmp_path: Path):
    working = classifier(card, constant(1, 0, 0))
    other = Signature({"verbosity": TensorSpec("int64", ())}, {"card": TensorSpec("string", (None,))})
    server.swap("pets", 1, FakeVersion({**working.signatures, "describe": other}, working.compute))
    with pytest.raises(ModelContractError):
        inspect(server, tmp_path)


def test_an_error_of_the_server_is_not_an_error_of_the_model(server: FakeModelServer, tmp_path: Path):
    with pytest.raises(VersionGoneError):
        inspect(server, tmp_path, version=2)
    server.away = True
    with pytest.raises(ModelUnavailableError):
        inspect(server, tmp_path)


# explain


def heat(images: Array, _: Array) -> Array:
    return np.zeros((len(images), 2, 2), np.float32)


def test_a_usable_explain_signature_becomes_a_call(
    server: FakeModelServer, card: Card, tmp_path: Path, deadline: Deadline
):
    server.swap("pets", 2, explainable(card, constant(1, 0, 0), heat))
    call = inspect_version(server, "pets", 2, cards_dir=tmp_path, deadline=deadline).explain
    assert call is not None
    assert (call.model, call.version, call.signature_name, call.output) == ("pets", 2, "explain", "heatmap")
    assert set(call.signature.inputs) == {"image", "class_id"}


def test_a_model_without_an_explain_signature_has_no_such_call(
    server: FakeModelServer, tmp_path: Path, deadline: Deadline
):
    assert inspect_version(server, "pets", 1, cards_dir=tmp_path, deadline=deadline).explain is None


def test_an_unusable_explain_signature_is_logged_and_ignored(
    server: FakeModelServer, card: Card, tmp_path: Path, deadline: Deadline
):
    working = explainable(card, constant(1, 0, 0), heat)
    usable = working.signatures["explain"]
    for inputs, output in (
        ({"image": TensorSpec("float32", (None, 4, 4, 1))}, "heatmap"),
        ({"image": TensorSpec("uint8", (None, 4, 4, 3))}, "heatmap"),
        ({"image": TensorSpec("uint8", (4, 4, 1))}, "heatmap"),
        ({"class_id": TensorSpec("int64", (None,))}, "heatmap"),
        ({"class_id": TensorSpec("int32", (None, 1))}, "heatmap"),
        ({"layer": TensorSpec("string", ())}, "heatmap"),
        ({}, "map"),
    ):
        unusable = Signature({**usable.inputs, **inputs}, {output: usable.outputs["heatmap"]})
        server.swap("pets", 2, FakeVersion({**working.signatures, "explain": unusable}, working.compute))

        with capture_logs() as logs:
            served = inspect_version(server, "pets", 2, cards_dir=tmp_path, deadline=deadline)

        assert served.explain is None, (inputs, output)
        assert [(line["event"], line["model"], line["version"]) for line in logs] == [("explain_unusable", "pets", 2)]
