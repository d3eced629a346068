import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from gateway.deadline import Deadline
from gateway.errors import ModelContractError, ModelUnavailableError, VersionGoneError
from gateway.model_client.protocol import Array, Signature, TensorSpec
from gateway.models.binding import bind, derive_card, inspect_version
from tests.support.fake_model_server import (
    FakeModelServer,
    FakeVersion,
    classifier,
    constant,
    explainable,
    image_signature,
)
from vision.card import Card, InputSpec, OutputSpec


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
        image_input("uint8", None, 1, 4, 4),
        image_input("uint8", None, 16),
        image_input("uint8", 8, 4, 4, 1),
        image_input("string", None),
    ):
        message = bind_error(card, inputs, probabilities=SCORES)
        assert message == (
            f"The card of pets version 1 describes uint8[1, 4, 4, 1]; its signature takes {inputs['image']}."
        )


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
        assert message == f"pets version 1 takes {count} inputs; an image classifier takes one."


def test_the_card_names_the_output(card: Card):
    card = dataclasses.replace(card, output=OutputSpec(name="logits", activation="softmax"))
    outputs = {"features": TensorSpec("float32", (None, 3)), "logits": SCORES}
    assert bind(card, Signature(image_input(), outputs), model="pets", version=1).call.output == "logits"


def test_a_single_output_needs_no_name(card: Card):
    assert bind(card, signature(image_input(), dense_1=SCORES), model="pets", version=1).call.output == "dense_1"


def test_a_missing_output_is_refused(card: Card):
    several = bind_error(card, image_input(), a=SCORES, b=SCORES)
    none = bind_error(card, image_input())

    assert several.endswith("names the output probabilities; its signature has ['a', 'b'].")
    assert none.endswith("its signature has [].")


def test_the_number_of_scores_must_be_that_of_the_labels(card: Card):
    for shape in ((None, 2), (None, 4), (None,), (None, 3, 1), (2, 3)):
        message = bind_error(card, image_input(), probabilities=TensorSpec("float32", shape))
        assert "has 3 labels; its signature returns float32" in message, shape


def test_scores_must_be_floating_point_numbers(card: Card):
    for dtype in ("string", "int64", "uint8", "bool"):
        message = bind_error(card, image_input(), probabilities=TensorSpec(dtype, (None, 3)))
        assert "scores are floating-point numbers" in message, dtype
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


def test_no_card_is_derived_from_other_signatures():
    for inputs, scores in (
        (image_input("float64", None, 6, 8, 3), SCORES),
        (image_input("uint8", None, None, None, 3), SCORES),
        (image_input("uint8", None, 6, 8, 4), SCORES),
        (image_input("uint8", None, 48), SCORES),
        (image_input("string", None), SCORES),
        ({"image": TensorSpec("uint8", None)}, SCORES),
        (image_input("uint8", None, 6, 8, 3), TensorSpec("float32", (None, None))),
        (image_input("uint8", None, 6, 8, 3), TensorSpec("float32", (None, 1, 3))),
        ({**image_input("uint8", None, 6, 8, 3), "other": SCORES}, SCORES),
    ):
        with pytest.raises(ModelContractError, match=r"Write foreign/card\.json for it"):
            pytest.fail(f"{inputs} > {scores}: {derive_card('foreign', signature(inputs, scores=scores))}")


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
    with pytest.raises(ModelContractError, match="pets version 1 has no signature serving_default"):
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
